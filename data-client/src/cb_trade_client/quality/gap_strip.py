"""When rows are missing: a lane of time for each reason."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from cb_trade_client.instants import to_text
from cb_trade_client.quality.axes import TimeAxis
from cb_trade_client.quality.reasons import ReasonOfGaps
from cb_trade_client.quality.report import QualityGap

MOST_LANES: Final = 8

#: Each state as it is coloured, in the levels of the calendar; others are `none`.
COLOURS: Final = {"held": "hole", "empty": "less", "unavailable": "part", "unlisted": "shut", "delisted": "shut"}

# Narrower or lower than this nobody would see a mark; the highest is as high as a lane.
_NARROWEST: Final = 2.0
_LOWEST: Final = 4.0
_HIGHEST: Final = 16.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A piece of time, as high as the part of it that is without rows; or all pieces that one gap fills."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    """The gaps of one reason."""

    state: str
    reason: str | None
    colour: str
    marks: tuple[Mark, ...]


@dataclass(slots=True)
class _Piece:
    """What is without rows in a piece of time."""

    gaps: list[QualityGap] = field(default_factory=list)
    missing: timedelta = timedelta()


def gap_strip(reasons: list[ReasonOfGaps], axis: TimeAxis) -> list[Lane]:
    """Return a lane for each of the first *reasons*, no wider than *axis*."""
    return [Lane(each.state, each.reason, colour_of(each.state), _marks(each, axis)) for each in reasons[:MOST_LANES]]


def colour_of(state: str) -> str:
    """Return the level of the calendar that *state* is coloured as."""
    return COLOURS.get(state, "none")


def piece_of(axis: TimeAxis) -> timedelta:
    """Return how long a piece of time is that is one mark."""
    return -(-(axis.end - axis.start) // round((axis.right - axis.left) / _NARROWEST))


def _marks(reason: ReasonOfGaps, axis: TimeAxis) -> tuple[Mark, ...]:
    pieces, lasting = _pieces(reason, axis), piece_of(axis)

    def filled_by(number: int) -> QualityGap | int:
        """Return the one gap that fills a piece; else its number, which no other piece has."""
        piece = pieces[number]
        return piece.gaps[0] if len(piece.gaps) == 1 and piece.missing == lasting else number

    runs = (list(run) for _, run in groupby(sorted(pieces), filled_by))
    return tuple(
        _mark(pieces[run[0]], lasting, axis, axis.start + run[0] * lasting, axis.start + (run[-1] + 1) * lasting)
        for run in runs
    )


def _pieces(reason: ReasonOfGaps, axis: TimeAxis) -> dict[int, _Piece]:
    """Return the pieces of *axis* in which there are gaps, by number."""
    pieces, lasting = defaultdict[int, _Piece](_Piece), piece_of(axis)
    for gap in reason.gaps:
        cursor, end = max(gap.start, axis.start), min(gap.end, axis.end)
        while cursor < end:
            number = (cursor - axis.start) // lasting
            until = min(end, axis.start + (number + 1) * lasting)
            pieces[number].gaps.append(gap)
            pieces[number].missing += until - cursor
            cursor = until
    return pieces


def _mark(piece: _Piece, lasting: timedelta, axis: TimeAxis, start: datetime, end: datetime) -> Mark:
    x, height = axis.place(start), round(max(_HIGHEST * (piece.missing / lasting), _LOWEST), 1)
    return Mark(x, round(_HIGHEST - height, 1), round(axis.place(end) - x, 1), height, _title(piece.gaps))


def _title(gaps: list[QualityGap]) -> str:
    bars = sum(gap.bars for gap in gaps)
    count = "" if len(gaps) == 1 else f"{len(gaps):,} gaps, "
    return f"{to_text(gaps[0].start)} … {to_text(gaps[-1].end)}: {count}{bars:,} bars"
