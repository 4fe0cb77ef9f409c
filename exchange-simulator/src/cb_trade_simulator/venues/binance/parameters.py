"""Reading a query by Binance's rules, and refusing it in Binance's words.

Source of codes and messages: https://developers.binance.com/docs/binance-spot-api-docs/errors
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

SYMBOL_PATTERN = "^[A-Z0-9-_.]{1,20}$"
NUMBER_PATTERN = "^[0-9]{1,20}$"
SYMBOLS_PATTERN = r'^\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\]$'
LATEST_MS = 253_402_300_799_999  # the end of year 9999: whatever lies beyond is as far away


class Refused(Exception):
    """The venue answers with HTTP 400 and this code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.body = orjson.dumps({"code": code, "msg": message})


def invalid_symbol() -> Refused:
    """Return the refusal of a market that does not exist (yet)."""
    return Refused(-1121, "Invalid symbol.")


def invalid_interval() -> Refused:
    """Return the refusal of a candle length that does not exist."""
    return Refused(-1120, "Invalid interval.")


def start_after_end() -> Refused:
    """Return the refusal of a span that ends before it starts."""
    return Refused(-1023, "Start time is greater than end time.")


def bad_combination() -> Refused:
    """Return the refusal of parameters that exclude each other."""
    return Refused(-1128, "Combination of optional parameters invalid.")


def span_too_long(hours: int) -> Refused:
    """Return the refusal of a span of more than so many hours."""
    return Refused(-1127, f"More than {hours} hours between startTime and endTime.")


def too_many_requests(limit: int) -> Refused:
    """Return what is said to a client that has used more than *limit* in a minute; it comes with HTTP 429."""
    return Refused(
        -1003,
        f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API.",
    )


class Parameters:
    """The parameters of one call. Every method raises `Refused` where Binance refuses."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = query
        self._read: set[str] = set()

    def symbol(self) -> str:
        """Return the market's id; mandatory."""
        return self._mandatory("symbol", SYMBOL_PATTERN)

    def optional_symbol(self) -> str | None:
        """Return the market's id; None if not given."""
        return self._optional("symbol", SYMBOL_PATTERN)

    def interval(self) -> str:
        """Return the candle length's name, whatever it is; mandatory."""
        return self._mandatory("interval", None)

    def symbols(self) -> list[str]:
        """Return the ids given as `symbol=A` or `symbols=["A","B"]`; empty for all."""
        single = self._optional("symbol", SYMBOL_PATTERN)
        several = self._optional("symbols", SYMBOLS_PATTERN)
        if single and several:
            raise bad_combination()
        return [single] if single else orjson.loads(several or "[]")

    def instant(self, name: str) -> int | None:
        """Return milliseconds since 1970 UTC; None if not given."""
        number = self.number(name)
        return None if number is None else min(number, LATEST_MS)

    def number(self, name: str) -> int | None:
        """Return a whole number; None if not given."""
        text = self._optional(name, NUMBER_PATTERN)
        return None if text is None else int(text)

    def limit(self, default: int, most: int) -> int:
        """Return how many rows are wanted; more than *most* counts as *most*."""
        text = self._optional("limit", NUMBER_PATTERN)
        limit = default if text is None else int(text)
        if limit == 0:
            raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(limit, most)

    def refuse_unread(self) -> None:
        """Raise if parameters were sent that none of the other methods has asked for."""
        if unread := len(self._query.keys() - self._read):
            read, sent = len(self._query) - unread, len(self._query)
            raise Refused(
                -1104, f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'."
            )

    def _mandatory(self, name: str, pattern: str | None) -> str:
        if not self._query.get(name):
            raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        return self._optional(name, pattern) or ""

    def _optional(self, name: str, pattern: str | None) -> str | None:
        self._read.add(name)
        text = self._query.get(name)
        if text == "":
            raise Refused(-1105, f"Parameter '{name}' was empty.")
        if text is not None and pattern is not None and not re.fullmatch(pattern, text, re.ASCII):
            raise Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'.")
        return text
