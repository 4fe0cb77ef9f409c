"""`cb-trade exchanges`: who can be asked."""

from cb_trade_client.commands import outcome
from cb_trade_client.commands.options import AsJson, Token, Url
from cb_trade_client.service_url import DEFAULT_URL


def exchanges(as_json: AsJson = False, url: Url = DEFAULT_URL, token: Token = "") -> None:
    """Show the exchanges that can be asked for, the bars they have, and the state each was last seen in.

    Example: cb-trade exchanges
    """
    from cb_trade_client.client import DataClient
    from cb_trade_client.tables import Column, StandardOutput

    async def work() -> None:
        found = await DataClient(url, token=token).exchanges()
        if as_json:
            outcome.show_json(found)
            return
        StandardOutput().table(
            [
                Column("EXCHANGE"),
                Column("KINDS"),
                Column("TIMEFRAMES", is_prose=True),
                Column("BARS A CALL", is_number=True),
                Column("STATE", is_prose=True),
            ],
            [
                (each.name, " ".join(each.kinds), " ".join(each.timeframes), f"{each.page_limit_bars:,}", each.state)
                for each in found
            ],
        )

    outcome.run(work())
