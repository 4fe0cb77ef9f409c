"""Running the service as a process: its log, its socket, its signals."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import socket
import sys
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from types import FrameType
from typing import Any, BinaryIO, Final, cast

import orjson
import pyarrow as pa
import structlog
import uvicorn
from fastapi import FastAPI
from structlog.processors import JSONRenderer, format_exc_info

from cb_trade_data.api.access_log import DropNoise, RedactTokens
from cb_trade_data.api.admission import Admission
from cb_trade_data.api.data_socket_protocol import DataSocketProtocol
from cb_trade_data.api.http_protocol import HEAD_MAX_BYTES, HttpProtocol
from cb_trade_data.config import Settings, TlsSettings
from cb_trade_data.main import create_app

# Clients are pinged every 20 s and given up after 120 s without a sign of life.
_PING_INTERVAL_SECS: Final = 20.0
_PING_TIMEOUT_SECS: Final = 120.0
# Over this the server closes with 1009 by itself; from 64 KiB on, we answer with an error.
_MESSAGE_MAX_BYTES: Final = 1024 * 1024
# For connections that were told to go, and for answers over HTTP.
_FAREWELL_SECS: Final = 3
_TICK_SECS: Final = 0.02

# From which level on others may log, however much we do. At debug, all of these print headers and whole answers:
# tokens, and what our own lines say better. The second kind does so at info: several lines for each request to storage,
# two for each handshake, which take a tenth of the time of one that is refused.
_TALKATIVE: Final = {
    logging.INFO: ("websockets", "ccxt", "aiohttp"),
    logging.WARNING: ("uvicorn.error", "azure", "msal", "urllib3"),
}


def run(
    settings: Settings, listener: socket.socket, tell_started: Callable[[], None], worker: int | None = None
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        listener: Bound to where it listens.
        tell_started: Called once requests are accepted.
        worker: Which of several processes on *listener* this is, for its log; None for the only one.
    """
    configure_log(settings.log_level, worker)
    # It gives memory back while months come and go; Arrow's default keeps more of it (`bench stream --only memory`).
    if "jemalloc" in pa.supported_memory_backends() and "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    app = create_app(settings)
    # What is there from the start stays: a collection that looks through all of it holds every answer up.
    gc.freeze()
    config = server_config(app, settings.tls)
    DataServer(config, app.state.admission, settings.drain_secs, tell_started).run(sockets=[listener])


def server_config(app: FastAPI, tls: TlsSettings | None = None) -> uvicorn.Config:
    """Return how the service is to be served; in plain text where *tls* names no certificate."""
    tls = tls or TlsSettings()
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # our own lines tell what was asked, without the address, in which a token may be
        http=HttpProtocol,
        h11_max_incomplete_event_size=HEAD_MAX_BYTES,
        ws=DataSocketProtocol,
        ws_max_size=_MESSAGE_MAX_BYTES,
        ws_ping_interval=_PING_INTERVAL_SECS,
        ws_ping_timeout=_PING_TIMEOUT_SECS,
        # Costs a factor of fifteen and more in throughput, and memory per socket.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=_FAREWELL_SECS,
        ssl_certfile=tls.certificate_file,
        ssl_keyfile=tls.key_file,
    )


def configure_log(level: str, worker: int | None = None) -> None:
    """Log to stderr: for people on a terminal, as JSON lines elsewhere; never with a token.

    Each line names the *worker*, if there is one.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if worker is not None:
        shared.append(partial(_add_worker, worker))
    # Plain tracebacks: the rich ones show local variables, tokens among them.
    pretty = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    is_terminal = sys.stderr.isatty()
    rendering: list[structlog.typing.Processor] = (
        [_for_people, pretty, _encoded] if is_terminal else [format_exc_info, JSONRenderer(serializer=_json)]
    )
    # Straight to stderr: there is a line for each request, and `logging` would render it from a record of its own.
    structlog.configure(
        processors=[*shared, *rendering],
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", _LogFile(sys.stderr.buffer))),
        # What is not logged is not put together, either.
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.addFilter(DropNoise())
    handler.addFilter(RedactTokens())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([pretty] if is_terminal else [format_exc_info, JSONRenderer()]),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for least, names in _TALKATIVE.items():
        for name in names:
            logging.getLogger(name).setLevel(max(least, logging.getLevelName(level.upper())))


class _LogFile:
    """A file whose disk may be full, or whose terminal closed: what cannot be written is lost, and nothing else."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, line: bytes) -> None:
        with suppress(OSError):
            self._file.write(line)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()


def _add_worker(worker: int, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["worker"] = worker
    return event


def _for_people(_: Any, __: str, event: Any) -> Any:
    """Write instants as people do; JSON knows how to by itself."""
    return {name: str(value) if isinstance(value, datetime) else value for name, value in event.items()}


def _encoded(_: Any, __: str, line: Any) -> bytes:
    return str(line).encode(errors="replace")


def _json(event: Any, default: Callable[[Any], Any]) -> bytes:
    """Return *event* as JSON, whatever is in it: a line that cannot be written must not end what it tells of."""
    try:
        return orjson.dumps(event, default)
    except orjson.JSONEncodeError:  # half a surrogate, a key that is no text, a number beyond 64 bits
        return json.dumps(event, default=default, skipkeys=True).encode()


class DataServer(uvicorn.Server):
    """Told to end, it takes nothing new, and lets what is under way go on for a while before it hands over the rest."""

    def __init__(
        self, config: uvicorn.Config, admission: Admission, drain_secs: float, tell_started: Callable[[], None]
    ) -> None:
        """*tell_started* is called once requests are accepted."""
        super().__init__(config)
        self._admission = admission
        self._drain_secs = drain_secs
        self._tell_started = tell_started
        self._is_in_haste = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; at a second signal, wait for nobody any more."""
        self._is_in_haste = self.should_exit
        super().handle_exit(sig, frame)
        self.force_exit = False  # It would leave storage as it is, with its locks.

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, in this order: nobody new, nothing new, what is under way, the connections, the rooms."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        self._admission.end()
        await self._wait_for_all_to_leave(self._drain_secs)
        self._admission.send_away()
        await self._wait_for_all_to_leave(_FAREWELL_SECS)
        await super().shutdown(sockets)

    async def _wait_for_all_to_leave(self, at_most_secs: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + at_most_secs
        # A signal, too, sets nothing but an attribute.
        while self._admission.connections and loop.time() < until and not self._is_in_haste:  # noqa: ASYNC110
            await asyncio.sleep(_TICK_SECS)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept requests, and tell."""
        await super().startup(sockets=[])  # of the application alone: uvicorn puts no bound to handshakes of TLS
        http = cast("type[HttpProtocol]", self.config.http_protocol_class)
        new_protocol = partial(http, self.config, self.server_state, self.lifespan.state)
        for listener in sockets or ():
            server = await asyncio.get_running_loop().create_server(
                new_protocol,
                sock=listener,
                backlog=self.config.backlog,
                ssl=self.config.ssl,
                ssl_handshake_timeout=None if self.config.ssl is None else HttpProtocol.head_timeout_secs,
            )
            self.servers.append(server)
        self._tell_started()
