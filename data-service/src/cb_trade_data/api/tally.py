"""The tally: what the API counts of its own work, in plain numbers. Pure; written to by the event loop alone."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from functools import partial
from typing import Final

from cb_trade_data.api.story import RequestStory

# From what memory answers at once to what an exchange takes an hour for.
_REQUEST_SECS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
)  # fmt: skip
_LAG_SECS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Distribution:
    """How values are distributed.

    Attributes:
        bounds: Ascending and inclusive: a value counts for the first of them that it does not exceed.
        counts: For each bound, and for what is beyond the last.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count *value*."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Tally:
    """What was done since the start. Costs a request about a microsecond, which is why it is written down so plainly.

    Keys are bounded: types of messages, codes, formats, states. None is ever a subject, a symbol or an id.

    Attributes:
        opened_connections: Since the start.
        open_requests: Running or queued.
        answered_secs: How long requests took that were answered, by type and source.
        unanswered_requests: Those that ended otherwise, by type and outcome.
        chosen_exchanges: How often each was chosen for a request that left that open.
        first_chunk_secs: How long the first chunks of answers took, by source.
        rows_from_storage: That were taken into answers; `rows_from_exchange` as well.
        sent_bytes: Of chunks, by format.
        gap_secs: That answers had to report, by state.
        refused_messages: That began no request, by code.
        refused_handshakes: By code.
        loop_lag_secs: How late the event loop came to what was due.
    """

    def __init__(self) -> None:
        self.opened_connections = 0
        self.open_requests = 0
        self.answered_secs: defaultdict[tuple[str, str], Distribution] = defaultdict(
            partial(Distribution, _REQUEST_SECS)
        )
        self.unanswered_requests: Counter[tuple[str, str]] = Counter()
        self.chosen_exchanges: Counter[str] = Counter()
        self.first_chunk_secs = {source: Distribution(_REQUEST_SECS) for source in ("storage", "exchange")}
        self.rows_from_storage = 0
        self.rows_from_exchange = 0
        self.sent_bytes: Counter[str] = Counter()
        self.gap_secs: defaultdict[str, float] = defaultdict(float)
        self.refused_messages: Counter[str] = Counter()
        self.refused_handshakes: Counter[str] = Counter()
        self.loop_lag_secs = Distribution(_LAG_SECS)

    def add(self, story: RequestStory) -> None:
        """Count a request that is over."""
        if story.outcome == "ok":
            source = story.source
            self.answered_secs[story.type, source].add(story.seconds)
            if story.first_chunk_seconds is not None:
                self.first_chunk_secs[source].add(story.first_chunk_seconds)
        else:
            self.unanswered_requests[story.type, story.outcome] += 1
        if story.chosen_from is not None and story.series is not None:
            self.chosen_exchanges[story.series.exchange] += 1
        if (receipt := story.receipt) is not None:
            self.sent_bytes[story.format] += story.sent_bytes
            self.rows_from_storage += receipt.rows_from_storage
            self.rows_from_exchange += receipt.rows_from_exchange
            for gap in receipt.gaps:
                self.gap_secs[gap.state] += (gap.range.end - gap.range.start).total_seconds()

    @property
    def requests(self) -> dict[tuple[str, str], int]:
        """How many requests are over, by type and outcome."""
        counts = Counter(self.unanswered_requests)
        for (type_, _), seconds in self.answered_secs.items():
            counts[type_, "ok"] += sum(seconds.counts)
        return counts
