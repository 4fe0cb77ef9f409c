"""What a coverage report says to people: how complete it is, what is missing, and what can be done about it."""

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime, time

from cb_trade_client.answers import CoverageSegment
from cb_trade_client.instants import to_text
from cb_trade_client.inventory import CoverageReport

_NEXT_FETCH = "next fetch"


def share_held(report: CoverageReport) -> str:
    """Return how much is held; `100 %` only where nothing is missing."""
    tenths = report.bars_held * 1000 // report.bars_expected if report.bars_expected else 0
    return "100 %" if tenths == 1000 else f"{tenths / 10:.1f} %"


def gaps_by_state(segments: Sequence[CoverageSegment]) -> list[tuple[str, int, int]]:
    """Return each state but `held` with its number of spans and of bars, in the order in which they first come."""
    states = dict.fromkeys(segment.state for segment in segments if segment.state != "held")
    of = {state: [segment.bars or 0 for segment in segments if segment.state == state] for state in states}
    return [(state, len(bars), sum(bars)) for state, bars in of.items()]


def asked_again(segment: CoverageSegment, now: datetime) -> str:
    """Return when the exchange is asked about *segment* again."""
    match segment.state:
        case "unknown" | "failed":
            return _NEXT_FETCH
        case "empty" if segment.ask_again_at is None:
            return "only --refresh"
        case "empty" if segment.ask_again_at is not None:
            return _NEXT_FETCH if segment.ask_again_at <= now else f"from {_short(segment.ask_again_at)}"
        case _:
            return ""


def next_step(report: CoverageReport, now: datetime) -> str | None:
    """Return the command that fetches what is missing and can be had; None where there is nothing of that kind."""
    missing = [segment for segment in report.segments if asked_again(segment, now) == _NEXT_FETCH]
    if not missing:
        return None
    times = ["--start", to_text(missing[0].start), "--end", to_text(missing[-1].end)]
    return f"{fetch_command(report, *times)} -o FILE.parquet"


def fetch_command(report: CoverageReport, *options: str) -> str:
    """Return how the series is fetched, as it can be typed."""
    named = [report.exchange, report.symbol, report.timeframe or ""]
    return shlex.join(["cb-trade", "fetch", *named, *options])


def rows_of(segments: Sequence[CoverageSegment], now: datetime) -> Iterator[list[str]]:
    """Yield a row of words for each of *segments*: from, to, state, bars, asked, asked again, reason."""
    for segment in segments:
        asked = "" if segment.asked_at is None else f"{segment.asked_at:%Y-%m-%dT%H:%MZ}"
        times = f" ({segment.asks} times)" if segment.asks > 1 else ""
        yield [
            _short(segment.start),
            _short(segment.end),
            segment.state,
            f"{segment.bars or 0:,}",
            asked + times,
            asked_again(segment, now),
            segment.reason or "",
        ]


def _short(moment: datetime) -> str:
    """Return *moment* as briefly as `--start` can still read it: a midnight as its date."""
    form = "%Y-%m-%d" if moment.time() == time() else "%Y-%m-%dT%H:%MZ"
    return f"{moment:{form}}" if not moment.second and not moment.microsecond else to_text(moment)
