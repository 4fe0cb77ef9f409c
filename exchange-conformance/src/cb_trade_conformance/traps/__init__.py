"""All traps, in the order of the card."""

from __future__ import annotations

from functools import partial
from typing import Final

from cb_trade_conformance.trap import Trap
from cb_trade_conformance.traps import clocks, errors, event_rows, events, markets, paging, politeness, rows


def _failing(name: str, fault: str, what: str, *, waits: bool = False) -> Trap:
    return Trap(name, f"{what} costs one call more and no bar.", partial(errors.one_call_more, fault=fault), waits)


def _spoilt(fault: str, tried: str, *, is_full: bool = False) -> Trap:
    return Trap(fault, tried, partial(rows.spoilt_page, fault=fault, is_full=is_full))


def _spoilt_events(fault: str, tried: str, *, is_full: bool = False) -> Trap:
    return Trap(f"events-{fault}", tried, partial(event_rows.spoilt_page, fault=fault, is_full=is_full))


TRAPS: Final = (
    Trap(
        "address", "It calls the address that the settings name, and only paths that the exchange has.", paging.address
    ),
    # How a page is asked for.
    Trap("page-borders", "Three pages in a row lose and double no bar, for one call each.", paging.page_borders),
    Trap("window-ends", "A single bar comes for one call, and no neighbour in its place.", paging.window_ends),
    Trap(
        "timeframes",
        "Bars of every timeframe open where they should: weeks on Monday, months on the first.",
        paging.every_timeframe,
    ),
    Trap(
        "newest-bars",
        "A range into the future ends with the last closed bar; the open one is left out.",
        paging.newest_bars,
    ),
    Trap(
        "newest-elsewhere",
        "Around 1,440 minutes ago, where exchanges change to another address, there is no seam.",
        paging.newest_elsewhere,
    ),
    Trap(
        "long-ago", "Bars of years ago are delivered or said to be out of reach, not taken for absent.", paging.long_ago
    ),
    Trap(
        "listing",
        "The time before the first bar is found out with a page and a short search, and no bar is lost.",
        paging.listing,
    ),
    Trap("outage", "An outage of the exchange is a hole, and no bar is put there.", paging.outage),
    Trap(
        "quiet-minutes", "Minutes without a trade are flat bars or none, as the exchange has it.", paging.quiet_minutes
    ),
    # Answers that are none.
    _failing("http-429", "429", "HTTP 429"),
    _failing("too-many", "too-many", "Being told in the exchange's own words that it was too much"),
    _failing("http-418", "418", "HTTP 418, a ban,"),
    _failing("http-403", "403", "HTTP 403"),
    _failing("http-500", "500", "HTTP 500"),
    _failing("http-503", "503", "HTTP 503"),
    _failing("no-answer", "hang", "A call that is never answered", waits=True),
    _failing("reset", "reset", "A connection that is reset"),
    _failing("cut-body", "truncated", "A body that ends too soon"),
    _failing("cut-json", "cut-json", "Half of a JSON under an HTTP 200"),
    _failing("html", "html", "A page of HTML under an HTTP 200"),
    Trap(
        "no-candles",
        "JSON under an HTTP 200 that lacks the list of candles is not taken for silence.",
        errors.no_candles,
    ),
    Trap(
        "retry-after",
        "After too many requests nobody calls before the time that the exchange named.",
        errors.retry_after,
        waits=True,
    ),
    # Rows that cannot be quite true.
    _spoilt("duplicate", "A bar that comes twice pushes none off a full page.", is_full=True),
    _spoilt("unsorted", "Rows in disorder are the same rows."),
    _spoilt("stray", "Rows of the day before and the day after are neither delivered nor stored."),
    _spoilt("conflict", "Of two rows of one bar that differ none is believed.", is_full=True),
    _spoilt("null", "A row without prices is asked for again."),
    _spoilt("off-grid", "Rows half a minute late are no bars."),
    _spoilt("unit", "Times in another unit are no bars."),
    Trap("null-for-good", "A bar that never has prices is a failure, not an absence.", rows.null_for_good),
    Trap("empty-lie", "An empty answer where there are bars is no absence: a refresh finds them.", rows.empty_lie),
    # Markets.
    Trap(
        "unknown-symbol", "A symbol that the exchange lacks is refused without asking for bars.", markets.unknown_symbol
    ),
    Trap("vanished", "A market that vanished is unknown, in whatever words the exchange says so.", markets.vanished),
    Trap(
        "names",
        "The exchange's name of a market leads back to its symbol, so that a renamed one is recognised.",
        markets.names,
    ),
    Trap("perpetual", "A perpetual is not the spot market of its name.", markets.perpetual),
    Trap("delisted", "After the last bar of a market comes an end, and no hole.", markets.delisted),
    Trap("relisted", "A name that comes back has the bars of both its markets.", markets.relisted),
    # Clocks.
    Trap(
        "clock-ahead",
        "With our clock an hour ahead, no open bar is taken for closed.",
        partial(clocks.our_clock, minutes_ahead=60),
    ),
    Trap(
        "clock-behind",
        "With our clock four minutes behind, no closed bar is taken for open.",
        partial(clocks.our_clock, minutes_ahead=-4),
    ),
    # Politeness.
    Trap(
        "markets-once", "Markets and clock are asked for once, however many need them at once.", politeness.markets_once
    ),
    Trap("pace", "The pace and the costs of its facts stay within what the exchange allows.", politeness.pace),
    # Kinds without bars.
    Trap("trades", "Trades over several pages come once each, in order, for the fewest pages.", events.trades),
    Trap(
        "trades-at-once",
        "Trades of one millisecond come whole, also where a page ends in it; of too many for a page none is hidden.",
        events.trades_at_once,
    ),
    Trap("trades-side", "The side of a trade is its taker's, not its maker's.", events.trades_side),
    Trap(
        "funding",
        "Funding rates over more than a page come once each, as they were booked, for the fewest pages.",
        events.funding,
    ),
    Trap("funding-missing", "A funding rate that an answer leaves out is a gap.", events.funding_missing),
    Trap(
        "events-window-ends",
        "Of a range between two rows, as many as fit a page, the first one is part and the last one is not.",
        events.window_ends,
    ),
    _spoilt_events("duplicate", "A row that comes twice pushes none off a full page.", is_full=True),
    _spoilt_events("unsorted", "A full page in disorder ends where it ends in order.", is_full=True),
    Trap(
        "events-stray", "Rows of the day before and the day after are neither delivered nor stored.", event_rows.stray
    ),
    _spoilt_events("conflict", "Of two trades of one id, or two rates of one time, that differ none is believed."),
    _spoilt_events("null", "A trade without a price, or a funding time without a rate, is asked for again."),
    Trap("events-unit", "Times in another unit are believed of no row.", event_rows.other_unit),
    Trap(
        "events-empty-lie",
        "An empty answer where there are rows is no absence: a refresh finds them.",
        event_rows.empty_lie,
    ),
    Trap(
        "events-no-list",
        "JSON under an HTTP 200 that lacks the list of rows is not taken for silence.",
        event_rows.no_list,
    ),
)
