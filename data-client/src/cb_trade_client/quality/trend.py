"""How good a series was from month to month."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from cb_trade_client.quality.evidence import QualityDay
from cb_trade_client.quality.scores import share


@dataclass(frozen=True, slots=True)
class Period:
    """A month, or a year where bars last a day or longer: what was found in its days together.

    Attributes:
        name: `2024-01`, or `2024`.
    """

    name: str
    start: datetime
    expected_bars: int
    held_bars: int
    rows: int
    flagged_rows: int

    @property
    def completeness(self) -> float | None:
        """How much is held of the bars that there may be; None where there may be none."""
        return share(self.held_bars, self.expected_bars)

    @property
    def consistency(self) -> float | None:
        """How much of the rows is not flagged; None where there is none."""
        return share(self.rows - self.flagged_rows, self.rows)


def trend(days: Sequence[QualityDay], *, by_year: bool) -> list[Period]:
    """Return the months of *days*, or their years, oldest first, those without a market left out."""
    form = "%Y" if by_year else "%Y-%m"
    periods = []
    for name, group in groupby(days, lambda day: day.start.strftime(form)):
        together = list(group)
        period = Period(
            name=name,
            start=together[0].start,
            expected_bars=sum(day.expected_bars for day in together),
            held_bars=sum(day.held_bars for day in together),
            rows=sum(day.rows for day in together),
            flagged_rows=sum(day.flagged_rows for day in together),
        )
        if period.expected_bars:
            periods.append(period)
    return periods


def has_years(timeframe: str) -> bool:
    """Return whether the days of a report about bars of *timeframe* are years: where bars last a day or longer."""
    return timeframe[-1:] in {"d", "w", "M", "y"}
