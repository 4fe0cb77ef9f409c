"""The cb-trade SDK and command line: market history as Arrow, streamed."""
