"""The wire messages a client may send, as design of `cb-trade.v1`: every field checked, unknown ones refused."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)

from cb_trade_data.models.instants import EPOCH, from_ms
from cb_trade_data.models.series import ANY_EXCHANGE, SYMBOL_MAX_BYTES, Kind, check_symbol

DEFAULT_TIMEFRAME: Final = "5m"
EXCHANGES_MAX: Final = 16


class WireFormat(StrEnum):
    """How rows travel."""

    JSON = "json"
    JSON_COLUMNS = "json_columns"
    ARROW = "arrow"


class Fill(StrEnum):
    """What stands in place of bars that the exchange does not have."""

    NONE = "none"
    PREVIOUS_CLOSE = "previous_close"
    NULL = "null"


def parse_instant(value: object) -> datetime:
    """Read a wire time: ISO 8601 with a zone, or epoch milliseconds.

    Raises:
        ValueError: Neither, or before 1970: no market is older.
    """
    match value:
        case bool():
            raise ValueError("must be ISO 8601 with a zone, or epoch milliseconds")
        case int():
            try:
                instant = from_ms(value)
            except OverflowError:
                raise ValueError("lies outside the years 1970 to 9999") from None
        case str():
            try:
                instant = datetime.fromisoformat(value)
                if instant.tzinfo is None:
                    raise ValueError("needs a zone, such as the Z of 2024-01-01T00:00:00Z")
                instant = instant.astimezone(UTC)
            except OverflowError:
                raise ValueError("lies outside the years 1970 to 9999") from None
        case _:
            raise ValueError("must be ISO 8601 with a zone, or epoch milliseconds")
    if instant < EPOCH:
        raise ValueError("lies before 1970")
    return instant


def parse_exchanges(names: list[str]) -> str | list[str]:
    """Read a list of exchanges to choose from; where it has one name, it is that exchange.

    Raises:
        ValueError: One is named twice, or what stands for all of them is named beside others.
    """
    if len(set(names)) < len(names):
        raise ValueError("names an exchange twice")
    if ANY_EXCHANGE in names:
        raise ValueError(f'"{ANY_EXCHANGE}" stands alone, not in a list')
    return names[0] if len(names) == 1 else names


def _only_for_bars(value: Any, info: ValidationInfo) -> Any:
    kind = info.data.get("kind", Kind.OHLCV)
    if value not in (False, Fill.NONE) and kind is not Kind.OHLCV:
        raise ValueError(f"{kind} has no bars")
    return value


def _form_of_exchange(value: object) -> str | None:
    return "one" if isinstance(value, str) else "several" if isinstance(value, list) else None


RequestId = Annotated[str, Field(min_length=1, max_length=64)]
Instant = Annotated[datetime, BeforeValidator(parse_instant)]
SymbolText = Annotated[str, AfterValidator(check_symbol), Field(max_length=SYMBOL_MAX_BYTES)]
ExchangeText = Annotated[str, Field(min_length=1, max_length=32)]
SYMBOL_NAMES: Final = AliasChoices("symbol", "coin_symbol")
EXCHANGE_NAMES: Final = AliasChoices("exchange", "exchange_name")
Symbol = Annotated[SymbolText, Field(validation_alias=SYMBOL_NAMES)]
Exchange = Annotated[ExchangeText, Field(validation_alias=EXCHANGE_NAMES)]
ExchangeChoice = Annotated[
    Annotated[ExchangeText, Tag("one")]
    | Annotated[
        list[ExchangeText],
        Field(min_length=1, max_length=EXCHANGES_MAX),
        AfterValidator(parse_exchanges),
        Tag("several"),
    ],
    Discriminator(
        _form_of_exchange,
        custom_error_type="exchange_form",
        custom_error_message=f'must be the name of an exchange, a list of such names, or "{ANY_EXCHANGE}"',
    ),
    Field(validation_alias=EXCHANGE_NAMES),
]
Name = Annotated[str, Field(min_length=1, max_length=16)]
Derive = Annotated[bool, AfterValidator(_only_for_bars)]
FillChoice = Annotated[Fill, Field(strict=False), AfterValidator(_only_for_bars)]


class Asked(BaseModel):
    """What all that clients ask has in common: every field is known, and none is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SeriesFields(Asked):
    """The fields that name one series, or leave open of which exchange it is."""

    exchange: ExchangeChoice
    symbol: Symbol
    kind: Annotated[Kind, Field(strict=False)] = Kind.OHLCV
    timeframe: Name | None = None

    @model_validator(mode="after")
    def _timeframe_belongs_to_bars(self) -> Self:
        if self.kind is not Kind.OHLCV and self.timeframe is not None:
            raise ValueError(f"{self.kind} has no timeframe")
        return self

    @property
    def timeframe_or_default(self) -> str | None:
        """The timeframe asked for, the default where none was, None for kinds without bars."""
        if self.kind is not Kind.OHLCV:
            return None
        return self.timeframe or DEFAULT_TIMEFRAME


class Message(Asked):
    """What all client messages share."""

    request_id: RequestId | None = None


class SeriesMessage(Message, SeriesFields):
    """A message about one series; *derive*: of bars made of shorter ones, although the exchange has such bars."""

    derive: Derive = False


class RangeMessage(SeriesMessage):
    """A message about a range of one series: start inclusive, end exclusive."""

    start_time: Instant
    end_time: Instant
    format: Annotated[WireFormat, Field(strict=False)] = WireFormat.JSON
    chunk_rows: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    refresh: bool = False
    fill: FillChoice = Fill.NONE


class RequestHistorical(RangeMessage):
    """Stream the rows of a range."""

    type: Literal["request_historical"]


class PlanHistorical(RangeMessage):
    """Say what a request would read and fetch, without doing either."""

    type: Literal["plan_historical"]


class RequestCurrentTimestamp(SeriesMessage):
    """Say how far storage and the exchange have come."""

    type: Literal["request_current_timestamp"]


class CancelRequest(Message):
    """Stop a request."""

    type: Literal["cancel_request"]
    request_id: RequestId


class Authenticate(Message):
    """Go on with a newer token."""

    type: Literal["authenticate"]
    token: Annotated[str, Field(min_length=1, repr=False)]


ClientMessage = RequestHistorical | PlanHistorical | RequestCurrentTimestamp | CancelRequest | Authenticate

MESSAGE_TYPES: Final[dict[str, type[ClientMessage]]] = {
    "request_historical": RequestHistorical,
    "plan_historical": PlanHistorical,
    "request_current_timestamp": RequestCurrentTimestamp,
    "cancel_request": CancelRequest,
    "authenticate": Authenticate,
}
