"""Who may read the figures without a token, and whose they are."""

from __future__ import annotations

import os

import pytest
from prometheus_client import CollectorRegistry, Gauge

from cb_trade_data.api.metrics import OfWorker, is_from_here


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1:8700", "127.0.0.1", "localhost:8700", "LocalHost", "[::1]:8700"])
def test_whoever_asks_on_this_machine_is_from_here(peer, host):
    assert is_from_here(peer, {"host": host, "accept": "*/*"})


@pytest.mark.parametrize("peer", ["10.0.0.7", "192.168.1.1", "2001:db8::1", "::ffff:10.0.0.7", "", "testclient"])
def test_whoever_comes_from_another_machine_is_not(peer):
    assert not is_from_here(peer, {"host": "127.0.0.1:8700"})


@pytest.mark.parametrize(
    "header", ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded", "via"]
)
def test_whoever_comes_through_a_proxy_on_this_machine_is_not(header):
    """Whatever the header says: it is the client who may have written it."""
    assert not is_from_here("127.0.0.1", {"host": "127.0.0.1:8700", header: "127.0.0.1"})


@pytest.mark.parametrize(
    "host", ["cb-trade.example.com", "10.0.0.7:8700", "[2001:db8::1]", "", "127.0.0.1.example.com"]
)
def test_whoever_asked_for_another_name_is_not(host):
    """A proxy that adds no header leaves the name; and so does a page whose name was made to lead here."""
    assert not is_from_here("127.0.0.1", {"host": host})


def test_the_figures_of_one_process_among_several_say_whose_they_are():
    registry = CollectorRegistry()
    Gauge("one", "", ["kind"], registry=registry).labels("a").set(1)

    [metric] = OfWorker(registry).collect()

    assert [sample.labels for sample in metric.samples] == [{"kind": "a", "worker": str(os.getpid())}]
