"""What the example consumers have in common at the command line: where the service is, times, and how a program ends.

| exit code | meaning |
| --- | --- |
| 0 | done, or asked to end |
| 1 | the request failed, or the output could not be written |
| 2 | the command line is wrong; nothing was asked |
| 130 | interrupted with Ctrl-C before it was done |
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime

import numpy as np

from bar_times import bars_later
from cb_trade_client import (
    AuthenticationError,
    CbTradeError,
    ConnectionLostError,
    ForbiddenError,
    RequestError,
    ServiceUnavailableError,
)

DEFAULT_URL = "ws://127.0.0.1:8700/ws/data"


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Leaves descriptions as they are written, and tells defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, "", False) else super()._get_help_string(action)


def add_service_options(parser: argparse.ArgumentParser) -> None:
    """Add --url and --token, which may also come from the environment, as for `cb-trade`."""
    service = parser.add_argument_group("the service")
    service.add_argument(
        "--url",
        default=os.environ.get("CB_TRADE_CLIENT__URL", DEFAULT_URL),
        help="WebSocket address of the data service, or CB_TRADE_CLIENT__URL",
    )
    # Not the default of the option: the help, which shows defaults, would show the token.
    service.add_argument(
        "--token",
        metavar="JWT",
        help="access token, better given as CB_TRADE_CLIENT__TOKEN, which keeps it out of the process list",
    )


def token_of(arguments: argparse.Namespace) -> str:
    """Return the token from the option or the environment; empty when there is none, which the SDK explains."""
    return arguments.token or os.environ.get("CB_TRADE_CLIENT__TOKEN", "")


def utc_time(text: str) -> datetime:
    """Return *text*, a date or an ISO 8601 time, as an aware UTC datetime; without a zone UTC is meant."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment.replace(tzinfo=UTC) if moment.utcoffset() is None else moment).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 2024-01-01 or 2024-01-01T12:00") from None


def timeframe(text: str) -> str:
    """Return *text* if a timeframe is written like that; which ones there are is the exchange's business."""
    try:
        bars_later(np.zeros(0, np.int64), text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def positive(text: str) -> int:
    """Return *text* as a whole number from 1 on."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def say(text: str) -> None:
    """Print one line for people, on stderr, so that stdout stays clean data."""
    print(text, file=sys.stderr, flush=True)


def run(work: Coroutine[None, None, None]) -> int:
    """Run *work* to its end; return the exit code, and say in one line on stderr what went wrong and what to do."""
    try:
        asyncio.run(work)
    except CbTradeError as error:
        say(f"error: {error}; {next_step(error)}")
        return 1
    except BrokenPipeError:
        # Who reads stdout had enough. Python flushes it once more when it ends and would complain about the same pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0


def next_step(error: CbTradeError) -> str:
    """Return what somebody who meets *error* can do. The class tells that; the code tells what exactly it was."""
    match error:
        case AuthenticationError():
            return "get a new token: export CB_TRADE_CLIENT__TOKEN=$(cb-trade token create)"
        case ForbiddenError():
            return "get a token with a wider scope: cb-trade token create --help"
        case RequestError():
            return "change the command line (--help shows how)"
        case ConnectionLostError():
            return "see whether the service runs (./platform.sh status) and --url is right, then try again"
        case ServiceUnavailableError():
            wait = f"in {error.retry_after_ms / 1000:g} s" if error.retry_after_ms else "later"
            return f"the request is fine, try again {wait}"
        case _:
            return "tell the people who run the service"
