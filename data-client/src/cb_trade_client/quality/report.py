"""How good a series is, as the service tells it: scores, what they are made of, day by day, gaps and findings."""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from typing import Self

from cb_trade_client.fields import (
    Message,
    read_count,
    read_instant,
    read_number,
    read_object,
    read_objects,
    read_optional_instant,
    read_optional_number,
    read_optional_objects,
    read_optional_text,
    read_text,
    read_texts,
)
from cb_trade_client.joined_pages import joined
from cb_trade_client.quality.evidence import QualityDay, QualityEvidence
from cb_trade_client.quality.scores import QualityScores


@dataclass(frozen=True, slots=True)
class QualityGap:
    """A time without rows: `start` inclusive, `end` exclusive.

    Attributes:
        bars: How many bars open in it by the calendar.
        state: What is known of it: `held`, where the exchange has no bars, or one of the other states of coverage.
        reason: Why, where there is something to say.
        code: What is the matter, `DATA-NNN`; None where there can be no rows, and where the service is older than these
            codes.
    """

    start: datetime
    end: datetime
    bars: int
    state: str
    reason: str | None
    code: str | None = None

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            start=read_instant(message, "start_time"),
            end=read_instant(message, "end_time"),
            bars=read_count(message, "bars"),
            state=read_text(message, "state"),
            reason=read_optional_text(message, "reason"),
            code=read_optional_text(message, "code"),
        )


@dataclass(frozen=True, slots=True)
class QualityFinding:
    """What is odd in one bar. It is stored, and delivered, all the same.

    Attributes:
        code: `DATA-NNN`; `quality.codes` has words for it.
        time: The open time of the bar.
        columns: Which of its values are odd.
        value: The oddest of them.
        usual: What would be usual there, by the bars around it; None where there are none near.
    """

    code: str
    time: datetime
    columns: tuple[str, ...]
    value: float
    usual: float | None

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            code=read_text(message, "code"),
            time=read_instant(message, "time"),
            columns=read_texts(message, "columns"),
            value=read_number(message, "value"),
            usual=read_optional_number(message, "usual"),
        )


@dataclass(frozen=True, slots=True)
class QualityReport:
    """How good a series is from `start` (inclusive) to `end` (exclusive); both None where there is nothing to tell.

    Attributes:
        scores: Reckoned from `evidence`.
        days: Oldest first; years where bars last a day or longer.
        gaps: All times without rows, unless `truncated`, oldest first; none without details.
        findings: What is odd, unless `truncated` all of it, oldest first; none without details.
        truncated: Whether the service has left out gaps or findings because there were too many. The counts are whole.
    """

    exchange: str
    symbol: str
    timeframe: str
    start: datetime | None
    end: datetime | None
    scores: QualityScores
    evidence: QualityEvidence
    days: tuple[QualityDay, ...]
    gaps: tuple[QualityGap, ...]
    findings: tuple[QualityFinding, ...]
    truncated: bool

    @classmethod
    def from_message(cls, message: Message) -> Self:
        evidence = QualityEvidence.from_message(read_object(message, "evidence"))
        return cls(
            exchange=read_text(message, "exchange"),
            symbol=read_text(message, "symbol"),
            timeframe=read_text(message, "timeframe"),
            start=read_optional_instant(message, "start_time"),
            end=read_optional_instant(message, "end_time"),
            scores=QualityScores.of(evidence),
            evidence=evidence,
            days=tuple(map(QualityDay.from_message, read_objects(message, "days"))),
            gaps=tuple(map(QualityGap.from_message, read_optional_objects(message, "gaps"))),
            findings=tuple(map(QualityFinding.from_message, read_optional_objects(message, "findings"))),
            truncated=message.get("truncated") is True,
        )

    def followed_by(self, *pages: "QualityReport") -> "QualityReport":
        """Return this page and those after it as one report: evidence adds up, scores do not."""
        whole = [self, *pages]
        evidence = reduce(QualityEvidence.and_of, (page.evidence for page in whole))
        return replace(
            self,
            end=whole[-1].end,
            scores=QualityScores.of(evidence),
            evidence=evidence,
            days=tuple(day for page in whole for day in page.days),
            gaps=tuple(joined((gap for page in whole for gap in page.gaps), _as_one)),
            findings=tuple(finding for page in whole for finding in page.findings),
            truncated=any(page.truncated for page in whole),
        )


def _as_one(gap: QualityGap, following: QualityGap) -> QualityGap | None:
    """Return both as one where only the end of a page lies between them."""
    if (gap.end, gap.state, gap.reason) != (following.start, following.state, following.reason):
        return None
    return replace(gap, end=following.end, bars=gap.bars + following.bars)
