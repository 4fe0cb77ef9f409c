"""What a coverage report says to people: how complete it is, what is missing, and what can be done about it.

Of kinds without bars nobody knows how many rows there are: what is held and missing is told in time.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, time, timedelta

from cb_trade_client.answers import CoverageSegment
from cb_trade_client.calendar_strip import WITHOUT_MARKET
from cb_trade_client.durations import duration_text
from cb_trade_client.fetch_command import fetch_command
from cb_trade_client.instants import to_text
from cb_trade_client.inventory import CoverageReport

_NEXT_FETCH = "next fetch"
_MILLISECOND = timedelta(milliseconds=1)


def held_line(report: CoverageReport) -> str | None:
    """Return how much is held, `100 %` only where nothing is missing; None where nothing was to be expected."""
    if report.bars_expected is not None and report.bars_held is not None:
        held, expected = report.bars_held, report.bars_expected
        amounts = f"{held:,} of {expected:,} bars"
    else:
        listed = [segment for segment in report.segments if segment.state not in WITHOUT_MARKET]
        lengths = _length(segment for segment in listed if segment.state == "held"), _length(listed)
        held, expected = (length // _MILLISECOND for length in lengths)
        amounts = " of ".join(map(duration_text, lengths))
    if not expected:
        return None
    tenths = held * 1000 // expected
    share = "100 %" if tenths == 1000 else f"{tenths / 10:.1f} %"
    return f"{share} held: {amounts}"


def gap_lines(segments: Sequence[CoverageSegment]) -> Iterator[str]:
    """Yield a line for each state but `held`, in the order in which they first come: how often, and how much."""
    for state in dict.fromkeys(segment.state for segment in segments if segment.state != "held"):
        spans = [segment for segment in segments if segment.state == state]
        bars = [segment.bars for segment in spans if segment.bars is not None]
        amount = f"{sum(bars):,} bars" if len(bars) == len(spans) else duration_text(_length(spans))
        yield f"{state}: {len(spans):,} {'span' if len(spans) == 1 else 'spans'}, {amount}"


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
    return fetch_command(*named(report), to_text(missing[0].start), to_text(missing[-1].end))


def named(report: CoverageReport) -> tuple[str, str, str]:
    """Return exchange, symbol, and the timeframe or the kind without bars, as a command takes them."""
    return report.exchange, report.symbol, report.timeframe or report.kind


def rows_of(segments: Sequence[CoverageSegment], now: datetime) -> Iterator[list[str]]:
    """Yield a row of words for each of *segments*: from, to, state, bars or length, asked, asked again, reason."""
    for segment in segments:
        asked = "" if segment.asked_at is None else f"{segment.asked_at:%Y-%m-%dT%H:%MZ}"
        times = f" ({segment.asks} times)" if segment.asks > 1 else ""
        yield [
            _short(segment.start),
            _short(segment.end),
            segment.state,
            duration_text(segment.end - segment.start) if segment.bars is None else f"{segment.bars:,}",
            asked + times,
            asked_again(segment, now),
            segment.reason or "",
        ]


def _length(segments: Iterable[CoverageSegment]) -> timedelta:
    return sum((segment.end - segment.start for segment in segments), timedelta())


def _short(moment: datetime) -> str:
    """Return *moment* as briefly as `--start` can still read it: a midnight as its date."""
    form = "%Y-%m-%d" if moment.time() == time() else "%Y-%m-%dT%H:%MZ"
    return f"{moment:{form}}" if not moment.second and not moment.microsecond else to_text(moment)
