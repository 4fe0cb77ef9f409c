"""Arguments that several commands share, and how their text is read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cb_trade_data.storage.housekeeping.scope import Scope

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


def parse_time(text: str) -> datetime:
    """Return *text* as an aware UTC datetime; a time without a zone is taken as UTC, a date as its midnight."""
    try:
        moment = datetime.fromisoformat(text.strip())
        aware = moment.replace(tzinfo=UTC) if moment.utcoffset() is None else moment
        return aware.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is no time; write 2024-01-01, 2024-01-01T12:00 or ISO 8601 with a zone"
        ) from error


def parse_scope(exchange: str | None = None, symbol: str | None = None, timeframe: str | None = None) -> Scope:
    """Return the part of a storage that these words name.

    Args:
        timeframe: Of its bars; or the name of a kind.

    Raises:
        typer.BadParameter: They can name none.
    """
    from cb_trade_data.models.series import Kind
    from cb_trade_data.models.timeframe import Timeframe
    from cb_trade_data.storage.housekeeping.scope import Scope

    try:
        if timeframe in set(Kind):
            return Scope(exchange, symbol, kind=Kind(timeframe))
        return Scope(exchange, symbol, None if timeframe is None else Timeframe.parse(timeframe))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
