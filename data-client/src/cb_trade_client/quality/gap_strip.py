"""When rows are missing: a lane of time for each reason."""

from dataclasses import dataclass
from typing import Final

from cb_trade_client.instants import to_text
from cb_trade_client.quality.axes import TimeAxis
from cb_trade_client.quality.reasons import ReasonOfGaps
from cb_trade_client.quality.report import QualityGap

MOST_LANES: Final = 8

#: Each state as it is coloured, in the levels of the calendar; others are `none`.
COLOURS: Final = {"held": "hole", "empty": "less", "unavailable": "part", "unlisted": "shut", "delisted": "shut"}

# Narrower than this nobody would see a gap; those that are nearer to each other are one mark.
_NARROWEST: Final = 2.0


@dataclass(frozen=True, slots=True)
class Mark:
    """One gap in the picture, or several that are too near to each other to be told apart."""

    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    """The gaps of one reason."""

    state: str
    reason: str | None
    colour: str
    marks: tuple[Mark, ...]


def gap_strip(reasons: list[ReasonOfGaps], axis: TimeAxis) -> list[Lane]:
    """Return a lane for each of the first *reasons*, no wider than *axis*."""
    return [Lane(each.state, each.reason, colour_of(each.state), _marks(each, axis)) for each in reasons[:MOST_LANES]]


def colour_of(state: str) -> str:
    """Return the level of the calendar that *state* is coloured as."""
    return COLOURS.get(state, "none")


def _marks(reason: ReasonOfGaps, axis: TimeAxis) -> tuple[Mark, ...]:
    together: list[list[QualityGap]] = []
    right = float("-inf")
    for gap in reason.gaps:
        left = axis.place(gap.start)
        if together and left <= right + 1:
            together[-1].append(gap)
        else:
            together.append([gap])
        right = max(axis.place(gap.end), axis.place(together[-1][0].start) + _NARROWEST)
    return tuple(_mark(gaps, axis) for gaps in together)


def _mark(gaps: list[QualityGap], axis: TimeAxis) -> Mark:
    x = min(axis.place(gaps[0].start), axis.right - _NARROWEST)
    bars = sum(gap.bars for gap in gaps)
    count = "" if len(gaps) == 1 else f"{len(gaps):,} gaps, "
    title = f"{to_text(gaps[0].start)} … {to_text(gaps[-1].end)}: {count}{bars:,} bars"
    return Mark(x, round(max(axis.place(gaps[-1].end) - x, _NARROWEST), 1), title)
