"""What reads the figures of a service that has done nothing yet."""

from __future__ import annotations

from pydantic import SecretStr

from cb_trade_data.api.admission import Admission, AdmissionLimits
from cb_trade_data.api.metrics_collector import MetricsCollector
from cb_trade_data.api.tally import Tally
from cb_trade_data.config import AuthSettings, Settings
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.historical.quality_watch import AskedSeries, QualityWatch
from cb_trade_data.main import create_storage
from cb_trade_data.storage.manager import StorageManagerImpl


def idle_collector() -> MetricsCollector:
    """Return a collector that tells every metric there is, although most have no value yet."""
    settings = Settings(_env_file=None, auth=AuthSettings(secret=SecretStr("a secret for tests, long enough to pass")))
    storage = StorageManagerImpl(create_storage(settings.storage))
    source = DataSourceConnectorImpl(PluginRegistry())
    return MetricsCollector(
        Tally(),
        Admission(AdmissionLimits()),
        storage,
        source,
        QualityWatch(storage, source, AskedSeries()),
        connections_max=1,
        memory_max_bytes=None,
    )
