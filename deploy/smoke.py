"""Prove that a deployed service does its work: ready, closed to strangers, and true to the last bar.

`smoke.py URL`, URL being where it is reached, such as https://cb-trade.example.com, with a token for it in
CB_TRADE_CLIENT__TOKEN. Needs the SDK and nothing else, so that it also runs inside the image. Exit 0, or 1 with what is
wrong as the last line on stderr.
"""

import argparse
import asyncio
import http.client
import os
import ssl
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from cb_trade_client import CbTradeError, DataClient

CALL_TIMEOUT_SECS = 30
PAUSE_SECS = 3.0

# Long past, so that the answer is always the same: each hour of one day.
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)
BARS = 24


class SmokeError(Exception):
    """The service does not do what it is there for."""


@dataclass(frozen=True)
class Wanted:
    """Where the service is, what to ask it for, and how long it may take to be ready."""

    url: str
    exchange: str
    symbol: str
    patience_secs: float


async def smoke(wanted: Wanted, token: str) -> None:
    await wait_until_ready(wanted)
    print("ready")
    for path in ("/v1/exchanges", "/metrics"):
        # On the same machine, metrics are open.
        if path == "/metrics" and urlsplit(wanted.url).hostname in {"127.0.0.1", "::1", "localhost"}:
            continue
        status = await asyncio.to_thread(status_of, wanted.url, path)
        if status == HTTPStatus.OK:
            raise SmokeError(f"{path} is open to whoever has no token")
        print(f"{path} without a token: {status}")
    socket = wanted.url.replace("http", "ws", 1).rstrip("/") + "/ws/data"
    async with DataClient(socket, token=token) as client:
        history = await client.history(wanted.exchange, wanted.symbol, "1h", START, END, verify=True, on_gap="raise")
    if len(history) != BARS:
        raise SmokeError(f"{len(history)} bars came, not the {BARS} of the day")
    print(f"{wanted.exchange} {wanted.symbol}: {len(history)} bars, {history.digest}")


async def wait_until_ready(wanted: Wanted) -> None:
    """Return as soon as `/health/ready` says 200. A certificate may still have to be issued, a container to start."""
    deadline = time.monotonic() + wanted.patience_secs
    while True:
        try:
            status = await asyncio.to_thread(status_of, wanted.url, "/health/ready")
        except (OSError, http.client.HTTPException) as error:
            said = str(error) or type(error).__name__
        else:
            if status == HTTPStatus.OK:
                return
            said = f"status {status}"
        if time.monotonic() >= deadline:
            raise SmokeError(f"not ready after {wanted.patience_secs:g} s: {said}")
        await asyncio.sleep(PAUSE_SECS)


def status_of(url: str, path: str) -> int:
    """Return what a GET without a token is answered with. Raises OSError and HTTPException if it is not answered."""
    address = urlsplit(url)
    if address.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            address.netloc, timeout=CALL_TIMEOUT_SECS, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(address.netloc, timeout=CALL_TIMEOUT_SECS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def parse_arguments() -> Wanted:
    parser = argparse.ArgumentParser(prog="smoke.py", description="Prove that a deployed service does its work.")
    parser.add_argument("url", help="such as https://cb-trade.example.com")
    parser.add_argument("--exchange", default="binance", help="default: %(default)s")
    parser.add_argument("--symbol", default="BTC/USDT", help="default: %(default)s")
    parser.add_argument("--patience-secs", type=float, default=60.0, help="until it is ready; default: %(default)s")
    return Wanted(**vars(parser.parse_args()))


if __name__ == "__main__":
    try:
        asyncio.run(smoke(parse_arguments(), os.environ.get("CB_TRADE_CLIENT__TOKEN", "")))
    except (SmokeError, CbTradeError) as error:
        sys.exit(f"smoke: {error}")
