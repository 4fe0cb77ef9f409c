"""What all rooms count, in the words of Prometheus. Read when somebody asks; nothing is counted here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import accumulate
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from cb_trade_data.api.admission import Admission
from cb_trade_data.api.health import Readiness
from cb_trade_data.api.memory_gauge import own_memory_bytes
from cb_trade_data.api.tally import Distribution, Tally
from cb_trade_data.exchange_source.interfaces import IDataSourceConnector
from cb_trade_data.historical.quality_watch import QualityWatch
from cb_trade_data.models import system
from cb_trade_data.storage.coverage import State
from cb_trade_data.storage.interfaces import IStorageManager

_BREAKER_STATES: Final = ("closed", "open", "half-open")
_EXCHANGE_ERRORS: Final = ("limit", "refusal", "nonsense", "unavailable")
_SERIES_LABELS: Final = ("exchange", "symbol", "timeframe")
_GAP_STATES: Final = (State.EMPTY, State.FAILED, State.UNAVAILABLE)

# A value for each combination of label values; the empty one for a metric without labels.
_Values = Iterable[tuple[tuple[str, ...], float]]


class MetricsCollector(Collector):
    """Reads the rooms. Every label has few values, known from the code and the settings: never a subject.

    Only the quality of bars is told by symbol: of the 200 series at most that are watched.

    Attributes:
        readiness: What was found when `Health` looked last; None before the first time.
    """

    def __init__(
        self,
        tally: Tally,
        admission: Admission,
        storage: IStorageManager,
        source: IDataSourceConnector,
        watch: QualityWatch,
        *,
        connections_max: int,
        memory_max_bytes: int | None,
    ) -> None:
        """
        Args:
            connections_max: How many connections there may be.
            memory_max_bytes: How much memory the process may hold before it begins nothing new; None for any.
        """
        self._tally = tally
        self._admission = admission
        self._storage = storage
        self._source = source
        self._watch = watch
        self._connections_max = connections_max
        self._memory_max_bytes = memory_max_bytes
        self.readiness: Readiness | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield every metric there is, those without a value as well."""
        yield _gauge("build_info", "Which cb-trade this is.", [((version("cb-trade-data"),), 1)], ["version"])
        yield from self._health()
        yield from self._requests()
        yield from self._connections()
        yield from self._storing()
        yield from self._exchanges()
        yield from self._quality()

    def _health(self) -> Iterator[Metric]:
        readiness = self.readiness
        yield _gauge("ready", "Whether /health/ready says so.", [] if readiness is None else [((), readiness.is_ready)])
        components = {} if readiness is None else readiness.components
        yield _gauge(
            "component_ok",
            "Whether there is nothing wrong with a part of the service.",
            [((name,), component.status == "ok") for name, component in components.items()],
            ["component"],
        )
        yield _histogram(
            "event_loop_lag_seconds",
            "How late the event loop comes to what is due, looked at four times a second.",
            [((), self._tally.loop_lag_secs)],
        )
        yield _gauge(
            "own_memory_bytes",
            "How much memory is the process's own: pages that show a file do not count; on Linux only.",
            [((), own_memory_bytes())] if system.TELLS_OWN_MEMORY else [],
        )
        yield _gauge(
            "memory_max_bytes",
            "How much memory the process may hold before it begins nothing new.",
            [] if self._memory_max_bytes is None else [((), self._memory_max_bytes)],
        )

    def _requests(self) -> Iterator[Metric]:
        tally = self._tally
        yield _counter("requests_total", "Requests that are over.", tally.requests.items(), ["type", "outcome"])
        yield _gauge("open_requests", "Requests that run or wait for their turn.", [((), tally.open_requests)])
        yield _counter(
            "messages_refused_total", "Messages that began no request.", _by_one(tally.refused_messages), ["code"]
        )
        yield _counter(
            "exchange_choices_total",
            "Requests that left the exchange open, by the one that was chosen.",
            _by_one(tally.chosen_exchanges),
            ["exchange"],
        )
        yield _histogram(
            "request_seconds",
            "From the message that asks to the last word, of requests with the outcome ok.",
            tally.answered_secs.items(),
            ["type", "source"],
        )
        yield _histogram(
            "first_chunk_seconds",
            "From the message that asks to the first rows, of requests with the outcome ok.",
            [((source,), each) for source, each in tally.first_chunk_secs.items()],
            ["source"],
        )
        rows = [(("storage",), tally.rows_from_storage), (("exchange",), tally.rows_from_exchange)]
        yield _counter("rows_total", "Rows that were taken into answers.", rows, ["source"])
        yield _counter("sent_bytes_total", "Bytes of rows that were sent.", _by_one(tally.sent_bytes), ["format"])
        yield _counter(
            "gap_seconds_total",
            "Market time that answers had to report as gaps.",
            [((state,), tally.gap_secs.get(state, 0.0)) for state in _GAP_STATES],
            ["state"],
        )

    def _connections(self) -> Iterator[Metric]:
        tally = self._tally
        yield _gauge("connections", "Connections that are open.", [((), self._admission.connections)])
        yield _gauge("connections_max", "How many there may be.", [((), self._connections_max)])
        yield _counter("connections_opened_total", "Connections that were opened.", [((), tally.opened_connections)])
        yield _counter(
            "handshakes_refused_total", "Connections that were refused.", _by_one(tally.refused_handshakes), ["code"]
        )

    def _storing(self) -> Iterator[Metric]:
        counts, cache = self._storage.counts, self._storage.cache
        yield _counter(
            "storage_errors_total",
            "What storage failed to do.",
            [((kind,), counts[f"failed_{kind}s"]) for kind in ("read", "write", "check")],
            ["operation"],
        )
        yield _gauge(
            "storage_standing_problems",
            "Parts of storage that could not be read or written, and have not been since.",
            [((), len(self._storage.standing_problems))],
        )
        yield _counter(
            "storage_restated_rows_total",
            "Rows that came with other values than were stored.",
            [((), counts["restated_rows"])],
        )
        yield _counter(
            "storage_damaged_objects_total",
            "Objects that were found damaged and set aside.",
            [((), counts["damaged_objects"])],
        )
        yield _counter(
            "cache_lookups_total",
            "Partitions that were needed, by what memory was good for.",
            [(("hit",), cache.hits), (("confirmed",), cache.confirmed), (("miss",), cache.misses)],
            ["outcome"],
        )
        yield _gauge("cache_bytes", "What is kept in memory of storage.", [((), cache.size_bytes)])
        yield _gauge("cache_max_bytes", "How much may be.", [((), cache.max_bytes)])

    def _exchanges(self) -> Iterator[Metric]:
        conditions = self._source.conditions()
        yield _counter(
            "exchange_calls_total",
            "Calls to an exchange.",
            [((name,), each.calls) for name, each in conditions.items()],
            ["exchange"],
        )
        yield _counter(
            "exchange_errors_total",
            "Calls that failed.",
            [
                ((name, kind), each.errors.get(kind, 0))
                for name, each in conditions.items()
                for kind in _EXCHANGE_ERRORS
            ],
            ["exchange", "kind"],
        )
        yield _gauge(
            "exchange_breaker",
            "Whether calls go through (closed), none does (open), or one finds out (half-open).",
            [((name, state), each.breaker == state) for name, each in conditions.items() for state in _BREAKER_STATES],
            ["exchange", "state"],
        )
        for metric, help_text, attribute in (
            ("exchange_allowed_calls_per_second", "What the budget allows now.", "calls_per_sec"),
            ("exchange_full_calls_per_second", "What it allows at most.", "full_calls_per_sec"),
            ("exchange_calls_waiting", "Calls that wait for their turn.", "waiting"),
            ("exchange_calls_under_way", "Calls that wait for the exchange.", "under_way"),
            ("exchange_paused_seconds", "How long it wants to be left alone from now on.", "paused_secs"),
            ("exchange_markets_held_up", "Markets that are left alone by themselves.", "markets_held_up"),
        ):
            values = [((name,), getattr(each, attribute)) for name, each in conditions.items()]
            yield _gauge(metric, help_text, values, ["exchange"])

    def _quality(self) -> Iterator[Metric]:
        named = [
            ((series.exchange, series.symbol, str(series.timeframe)), quality)
            for series, quality in self._watch.figures.items()
        ]
        yield _gauge(
            "quality_score",
            "How good the last 30 days of watched bars are, from 0 to 1, as far as anybody asked for them.",
            [
                ((*name, score), value)
                for name, quality in named
                for score, value in {**quality.scores.by_name, "overall": quality.scores.overall}.items()
                if value is not None
            ],
            [*_SERIES_LABELS, "score"],
        )
        yield _gauge(
            "quality_gap_bars",
            "How many of these bars were asked for, did not come, and may still come.",
            [(name, quality.gap_bars) for name, quality in named],
            _SERIES_LABELS,
        )
        yield _gauge(
            "quality_bars_behind",
            "How many of those come after the newest held one.",
            [(name, quality.bars_behind) for name, quality in named],
            _SERIES_LABELS,
        )


def _gauge(name: str, help_text: str, values: _Values, labels: Iterable[str] = ()) -> Metric:
    metric = GaugeMetricFamily(f"cb_trade_{name}", help_text, labels=list(labels))
    for label_values, value in values:
        metric.add_metric(label_values, value)
    return metric


def _counter(name: str, help_text: str, values: _Values, labels: Iterable[str] = ()) -> Metric:
    metric = CounterMetricFamily(f"cb_trade_{name}", help_text, labels=list(labels))
    for label_values, value in values:
        metric.add_metric(label_values, value)
    return metric


def _histogram(
    name: str, help_text: str, values: Iterable[tuple[tuple[str, ...], Distribution]], labels: Iterable[str] = ()
) -> Metric:
    metric = HistogramMetricFamily(f"cb_trade_{name}", help_text, labels=list(labels))
    for label_values, each in values:
        bounds = [*map(str, each.bounds), "+Inf"]
        metric.add_metric(label_values, list(zip(bounds, accumulate(each.counts), strict=True)), each.sum)
    return metric


def _by_one(values: Mapping[str, float]) -> _Values:
    return [((label_value,), value) for label_value, value in values.items()]
