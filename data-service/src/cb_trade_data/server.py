"""Running the service as a process: its log, its socket, its signals."""

from __future__ import annotations

import logging
import socket
import sys
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI

from cb_trade_data.api.access_log import DropDenials, RedactTokens
from cb_trade_data.config import Settings
from cb_trade_data.main import create_app

# Clients are pinged every 20 s and given up after 120 s without a sign of life.
_PING_INTERVAL_SECS: Final = 20.0
_PING_TIMEOUT_SECS: Final = 120.0
# Over this the server closes with 1009 by itself; from 64 KiB on, we answer with an error.
_MESSAGE_MAX_BYTES: Final = 1024 * 1024
_DRAIN_SECS: Final = 10

# From which level on others may log, however much we do. At debug, all of these print headers and whole answers:
# tokens, and what our own lines say better. The second kind does so at info: several lines for each request to storage.
_TALKATIVE: Final = {
    logging.INFO: ("uvicorn.error", "uvicorn.access", "websockets", "ccxt", "aiohttp"),
    logging.WARNING: ("azure", "msal", "urllib3"),
}


def run(settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM. Prints `listening on http://HOST:PORT` to stdout once requests are accepted."""
    configure_log(settings.log_level)
    _AnnouncingServer(server_config(create_app(settings))).run(sockets=[listener])


def server_config(app: FastAPI) -> uvicorn.Config:
    """Return how the service is to be served."""
    return uvicorn.Config(
        app,
        log_config=None,
        ws="websockets-sansio",
        ws_max_size=_MESSAGE_MAX_BYTES,
        ws_ping_interval=_PING_INTERVAL_SECS,
        ws_ping_timeout=_PING_TIMEOUT_SECS,
        # Costs a factor of fifteen and more in throughput, and memory per socket.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=_DRAIN_SECS,
    )


def configure_log(level: str) -> None:
    """Log to stderr: for people on a terminal, as JSON lines elsewhere; never with a token."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    pretty = sys.stderr.isatty()
    # Plain tracebacks: the rich ones show local variables, tokens among them.
    pretty_renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer = pretty_renderer if pretty else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        # What is not logged is not put together, either: there is a line for each request.
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.addFilter(RedactTokens())
    handler.addFilter(DropDenials())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([] if pretty else [structlog.processors.format_exc_info]),
                renderer,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for least, names in _TALKATIVE.items():
        for name in names:
            logging.getLogger(name).setLevel(max(least, logging.getLevelName(level.upper())))


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to that address. Raises OSError if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


class _AnnouncingServer(uvicorn.Server):
    """Says where it listens once it does, for people and for programs that started it with port 0."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            sys.stdout.write(f"listening on http://{shown}:{port}\n")
            sys.stdout.flush()
