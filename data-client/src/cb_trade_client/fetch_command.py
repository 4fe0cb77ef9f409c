"""The command that fetches a series, to be told to people as a next step."""

import shlex


def fetch_command(exchange: str, symbol: str, what: str, start: str, end: str | None = None) -> str:
    """Return how *what*, a timeframe or a kind without bars, is fetched, as it can be typed."""
    times = ["--start", start, *([] if end is None else ["--end", end])]
    return f"{shlex.join(['cb-trade', 'fetch', exchange, symbol, what, *times])} -o FILE.parquet"
