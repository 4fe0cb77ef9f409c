"""Every metric there is stands in the reference as it is, and no other."""

import re
from pathlib import Path

from prometheus_client.core import HistogramMetricFamily
from pydantic import SecretStr

from cb_trade_data.api.metrics_collector import MetricsCollector
from cb_trade_data.api.tally import Tally
from cb_trade_data.config import AuthSettings, Settings
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.main import create_storage
from cb_trade_data.storage.manager import StorageManagerImpl

REFERENCE = (Path(__file__).parents[1] / "docs" / "reference" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(cb_trade_\w+)` \| (\w+) \|([^|]*)\| (.+) \|$", re.MULTILINE)

Row = tuple[str, str, tuple[str, ...]]


def told() -> list[Row]:
    """Return name, type and labels of every metric the service tells, whether it has a value yet or not."""
    settings = Settings(_env_file=None, auth=AuthSettings(secret=SecretStr("a secret for tests, long enough to pass")))
    collector = MetricsCollector(
        Tally(),
        StorageManagerImpl(create_storage(settings.storage)),
        DataSourceConnectorImpl(PluginRegistry()),
        connections_max=1,
        memory_max_bytes=None,
    )
    return [
        (
            metric.name + ("_total" if metric.type == "counter" else ""),
            metric.type,
            metric._labelnames,  # the library tells them nowhere else
        )
        for metric in collector.collect()
    ]


def test_every_metric_stands_in_the_reference_with_its_type_and_labels_in_the_order_of_the_text():
    written = [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in ROW.findall(REFERENCE)]

    assert written == told()


def test_names_say_what_is_counted_and_in_which_unit():
    for name, kind, _ in told():
        assert (kind == "counter") == name.endswith("_total")
        assert kind != HistogramMetricFamily("x", "").type or name.endswith("_seconds")
        assert not re.search(r"_(ms|secs|kb|mb)(_|$)", name)
