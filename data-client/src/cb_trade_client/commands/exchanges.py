"""`cb-trade exchanges`: who can be asked."""

from typing import TYPE_CHECKING

from cb_trade_client.commands import outcome
from cb_trade_client.commands.options import AsJson, Token, Url
from cb_trade_client.service_url import DEFAULT_URL

if TYPE_CHECKING:
    from cb_trade_client.inventory import ExchangeInfo


def exchanges(as_json: AsJson = False, url: Url = DEFAULT_URL, token: Token = "") -> None:
    """Show the exchanges that can be asked for, the bars they have, and how each is doing.

    Example: cb-trade exchanges
    """
    from cb_trade_client.client import DataClient
    from cb_trade_client.tables import Column, StandardOutput

    async def work() -> None:
        async with DataClient(url, token=token) as client:
            found = await client.exchanges()
        if as_json:
            outcome.show_json(found)
            return
        StandardOutput().table(
            [
                Column("EXCHANGE"),
                Column("KINDS"),
                Column("TIMEFRAMES", is_prose=True),
                Column("BARS A CALL", is_number=True),
                Column("CALLS A SECOND", is_number=True),
                Column("WAITING", is_number=True),
                Column("STATE", is_prose=True),
            ],
            [
                (
                    each.name,
                    " ".join(each.kinds),
                    " ".join(each.timeframes),
                    f"{each.page_limit_bars:,}",
                    f"{each.condition.calls_per_sec:.3g}",
                    f"{each.condition.waiting:,}",
                    _state(each),
                )
                for each in found
            ],
        )

    outcome.run(work())


def _state(exchange: "ExchangeInfo") -> str:
    """Return its state, and how long it is left alone."""
    secs = exchange.condition.paused_secs
    return f"{exchange.state} (left alone for {secs:.0f} s)" if secs else exchange.state
