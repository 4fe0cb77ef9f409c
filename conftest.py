"""What all tests of the workspace share."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator

import ccxt.async_support as ccxt
import pytest


def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than there are processors: tests wait for each other and for processes of theirs."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among the tests themselves, neither while they are collected nor later.

    There are thousands, and all of them stay: to go through them again and again is a fifth of what collecting takes.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _ccxt_closes_at_once() -> None:
    """After its connections are closed it waits a quarter of a second for those with TLS, of which there are none."""
    ccxt.Exchange.timeout_on_exit = 0
