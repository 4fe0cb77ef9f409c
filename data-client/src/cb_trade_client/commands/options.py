"""Arguments and options that several subcommands share, and how their text is read."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from cb_trade_client.kinds import WITHOUT_BARS
from cb_trade_client.requests import Fill

_CLOCKS_DIFFER_AT_MOST: Final = timedelta(days=1)
_LAST: Final = datetime.max.replace(microsecond=0, tzinfo=UTC)
_TIME_FORMS = "2024-01-01, 2024-01-01T12:00 or ISO 8601 with a zone; without a zone UTC is meant"


def parse_time(text: str) -> datetime:
    """Return *text* as an aware UTC datetime; a time without a zone is taken as UTC, a date as its midnight."""
    try:
        moment = datetime.fromisoformat(text.strip())
        aware = moment.replace(tzinfo=UTC) if moment.utcoffset() is None else moment
        return aware.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is no time; write {_TIME_FORMS}.") from error


def end_or_newest(start: datetime, end: datetime | None) -> datetime:
    """Return *end*; where it is None, a time that no closed bar reaches, which the service clips to the newest one.

    Now would not do: by a clock that is slow it leaves the newest bars out, and is a question about the past. A *start*
    that lies ahead has it after itself, to be told as such and not as a fault of an end that nobody gave.
    """
    return end or min(max(start, datetime.now(UTC)), _LAST - _CLOCKS_DIFFER_AT_MOST) + _CLOCKS_DIFFER_AT_MOST


def exchanges_of(text: str) -> str | list[str]:
    """Return *text* as the exchange that it names, or as the several ones with commas between them."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise typer.BadParameter(f"{text!r} has an empty name; write binance, or binance,kraken.")
    return names if "," in text else text


Exchange = Annotated[str, typer.Argument(metavar="EXCHANGE", help="CCXT id of the exchange, such as binance.")]
Exchanges = Annotated[
    str,
    typer.Argument(
        metavar="EXCHANGE",
        help="CCXT id of the exchange, such as binance; or several with commas between them, or any: the first that "
        "can answer is chosen.",
    ),
]
Symbol = Annotated[str, typer.Argument(metavar="SYMBOL", help="CCXT unified symbol, such as BTC/USDT.")]
Timeframe = Annotated[
    str,
    typer.Argument(
        metavar="TIMEFRAME",
        help=f"Length of a bar: 1m, 5m, 1h, 1d, 1w, 1M, …; or what has no bars: {', '.join(WITHOUT_BARS)}.",
    ),
]
TimeframeOfBars = Annotated[str, typer.Argument(metavar="TIMEFRAME", help="Length of a bar: 1m, 5m, 1h, 1d, 1w, 1M, …")]
Start = Annotated[
    datetime,
    typer.Option("--start", parser=parse_time, metavar="TIME", help=f"Start, inclusive: {_TIME_FORMS}."),
]
OptionalStart = Annotated[
    datetime | None,
    typer.Option(
        "--start",
        parser=parse_time,
        metavar="TIME",
        help=f"Start, inclusive: {_TIME_FORMS}. The default is where the service's knowledge begins.",
        show_default=False,
    ),
]
End = Annotated[
    datetime | None,
    typer.Option(
        "--end",
        parser=parse_time,
        metavar="TIME",
        help="End, exclusive, written like --start. The default is the end of the newest closed bar.",
        show_default=False,
    ),
]
OptionalEnd = Annotated[
    datetime | None,
    typer.Option(
        "--end",
        parser=parse_time,
        metavar="TIME",
        help="End, exclusive, written like --start. The default is the end of the newest closed bar; without --start, "
        "where the service's knowledge ends.",
        show_default=False,
    ),
]
Refresh = Annotated[
    bool,
    typer.Option("--refresh", help="Ask the exchange again even for what is stored; needs the scope data:refresh."),
]
Derive = Annotated[
    bool,
    typer.Option("--derive", help="Make the bars of shorter ones even where the exchange has them itself."),
]
FillWith = Annotated[
    Fill,
    typer.Option(
        "--fill",
        help="What stands where the exchange has no bar: nothing, a bar of volume 0 at the close before it, or a bar "
        "without values. A last column tells which rows are synthetic.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for programs instead of words for people.")]
Url = Annotated[
    str,
    typer.Option("--url", envvar="CB_TRADE_CLIENT__URL", metavar="URL", help="WebSocket address of the data service."),
]
Token = Annotated[
    str,
    typer.Option(
        "--token",
        envvar="CB_TRADE_CLIENT__TOKEN",
        metavar="JWT",
        help="Access token; make one with: cb-trade token create. The variable keeps it out of the process list.",
        show_default=False,
    ),
]
