"""Which of our errors an answer is, told by the answer itself: CCXT's name for it depends on the exchange, and may err.

Imports CCXT, which takes half a second: to be imported by those who need CCXT anyway.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import ccxt

from cb_trade_data.errors import (
    CbTradeError,
    ExchangeLimitError,
    ExchangeNonsenseError,
    ExchangeRefusalError,
    ExchangeUnavailableError,
    UnknownSymbolError,
)
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.models.instants import utc_now

# Binance's longest ban. Whoever asks for more has not thought about it.
_LONGEST_RETRY_AFTER: Final = timedelta(days=3)
_REASON_MAX_CHARACTERS: Final = 200
_ADDRESS: Final = re.compile(r"\b[a-z]+://\S+")

# What is in the way of the exchange answers with these, not what was asked.
_PASSING_STATUSES: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.REQUEST_TIMEOUT})
# The exchange does not serve the place we call from.
_RESTRICTED_STATUSES: Final = frozenset({HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS})


def refuse_by_status(facts: ExchangeFacts, status: int, reason: str, headers: Mapping[str, str]) -> None:
    """Raise what the HTTP status alone says, whatever the body; return where the body has to be looked at.

    Raises:
        ExchangeLimitError: We were asking too often.
        ExchangeRefusalError: It does not serve our country.
        ExchangeUnavailableError: The exchange has trouble of its own.
    """
    said = f"HTTP {status} {reason}".strip()
    if status in facts.limit_statuses:
        raise ExchangeLimitError(facts.id, said, retry_after(headers))
    if status in _RESTRICTED_STATUSES:
        raise ExchangeRefusalError(facts.id, said)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING_STATUSES:
        raise ExchangeUnavailableError(facts.id, said, retry_after(headers))


def translated(facts: ExchangeFacts, error: Exception, symbol: str, status: int | None = None) -> CbTradeError:
    """Return *error*, which CCXT raised, as one of ours.

    Args:
        facts: The exchange.
        error: CCXT's own, or whatever Python raised when CCXT tripped over an answer.
        symbol: What was asked for; empty where no symbol was.
        status: The HTTP status of the answer that CCXT judged; None if there was none, or it is not known.
    """
    match error:
        case CbTradeError():
            return error
        case ccxt.BadSymbol() if symbol:
            return UnknownSymbolError(facts.id, symbol)
        case ccxt.RateLimitExceeded() | ccxt.DDoSProtection():
            return ExchangeLimitError(facts.id, reason_of(error))
        case ccxt.BadResponse():
            return ExchangeNonsenseError(facts.id, reason_of(error))
        case ccxt.OperationFailed():
            return ExchangeUnavailableError(facts.id, reason_of(error))
        case ccxt.ExchangeError() if type(error) is not ccxt.ExchangeError or (status or 0) >= HTTPStatus.BAD_REQUEST:
            return ExchangeRefusalError(facts.id, reason_of(error))
        case ccxt.BaseError() if status is not None:
            # Words under an HTTP 200 that CCXT has no class for. Kraken and Bybit say everything so: "try again later",
            # and what is the matter with one market.
            return ExchangeNonsenseError(facts.id, reason_of(error))
        case ccxt.BaseError():
            return ExchangeUnavailableError(facts.id, reason_of(error))  # a body that was cut short
        case _:
            return ExchangeNonsenseError(facts.id, f"an answer that cannot be read: {type(error).__name__}")


def says_unknown_symbol(facts: ExchangeFacts, body: str) -> bool:
    """Tell whether an answer says, in words that CCXT does not know, that there is no such market."""
    said = body.casefold()
    return any(words.casefold() in said for words in facts.unknown_symbol_words)


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Return how long the exchange wants to be left alone: seconds or a date, at most three days; None if it is silent.

    A date counts from the answer's own: clocks may differ.
    """
    named = {name.casefold(): text.strip() for name, text in headers.items()}
    text = named.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        until, answered = _date(text), _date(named.get("date", "")) or utc_now()
        if until is None:
            return None
        return min(max(until - answered, timedelta(0)), _LONGEST_RETRY_AFTER)
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return timedelta(seconds=min(seconds, _LONGEST_RETRY_AFTER.total_seconds()))


def reason_of(error: Exception) -> str:
    """Return *error* as a short line of ASCII without addresses, which may hold credentials: clients get to see it."""
    text = _ADDRESS.sub("(address)", f"{type(error).__name__}: {error}")
    return text.encode("ascii", "replace").decode()[:_REASON_MAX_CHARACTERS]


def _date(text: str) -> datetime | None:
    try:
        date: Any = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else None
