"""How a command ends: the exit code, and one clear line for whatever went wrong.

| exit code | meaning |
| --- | --- |
| 0 | done (gaps are reported, not a failure), or the reader of stdout had enough, where 1 does not hold |
| 1 | the request failed, or the output could not be written; bars differ (`compare`), or too low a score (`quality`) |
| 2 | the command line is wrong; nothing was asked |
| 130 | interrupted with Ctrl-C |
"""

import asyncio
import os
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from cb_trade_client.errors import CbTradeError
from cb_trade_client.terminal import say


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a command's work to its end and turn what it raises into a line on stderr and an exit code."""
    try:
        asyncio.run(work)
    except CbTradeError as error:
        say(f"error: {error}{_waiting_time(error)}", "error")
        raise typer.Exit(1) from None
    except BrokenPipeError:
        _forget_stdout()
        raise typer.Exit(0) from None
    except OSError as error:
        say(f"error: {error}", "error")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        say("interrupted")
        raise typer.Exit(130) from None


@contextmanager
def while_somebody_reads() -> Iterator[None]:
    """End what is told inside as soon as nobody reads it; what follows is done all the same."""
    try:
        yield
    except BrokenPipeError:
        _forget_stdout()


def show_json(value: object) -> None:
    """Write *value*, made of the SDK's dataclasses, to stdout as one JSON document with ISO 8601 times."""
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())


def _waiting_time(error: CbTradeError) -> str:
    return f"; try again in {error.retry_after_ms / 1000:g} s" if error.retry_after_ms else ""


def _forget_stdout() -> None:
    # Python flushes stdout once more when it ends and would complain about the same pipe.
    # https://docs.python.org/3/library/signal.html#note-on-sigpipe
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
