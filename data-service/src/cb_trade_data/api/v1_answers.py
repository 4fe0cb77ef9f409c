"""The answers of `/v1`, as they are documented at `/docs`. Times are epoch milliseconds, as on the socket."""

from __future__ import annotations

from datetime import timedelta
from math import isfinite
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from cb_trade_data.api.condition import ConditionAnswer
from cb_trade_data.api.outgoing import plain_reason, segments_json
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.interfaces import ExchangeCondition
from cb_trade_data.historical.comparing import ComparisonPage
from cb_trade_data.historical.inventory import InventoryPage, StoredSeries
from cb_trade_data.historical.ledger import LedgerPage
from cb_trade_data.historical.quality_days import DayQuality, Gap
from cb_trade_data.historical.quality_report import QualityPage
from cb_trade_data.historical.rebuilding import Difference
from cb_trade_data.models.instants import to_ms
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.timeframe import derivable_from
from cb_trade_data.quality.codes import DataCode
from cb_trade_data.quality.evidence import Found
from cb_trade_data.quality.inspection import ODDITIES, Finding
from cb_trade_data.quality.scores import Scores
from cb_trade_data.storage.coverage import Segment, State

_MILLISECOND = timedelta(milliseconds=1)


def _is_none(value: object) -> bool:
    return value is None


class ExchangeAnswer(BaseModel):
    """One exchange that can be asked for."""

    name: str = Field(description="CCXT's id.")
    kinds: list[Kind] = Field(description="What can be had from it.")
    timeframes: list[str] = Field(description="The bars it has, shortest first.")
    derivable: list[str] = Field(description="The bars besides that can be put together from those, shortest first.")
    page_limit_bars: int = Field(description="The most bars that one call to it brings.")
    settle_margin_ms: int = Field(description="How long after its end a bar may still change; then it is closed.")
    state: str = Field(description="As last seen: `ok`, `unused` since the start, or why its last call failed.")
    condition: ConditionAnswer

    @classmethod
    def of(cls, facts: ExchangeFacts, condition: ExchangeCondition) -> ExchangeAnswer:
        """Return the answer about one exchange."""
        return cls(
            name=facts.id,
            kinds=sorted(facts.kinds),
            timeframes=list(facts.timeframes),
            derivable=list(derivable_from(facts.timeframes)),
            page_limit_bars=facts.page_limit_bars,
            settle_margin_ms=int(facts.settle_margin.total_seconds() * 1000),
            state=condition.status,
            condition=ConditionAnswer.of(condition),
        )


class ExchangesAnswer(BaseModel):
    """All exchanges, sorted by name."""

    exchanges: list[ExchangeAnswer]


class SeriesAnswer(BaseModel):
    """One series of which something is stored."""

    exchange: str
    symbol: str
    kind: Kind
    timeframe: str | None = Field(description="null for kinds without bars.")
    first_timestamp: int | None = Field(description="Time of the oldest stored row; null if there is none.")
    last_timestamp: int | None = Field(description="Time of the newest stored row; null if there is none.")
    listed_at: int | None = Field(description="Open time of the first bar the exchange has; null while unknown.")
    listing_checked_at: int | None = Field(description="When it was asked for its first bar; null if it never was.")
    market_id: str | None = Field(description="The exchange's own name for the symbol; null if it was lost.")

    @classmethod
    def of(cls, stored: StoredSeries) -> SeriesAnswer:
        """Return the answer about one series."""
        facts = stored.facts
        times = {
            "first_timestamp": stored.first,
            "last_timestamp": stored.last,
            "listed_at": None if facts is None else facts.listed_at,
            "listing_checked_at": None if facts is None else facts.listing_checked_at,
        }
        return cls(
            **_name(stored.series),
            **{name: None if time is None else to_ms(time) for name, time in times.items()},
            market_id=None if facts is None else facts.market_id,
        )


class SeriesPageAnswer(BaseModel):
    """Some of the stored series, sorted by exchange, symbol, kind and timeframe, all as text."""

    series: list[SeriesAnswer]
    next: str | None = Field(description="The `after` of the next page; null if this is the last one.")

    @classmethod
    def of(cls, page: InventoryPage) -> SeriesPageAnswer:
        """Return the answer with one page."""
        return cls(series=list(map(SeriesAnswer.of, page.series)), next=page.next)


class SegmentAnswer(BaseModel):
    """One state over a range; fields that do not apply are left out."""

    start_time: int = Field(description="Inclusive.")
    end_time: int = Field(description="Exclusive.")
    state: State = Field(description="`unknown`: nobody ever asked.")
    bars: int | None = Field(description="How many bars open in it, by the calendar; null for kinds without bars.")
    asked_at: Annotated[
        int | None, Field(exclude_if=_is_none, description="When the exchange was last asked (`empty`, `failed`).")
    ] = None
    asks: Annotated[
        int | None, Field(exclude_if=_is_none, description="How many independent empty answers there were.")
    ] = None
    reason: Annotated[str | None, Field(exclude_if=_is_none, description="Why it could not be got (`failed`).")] = None
    code: Annotated[
        DataCode | None,
        Field(exclude_if=_is_none, description="What is the matter; absent where no row is missing or can be."),
    ] = None
    ask_again_at: Annotated[
        int | None,
        Field(
            exclude_if=_is_none,
            description="From when on a request asks the exchange again (`empty`); absent where only a refresh does.",
        ),
    ] = None

    @classmethod
    def of(cls, series: Series, segment: Segment, facts: dict[str, Any]) -> SegmentAnswer:
        """Return the answer about *segment*, given as its *facts*, too."""
        again = segment.believed_until
        return cls(
            **facts,
            bars=None if series.timeframe is None else series.timeframe.bars_in(segment.range),
            ask_again_at=None if again is None else to_ms(again),
        )


class CoverageAnswer(BaseModel):
    """What is known of a range, or of its first part. The numbers are those of this page: add up the pages'."""

    exchange: str
    symbol: str
    kind: Kind
    timeframe: str | None
    start_time: int | None = Field(description="Where the page begins, on the grid; null if there is nothing to tell.")
    end_time: int | None = Field(description="Where the page ends, exclusive; at most the newest closed bar's end.")
    segments: list[SegmentAnswer] = Field(description="Oldest first, without a hole or an overlap.")
    bars_expected: int | None = Field(
        description="Bars that there may be: those of the calendar, less those before listing; null for kinds without."
    )
    bars_held: int | None = Field(
        description="Those of them that are `held`, genuine holes between stored bars included; null for kinds without."
    )
    next_start_time: int | None = Field(description="The `start_time` of the next page; null if this is the last one.")

    @classmethod
    def of(cls, series: Series, page: LedgerPage) -> CoverageAnswer:
        """Return the answer with one page."""
        end_ms = None if page.range is None else to_ms(page.range.end)
        told = zip(page.segments, segments_json(page.segments), strict=True)
        bars = series.timeframe
        return cls(
            **_name(series),
            start_time=None if page.range is None else to_ms(page.range.start),
            end_time=end_ms,
            segments=[SegmentAnswer.of(series, segment, facts) for segment, facts in told],
            bars_expected=None if bars is None else page.bars_expected(bars),
            bars_held=None if bars is None else page.bars_held(bars),
            next_start_time=None if page.is_last else end_ms,
        )


class BarAnswer(BaseModel):
    """The values of one bar."""

    open: float
    high: float
    low: float
    close: float
    volume: float

    @classmethod
    def of(cls, values: tuple[float, ...] | None) -> Self | None:
        """Return the answer with *values*; None where there are none."""
        return None if values is None else cls(**dict(zip(cls.model_fields, values, strict=True)))


class DifferenceAnswer(BaseModel):
    """One bar for which trades and exchange disagree."""

    timestamp: int = Field(description="Its open time.")
    columns: list[str] = Field(description="Those whose values differ; none where only one of the two has the bar.")
    rebuilt: BarAnswer | None = Field(description="The bar that the trades make; null where there were none.")
    told: BarAnswer | None = Field(description="The bar of the exchange; null where it has none.")

    @classmethod
    def of(cls, difference: Difference) -> DifferenceAnswer:
        """Return the answer about one bar."""
        return cls(
            timestamp=to_ms(difference.open_time),
            columns=list(difference.columns),
            rebuilt=BarAnswer.of(difference.rebuilt),
            told=BarAnswer.of(difference.told),
        )


class ComparisonAnswer(BaseModel):
    """Where bars differ from those of trades, in a range or its first part. The numbers are those of this page."""

    exchange: str
    symbol: str
    timeframe: str
    start_time: int | None = Field(description="Where the page begins, on the grid; null where no bar has closed.")
    end_time: int | None = Field(description="Where the page ends, exclusive; at most the newest closed bar's end.")
    bars_compared: int = Field(description="Bars that there are, by trades or exchange, where both are stored.")
    bars_that_differ: int = Field(description="How many of them differ.")
    differences: list[DifferenceAnswer] = Field(description="Those, oldest first; of more than 1,000 the first.")
    without_trades_ms: int = Field(description="How long the bars last of which not all trades are stored.")
    without_bars_ms: int = Field(description="How long those last of which only the trades are stored.")
    next_start_time: int | None = Field(description="The `start_time` of the next page; null if this is the last one.")

    @classmethod
    def of(cls, bars: Series, page: ComparisonPage) -> ComparisonAnswer:
        """Return the answer with one page."""
        end_ms = None if page.range is None else to_ms(page.range.end)
        return cls(
            exchange=bars.exchange,
            symbol=bars.symbol,
            timeframe=str(bars.timeframe),
            start_time=None if page.range is None else to_ms(page.range.start),
            end_time=end_ms,
            bars_compared=page.bars_compared,
            bars_that_differ=page.bars_that_differ,
            differences=list(map(DifferenceAnswer.of, page.differences)),
            without_trades_ms=page.without_trades // _MILLISECOND,
            without_bars_ms=page.without_bars // _MILLISECOND,
            next_start_time=None if page.is_last else end_ms,
        )


class ScoresAnswer(BaseModel):
    """How good the bars are: each from 0 to 1, null where there is nothing to say."""

    completeness: float | None = Field(description="Held of the expected bars.")
    consistency: float | None = Field(description="Rows that are not flagged, of all of them.")
    freshness: float | None = Field(description="1 where the newest closed bar is held, less 0.1 for each behind it.")
    accuracy: float | None = Field(description="Bars that agree with others, of those compared; with details only.")
    overall: float | None = Field(description="The lowest of them.")
    lowest: str | None = Field(description="Which one that is.")

    @classmethod
    def of(cls, scores: Scores) -> ScoresAnswer:
        """Return the answer with *scores*."""
        return cls(**scores.by_name, overall=scores.overall, lowest=scores.lowest)


class EvidenceAnswer(BaseModel):
    """What the scores are made of. That of several pages adds up, but for what is said of the newest bar."""

    expected_bars: int = Field(description="Closed bars of listed time.")
    held_bars: int = Field(description="Those that are stored or known for good never to have been made.")
    rows: int = Field(description="How many rows there are.")
    holes: int = Field(description="Held bars without a row: the exchange never made them.")
    flagged: dict[DataCode, int] = Field(description="How many rows have each code; no row has two.")
    newest_end: int | None = Field(description="Where the newest held bar of the series ends; null if there is none.")
    bars_behind: int | None = Field(
        description="How many closed bars come after that; null if there is none, or only the past was asked about."
    )
    compared_bars: int = Field(description="Bars that were compared with others, made of what is stored.")
    differing_bars: int = Field(description="How many of them differ.")
    compared_with: str | None = Field(
        description="`trades`, or the timeframe of shorter bars; null if neither is stored."
    )

    @classmethod
    def of(cls, page: QualityPage) -> EvidenceAnswer:
        """Return the answer about one page."""
        measures = page.measures
        found = measures.found or Found()
        return cls(
            expected_bars=measures.expected_bars,
            held_bars=measures.held_bars,
            rows=found.rows,
            holes=measures.holes or 0,
            flagged={code: found.flagged.get(code, 0) for code in ODDITIES},
            newest_end=None if page.newest_end is None else to_ms(page.newest_end),
            bars_behind=page.bars_behind,
            compared_bars=measures.compared_bars,
            differing_bars=measures.differing_bars,
            compared_with=None if page.details is None else page.details.compared_with,
        )


_Price = Annotated[float | None, Field(exclude_if=_is_none, description="With details, where there are rows.")]


class DayAnswer(BaseModel):
    """One UTC day that may have bars; a UTC year where they last a day or longer."""

    start_time: int = Field(description="Where it begins, or the page.")
    end_time: int = Field(description="Where it ends, exclusive, or the page.")
    expected_bars: int
    held_bars: int
    rows: int
    holes: int
    flagged: dict[DataCode, int] = Field(description="Codes that no row has are left out.")
    completeness: float | None
    consistency: float | None
    low: _Price = None
    high: _Price = None
    close: _Price = None
    volume: _Price = None

    @classmethod
    def of(cls, day: DayQuality) -> DayAnswer:
        """Return the answer about one day."""
        scores, found = Scores.of(day.measures), day.measures.found or Found()
        return cls(
            start_time=to_ms(day.range.start),
            end_time=to_ms(day.range.end),
            expected_bars=day.measures.expected_bars,
            held_bars=day.measures.held_bars,
            rows=found.rows,
            holes=day.measures.holes or 0,
            flagged=dict(found.flagged),
            completeness=scores.completeness,
            consistency=scores.consistency,
            **({} if day.prices is None else vars(day.prices)),
        )


class GapAnswer(BaseModel):
    """A time without rows."""

    start_time: int = Field(description="Inclusive.")
    end_time: int = Field(description="Exclusive.")
    bars: int = Field(description="How many there could be.")
    state: State = Field(description="`held`: the exchange never made them, as is known for good.")
    reason: str = Field(description="Why, for people.")
    code: Annotated[
        DataCode | None,
        Field(exclude_if=_is_none, description="What is the matter; absent where there can be no rows."),
    ] = None

    @classmethod
    def of(cls, gap: Gap) -> GapAnswer:
        """Return the answer about one gap."""
        return cls(
            start_time=to_ms(gap.range.start),
            end_time=to_ms(gap.range.end),
            bars=gap.bars,
            state=gap.state,
            reason=plain_reason(gap.reason),
            code=gap.state.code,
        )


class FindingAnswer(BaseModel):
    """What is odd in one row."""

    code: DataCode
    time: int = Field(description="The row's.")
    columns: list[str] = Field(description="Which of its values are odd.")
    value: float = Field(description="The oddest of them.")
    usual: float | None = Field(description="What would be usual there, by the rows around it; null where none are.")

    @classmethod
    def of(cls, finding: Finding) -> FindingAnswer:
        """Return the answer about one finding."""
        return cls(
            code=finding.code,
            time=to_ms(finding.time),
            columns=list(finding.columns),
            value=finding.value,
            usual=finding.usual if isfinite(finding.usual) else None,
        )


class QualityAnswer(BaseModel):
    """How good stored bars are, in a range or its first part: one page of days."""

    exchange: str
    symbol: str
    timeframe: str
    start_time: int | None = Field(description="Where the page begins, on the grid; null if there is nothing to tell.")
    end_time: int | None = Field(description="Where the page ends, exclusive; at most the newest closed bar's end.")
    scores: ScoresAnswer = Field(description="Of this page; freshness of the series.")
    evidence: EvidenceAnswer
    days: list[DayAnswer] = Field(description="Those that may have bars, oldest first.")
    gaps: Annotated[
        list[GapAnswer] | None,
        Field(exclude_if=_is_none, description="With details: all times without rows; of one day, 1,000 at most."),
    ] = None
    findings: Annotated[
        list[FindingAnswer] | None,
        Field(exclude_if=_is_none, description="With details: the flagged rows; of one day, 1,000 at most."),
    ] = None
    truncated: bool = Field(description="Whether a single day has more gaps or findings than are listed.")
    next: int | None = Field(description="The `start_time` of the next page; null if this is the last one.")

    @classmethod
    def of(cls, bars: Series, page: QualityPage) -> QualityAnswer:
        """Return the answer with one page."""
        end_ms, details = None if page.range is None else to_ms(page.range.end), page.details
        return cls(
            exchange=bars.exchange,
            symbol=bars.symbol,
            timeframe=str(bars.timeframe),
            start_time=None if page.range is None else to_ms(page.range.start),
            end_time=end_ms,
            scores=ScoresAnswer.of(page.scores),
            evidence=EvidenceAnswer.of(page),
            days=list(map(DayAnswer.of, page.days)),
            gaps=None if details is None else list(map(GapAnswer.of, details.gaps)),
            findings=None if details is None else list(map(FindingAnswer.of, details.findings)),
            truncated=details is not None and details.is_truncated,
            next=None if page.is_last else end_ms,
        )


def _name(series: Series) -> dict[str, Any]:
    return {
        "exchange": series.exchange,
        "symbol": series.symbol,
        "kind": series.kind,
        "timeframe": None if series.timeframe is None else str(series.timeframe),
    }
