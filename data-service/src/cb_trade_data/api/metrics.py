"""`/metrics`: what is counted, as Prometheus reads it. Open to the machine itself, elsewhere to `admin:read`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from cb_trade_data.api.health import Health
from cb_trade_data.api.http import BearerToken, RefusingRoute
from cb_trade_data.api.metrics_collector import MetricsCollector
from cb_trade_data.auth.interfaces import IAuthenticationModule
from cb_trade_data.models.addresses import is_loopback

# What proxies say of those they speak for.
_PROXY_HEADERS: Final = ("forwarded", "via", "x-real-ip")
_PROXY_HEADERS_PREFIX: Final = "x-forwarded-"


def metrics_router(
    auth: IAuthenticationModule, health: Health, collector: MetricsCollector, *, is_one_of_several: bool = False
) -> APIRouter:
    """Return the route that Prometheus reads.

    Args:
        is_one_of_several: Whether other processes answer at the same address: a label then tells whose figures they
            are.
    """
    router = APIRouter(route_class=RefusingRoute, tags=["health"])
    # Not the library's own, which all services of a process would share.
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    told = OfWorker(registry) if is_one_of_several else registry

    @router.get("/metrics", response_class=Response)
    async def metrics(request: Request, credentials: BearerToken) -> Response:
        """Tell all figures of this process, in Prometheus' text format.

        Whoever asks from the machine itself, and not through a proxy, needs no token; all others one with `admin:read`.
        """
        if not is_from_here(request.client.host if request.client else "", request.headers):
            principal = await auth.authenticate(None if credentials is None else credentials.credentials)
            principal.require("admin:read")
        collector.readiness = await health.look()
        return Response(generate_latest(told), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router


class OfWorker(Collector):
    """Adds to all figures whose they are: the id of this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        worker = {"worker": str(os.getpid())}
        for metric in self._registry.collect():
            metric.samples = [sample._replace(labels=sample.labels | worker) for sample in metric.samples]
            yield metric


def is_from_here(peer: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a request was made on this machine, as opposed to a proxy's on this machine for somebody else.

    Behind a proxy, everybody's peer is the proxy; but it says so, or leaves the name that was asked for as it is.
    """
    if any(name.startswith(_PROXY_HEADERS_PREFIX) or name in _PROXY_HEADERS for name in headers):
        return False
    return is_loopback(peer) and is_loopback(_host(headers.get("host", "")))


def _host(host_and_port: str) -> str:
    """Return the host of a `Host` header, an address of version 6 without its brackets."""
    if host_and_port.startswith("["):
        return host_and_port[1:].partition("]")[0]
    return host_and_port.partition(":")[0]
