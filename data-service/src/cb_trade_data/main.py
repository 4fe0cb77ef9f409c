"""The one place that wires: every room is built here in order, and closed in reverse."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from cb_trade_data.api.admission import Admission, AdmissionLimits
from cb_trade_data.api.connection import ConnectionLimits
from cb_trade_data.api.health import Health, health_router
from cb_trade_data.api.http import refusing_what_no_route_answers
from cb_trade_data.api.http_stories import HttpStories
from cb_trade_data.api.loop_lag import measuring_loop_lag
from cb_trade_data.api.metrics import metrics_router
from cb_trade_data.api.metrics_collector import MetricsCollector
from cb_trade_data.api.tally import Tally
from cb_trade_data.api.v1 import V1, v1_router
from cb_trade_data.api.websocket import websocket_router
from cb_trade_data.auth.keys import Key, KeySource, OneKey
from cb_trade_data.auth.module import AuthenticationModuleImpl
from cb_trade_data.auth.published_keys import PublishedKeys
from cb_trade_data.config import AuthSettings, ExchangeSettings, Settings, StorageSettings
from cb_trade_data.errors import InvalidSettingsError
from cb_trade_data.exchange_source.discovery import load_plugins, offered
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.exchange_source.plugin import ExchangeAccess
from cb_trade_data.exchange_source.stopwatch import Stopwatch
from cb_trade_data.historical.current_fetcher import CurrentDataFetcher
from cb_trade_data.historical.fetcher import HistoricalFetcher
from cb_trade_data.historical.manager import HistoricalDataManagerImpl
from cb_trade_data.historical.quality_watch import AskedSeries, QualityWatch
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.models.instants import utc_now
from cb_trade_data.models.public_key import PublicKey
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts import Layout
from cb_trade_data.storage.layouts.arrow import ArrowLayout
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.object_storage import ObjectStorage

_LAYOUTS: Final[dict[str, Callable[[], Layout]]] = {"parquet": ParquetLayout, "arrow": ArrowLayout, "json": JsonLayout}


def create_app(
    settings: Settings, limits: ConnectionLimits | None = None, stopwatch: Stopwatch | None = None
) -> FastAPI:
    """Return the service, ready to be run by an ASGI server; nothing is opened before it starts.

    Args:
        settings: How it is set up.
        limits: What a connection may do; None for the usual.
        stopwatch: What patience with exchanges, and with who publishes keys, is counted by; None for real seconds.
    """
    storage = StorageManagerImpl(
        create_storage(settings.storage),
        cache_max_bytes=settings.storage.cache_max_bytes,
        recheck_after_secs=settings.storage.recheck_after_ms / 1000,
    )
    source = DataSourceConnectorImpl(_exchange_registry(settings), stopwatch=stopwatch)
    register = SeriesRegister(storage, source)
    fetcher = HistoricalFetcher(storage, source, register)
    asked = AskedSeries()
    watch = QualityWatch(storage, source, asked)
    manager = HistoricalDataManagerImpl(
        storage,
        source,
        register,
        fetcher,
        CurrentDataFetcher(storage, source, register),
        preference=settings.exchange_preference,
        asked=asked,
    )
    auth = create_authentication(settings.auth, (stopwatch or Stopwatch()).now_secs)

    admission = Admission(
        AdmissionLimits(
            connections=settings.limits.connections_max,
            connections_per_subject=settings.limits.connections_per_subject,
            requests_per_subject=settings.limits.requests_per_subject,
            requests_per_sec_per_subject=settings.limits.requests_per_sec_per_subject,
            memory_bytes=settings.limits.memory_max_bytes,
        )
    )

    tally = Tally()
    stories = HttpStories(tally)
    health = Health(storage, source, auth_keys=auth.condition, is_ending=lambda: admission.is_ending)
    collector = MetricsCollector(
        tally,
        admission,
        storage,
        source,
        watch,
        connections_max=settings.limits.connections_max,
        memory_max_bytes=settings.limits.memory_max_bytes,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with measuring_loop_lag(tally.loop_lag_secs), watch.watching():
            yield
        await health.close()
        await auth.close()
        await fetcher.close()
        await source.close()
        await storage.close()

    app = FastAPI(
        title="cb-trade", summary="Crypto market history you can trust.", lifespan=lifespan, redirect_slashes=False
    )
    app.add_exception_handler(HTTPException, refusing_what_no_route_answers(stories, told_below=V1))
    app.state.admission = admission  # which whoever runs the app tells that it ends
    limits = limits or ConnectionLimits(request_rows=settings.limits.request_rows_max)
    # First: routes are tried one after the other, for a handshake that is refused, too.
    app.include_router(
        websocket_router(auth, admission, manager, limits, utc_now, tally, settings.auth.allowed_origins)
    )
    app.include_router(health_router(health, storage, source))
    app.include_router(metrics_router(auth, health, collector, is_one_of_several=settings.workers > 1))
    app.include_router(v1_router(auth, admission, manager, source, stories))
    return app


def create_storage(settings: StorageSettings) -> ObjectStorage:
    """Return the place and the layout that *settings* name; nothing is opened before it is used."""
    layout = _LAYOUTS[settings.layout]()
    if settings.backend == "local":
        return LocalFileStorage(settings.root, layout)
    # A large import that a service on a local disk need not pay for.
    from cb_trade_data.storage.implementations.azure_blob_storage import AzureBlobStorage, open_container

    azure = settings.azure
    container = open_container(
        azure.container,
        connection_string=None if azure.connection_string is None else azure.connection_string.get_secret_value(),
        account_url=None if azure.account_url is None else str(azure.account_url),
    )
    return AzureBlobStorage(container, layout)


def create_authentication(
    settings: AuthSettings, now_secs: Callable[[], float] = time.monotonic
) -> AuthenticationModuleImpl:
    """Return what checks tokens as *settings* have it; no key is fetched before it is needed."""
    return AuthenticationModuleImpl(
        _key_source(settings, now_secs),
        audience=settings.audience,
        issuer=settings.issuer,
        leeway=timedelta(seconds=settings.leeway_secs),
    )


def _key_source(settings: AuthSettings, now_secs: Callable[[], float]) -> KeySource:
    if settings.secret is not None:
        return OneKey(Key.of_secret(settings.secret.get_secret_value()))
    if settings.public_key is not None:
        return OneKey(Key.of_public_key(PublicKey.from_pem(settings.public_key)))
    # One of the three is set: the settings would not be there otherwise.
    return PublishedKeys(str(settings.jwks_url), settings.algorithms, now_secs)


def _exchange_registry(settings: Settings) -> PluginRegistry:
    """Return the exchanges that installed packages offer, and those that CCXT has and the settings name.

    Raises:
        InvalidSettingsError: Some of them cannot be served; lists every problem.
    """
    chosen = {name: own.plugin for name, own in settings.exchanges.items() if own.plugin is not None}
    registry = PluginRegistry()
    for plugin in load_plugins(offered(), chosen, named=settings.exchanges):
        own = settings.exchanges.get(plugin.facts.id, ExchangeSettings())
        access = ExchangeAccess(
            None if own.base_url is None else str(own.base_url),
            own.options,
            api_key=None if own.api_key is None else own.api_key.get_secret_value(),
            api_secret=None if own.api_secret is None else own.api_secret.get_secret_value(),
        )
        facts = plugin.facts
        if own.calls_per_sec is not None:
            facts = replace(facts, pace=facts.pace.at(own.calls_per_sec))
        facts = replace(facts, pace=facts.pace.part(own.budget_share / settings.workers))
        registry.register(facts, partial(plugin.make_client, facts, access))
    if strangers := [name for name in settings.exchange_preference if name not in registry.names]:
        raise InvalidSettingsError(
            [
                f"CB_TRADE_EXCHANGE_PREFERENCE: no exchange is called {name!r} here: correct or remove it; known: "
                f"{', '.join(registry.names)}"
                for name in strangers
            ],
            [],
        )
    return registry
