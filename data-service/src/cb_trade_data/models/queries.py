"""What can be asked over HTTP: the fields of the wire messages, as text in the query of an address."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from cb_trade_data.models.messages import (
    DEFAULT_TIMEFRAME,
    EXCHANGE_NAMES,
    SYMBOL_NAMES,
    Asked,
    Exchange,
    ExchangeText,
    Name,
    SeriesFields,
    Symbol,
    SymbolText,
    parse_instant,
)

LIMIT_MAX: Final = 1_000
_LIMIT_OF_SERIES: Final = 100
# The text of a series is shorter than this.
_CURSOR_MAX_CHARACTERS: Final = 200
# No time and no limit needs more.
_NUMBER_MAX_CHARACTERS: Final = 32


def _parse_instant(value: object) -> datetime:
    """Read a time in a query, where epoch milliseconds are text, too."""
    return parse_instant(_parse_number(value) if _is_number(value) else value)


def _parse_number(value: object) -> int:
    """Read a whole number in a query: digits, with nothing between or around them."""
    if not _is_number(value):
        raise ValueError("must be a whole number, in digits")
    if len(str(value)) > _NUMBER_MAX_CHARACTERS:
        raise ValueError(f"has more than {_NUMBER_MAX_CHARACTERS} digits")
    return int(str(value))


def _parse_choice(value: object) -> bool:
    """Read yes or no in a query."""
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value == "true"


def _is_number(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.removeprefix("-").isdigit()


Instant = Annotated[
    datetime,
    BeforeValidator(_parse_instant),
    WithJsonSchema({"type": "string", "examples": ["2024-01-01T00:00:00Z", "1704067200000"]}),
]
YesOrNo = Annotated[bool, BeforeValidator(_parse_choice)]
Limit = Annotated[int, BeforeValidator(_parse_number), Field(ge=1, le=LIMIT_MAX)]


class CoverageQuery(SeriesFields):
    """What is known of a series."""

    exchange: Exchange
    start_time: Annotated[
        Instant | None,
        Field(description="Inclusive: ISO 8601 with a zone, or epoch milliseconds; by default where coverage begins."),
    ] = None
    end_time: Annotated[
        Instant | None,
        Field(description="Exclusive, written like start_time; by default where coverage ends."),
    ] = None
    limit: Annotated[Limit, Field(description="The most segments to list.")] = LIMIT_MAX


class ComparisonQuery(Asked):
    """Which bars to compare with those that their trades make."""

    exchange: Exchange
    symbol: Symbol
    timeframe: Name = DEFAULT_TIMEFRAME
    start_time: Annotated[Instant, Field(description="Inclusive: ISO 8601 with a zone, or epoch milliseconds.")]
    end_time: Annotated[Instant, Field(description="Exclusive, written like start_time.")]


class QualityQuery(Asked):
    """How good stored bars are."""

    exchange: Exchange
    symbol: Symbol
    timeframe: Name = DEFAULT_TIMEFRAME
    start_time: Annotated[
        Instant | None,
        Field(description="Inclusive: ISO 8601 with a zone, or epoch milliseconds; by default where coverage begins."),
    ] = None
    end_time: Annotated[
        Instant | None,
        Field(description="Exclusive, written like start_time; by default where coverage ends."),
    ] = None
    details: Annotated[
        YesOrNo, Field(description="Look at the rows: gaps, findings, prices of the days, and accuracy.")
    ] = False
    limit: Annotated[Limit, Field(description="The most days to list.")] = LIMIT_MAX


class SeriesQuery(Asked):
    """Which series are stored."""

    exchange: Annotated[
        ExchangeText | None, Field(validation_alias=EXCHANGE_NAMES, description="Only those of this exchange.")
    ] = None
    symbol: Annotated[
        SymbolText | None, Field(validation_alias=SYMBOL_NAMES, description="Only those of this symbol.")
    ] = None
    after: Annotated[
        str | None, Field(max_length=_CURSOR_MAX_CHARACTERS, description="The `next` of the page before.")
    ] = None
    limit: Annotated[Limit, Field(description="The most series to list.")] = _LIMIT_OF_SERIES


class NoQuery(Asked):
    """Nothing can be chosen."""
