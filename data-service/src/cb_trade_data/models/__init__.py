"""The words everything else is said in: instants, ranges, timeframes, series, market rows, wire messages."""
