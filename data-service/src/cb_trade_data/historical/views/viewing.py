"""From what is asked for to the answer with the views on it that it takes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from cb_trade_data.historical.interfaces import IAnswer
from cb_trade_data.historical.kept_answer import KeptAnswer
from cb_trade_data.historical.receipt import Reading, Receipt, ViewedReceipt
from cb_trade_data.historical.views.close_before import close_before
from cb_trade_data.historical.views.derivation import Derivation
from cb_trade_data.historical.views.derived import DerivedAnswer
from cb_trade_data.historical.views.filled import FilledAnswer
from cb_trade_data.historical.views.filling import Filling
from cb_trade_data.models.digest import AnswerDigest
from cb_trade_data.models.frame import Stretch
from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.models.messages import Fill
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import ABSENT, Segment, State
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.series_facts import SeriesFacts


class Ask(Protocol):
    """Prepares the answer below, which tells its views of silence: of time without rows as it becomes known."""

    def __call__(self, series: Series, wanted: TimeRange, closed_until: datetime, *, receipt: Receipt) -> IAnswer: ...


def viewed(
    ask: Ask,
    series: Series,
    wanted: TimeRange,
    closed_until: datetime,
    fill: Fill,
    facts: SeriesFacts,
    storage: IStorageManager,
    now: Callable[[], datetime],
) -> IAnswer:
    """Return the answer to a request for a derived series, or with a fill, or both.

    Args:
        closed_until: The exclusive end of the newest closed bar of *series*.
        facts: Of its source.
        now: The exchange's present.
    """
    receipt = ViewedReceipt(synthetic_rows=None if fill is Fill.NONE else 0)
    end = max(wanted.start, min(wanted.end, closed_until))
    bars = series.grid.snap(TimeRange(wanted.start, end)) if wanted.start < end else None
    if bars is None:
        receipt.digest = AnswerDigest(series).text()
        return KeptAnswer(wanted.start, end, 0, receipt, Stretch(OHLCV_SCHEMA.empty_table()))
    span, readings = TimeRange(wanted.start, end), list[Reading]()
    if series.derived_from is None:
        answer = ask(series, span, closed_until, receipt=receipt)
    else:
        derivation = Derivation(series.grid, bars)
        readings.append(derivation.see)
        below = ask(series.source, bars, bars.end, receipt=receipt)
        bar_count = _bars_in(series, facts.listed_part(bars))
        tells_silence = fill is not Fill.NONE
        answer = DerivedAnswer(series, span, bar_count, below, derivation, tells_silence=tells_silence)
    if fill is not Fill.NONE:
        is_known = _is_known if series.derived_from is None else _is_known_for_good
        filling = Filling(series.grid, fill, is_known, bars.start)
        readings.append(filling.see)

        async def look_up() -> float | None:
            present = now()
            # What is due to be asked again is not known where nobody asks.
            return await close_before(
                storage, series, bars.start, lambda each: is_known(each) and each.settles(present, present)
            )

        answer = FilledAnswer(answer, bars.start, filling, look_up if fill is Fill.PREVIOUS_CLOSE else None)
    receipt.readings = readings
    return answer


def _bars_in(series: Series, listed: TimeRange | None) -> int:
    """Return how many bars there is time for, those included that have a part of it."""
    if listed is None:
        return 0
    return series.grid.bars_in(TimeRange(series.grid.floor(listed.start), series.grid.ceil(listed.end)))


def _is_known(segment: Segment) -> bool:
    """Tell whether the exchange was asked for its bars, and had them or none."""
    return segment.state in {State.HELD, State.EMPTY}


def _is_known_for_good(segment: Segment) -> bool:
    """Tell the same of derived bars: in one that is empty, but not for good, there may be parts that were traded."""
    return segment.is_final and segment.state not in ABSENT
