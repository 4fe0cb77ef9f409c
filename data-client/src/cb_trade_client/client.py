"""The SDK's front door: ask the service for history, what it knows of it, or what a request would cost."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from inspect import isawaitable, signature
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast
from weakref import WeakSet

from cb_trade_client.answers import CoverageSegment, LatestBar, PlanResult
from cb_trade_client.comparison import ComparisonReport
from cb_trade_client.connector import Connector
from cb_trade_client.errors import CbTradeError, ProtocolError
from cb_trade_client.fields import Message, read_objects, read_optional_instant, read_optional_text
from cb_trade_client.gap_policy import GapPolicy
from cb_trade_client.history import History
from cb_trade_client.instants import Instant, to_text, to_utc
from cb_trade_client.inventory import CoverageReport, ExchangeInfo, StoredSeries
from cb_trade_client.message_types import LATEST, PLAN
from cb_trade_client.progress import OnProgress
from cb_trade_client.quality.report import QualityReport
from cb_trade_client.questions import Questions
from cb_trade_client.requests import (
    NO_FILL,
    Exchanges,
    Fill,
    Query,
    Request,
    Wanted,
    comparison_query,
    coverage_query,
    history_request,
    latest_request,
    plan_request,
    quality_query,
)
from cb_trade_client.retrying import DEFAULT_RETRIES
from cb_trade_client.service_url import DEFAULT_URL
from cb_trade_client.shared_connection import SharedConnection
from cb_trade_client.stream import HistoryStream, StreamOptions
from cb_trade_client.waiting import RETRIES_WHILE_AWAY, secs_until_next_question

_SERIES_PER_PAGE = 100

P = ParamSpec("P")
T = TypeVar("T")
Page = TypeVar("Page", CoverageReport, ComparisonReport, QualityReport)

Token = str | Callable[[], str | Awaitable[str]]
"""A token, or a function that returns a good one; it is called for every connection that is opened, and again
before the token of an open one ends."""


def _with_arguments_of(model: Callable[P, object]) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """Return a decorator for a method that takes what *model* takes, in the eyes of type checkers and of `help`."""

    def decorate(method: Callable[..., T]) -> Callable[P, T]:
        shown = signature(model).replace(return_annotation=signature(method).return_annotation)
        method.__signature__ = shown  # type: ignore[attr-defined]
        return cast(Callable[P, T], method)

    return decorate


class DataClient:
    """A client of one data service, for any number of requests, also at the same time.

        async with DataClient(token=token) as client:
            history = await client.history("binance", "BTC/USDT", "1h", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z")

    Ranges include `start` and exclude `end`. Both are aware datetimes or ISO 8601 text with a zone; a naive time is
    refused, since it could mean any zone. An `end` after the newest closed bar is fine and clipped by the service.

    Each stream has a connection of its own, so that a small question never waits behind one; `latest` and `plan` share
    one more. Leaving the block closes them all. A client belongs to the event loop that it is first used in.

    Every method raises `CbTradeError`s (see `errors`): RequestError for what cannot be asked, AuthenticationError and
    ForbiddenError for the token, ServiceUnavailableError and ConnectionLostError for what may work again later.
    """

    def __init__(self, url: str = DEFAULT_URL, *, token: Token, retries: int = DEFAULT_RETRIES) -> None:
        """Nothing is sent yet.

        Args:
            url: `ws://` or `wss://` address of the service's socket.
            token: With a function, connections are given a newer token before theirs expires.
            retries: How often something is tried again after a lost connection, without any progress in between, before
                ConnectionLostError or ServiceUnavailableError is raised. 0 raises it at once. What is asked over HTTP
                (`exchanges`, `series`, `coverage`, `compare`, `quality`) is tried again as well while the service is
                busy; pages that have come are kept. A service that has never answered this client is told at once in
                any case: most likely the address is wrong. So is an answer over HTTP that takes longer than 120 s.
        """
        self._url = url
        self._token = token
        self._retries = retries
        self._streams: WeakSet[HistoryStream] = WeakSet()
        self._connector = Connector(url, self._new_token, can_renew_token=callable(token))
        self._shared = SharedConnection(self._connector)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all streams that are still open, and all connections; what is asked afterwards raises RuntimeError."""
        self._connector.close()
        for stream in tuple(self._streams):
            await stream.aclose()
        await self._shared.aclose()

    def stream(
        self,
        exchange: Exchanges,
        symbol: str,
        timeframe: str | None,
        start: Instant,
        end: Instant,
        *,
        format: str = "arrow",  # noqa: A002 - the wire's own word
        chunk_rows: int | None = None,
        refresh: bool = False,
        kind: str = "ohlcv",
        verify: bool = False,
        on_gap: GapPolicy = "warn",
        on_progress: OnProgress | None = None,
        derive: bool = False,
        fill: Fill = NO_FILL,
    ) -> HistoryStream:
        """Return the rows from *start* (inclusive) to *end* (exclusive) as a stream of batches in time order.

        Nothing is sent before the stream is entered or iterated.

        Args:
            exchange: The exchange's CCXT id, such as `binance`; or several, of which the service chooses the first that
                can answer; or `any`. All rows are of one exchange, which `started` names, also after a lost connection.
            symbol: The CCXT unified symbol, such as `BTC/USDT`.
            timeframe: Such as `1m`, `1h`, `1d`, `1w`, `1M`; None for kinds without bars. Bars that the exchange lacks
                are made of its shorter ones where that can be done exactly; `started.derived_from` names those.
            format: How the rows travel: `arrow`, by far the fastest, `json_columns` or `json`. They arrive the same.
            chunk_rows: Upper bound of the rows in one batch; None leaves it to the service.
            refresh: Fetch the range from the exchange again even if it is stored. Needs the scope `data:refresh`.
            kind: What a row is: `ohlcv`, or one of the kinds without bars, `trades`, `funding_rate` and `order_book`.
                `schemas` has the columns of each.
            verify: Compute the digest of what arrives and compare it with the service's; ProtocolError
                (`digest_mismatch`) when they differ. Off by default for what it costs: SHA-256 is slower than the whole
                way from the service's memory to yours, while order, number and range of the rows are always checked,
                and TCP and TLS look after the bytes. Turn it on where proof is worth a second per gigabyte.
                After a lost connection the last part that brought rows is compared; where its receipt was lost, those
                rows are asked for once more.
            on_gap: What to do at the end when the range has gaps: `raise` a GapError, `warn` with a GapWarning, or
                `ignore` them. `completed.gaps` has them in any case.
            on_progress: Told how far the answer has come.
            derive: Make the bars of shorter ones, also where the exchange has them itself. A bar of which any part is
                missing is not made; it is a gap.
            fill: What stands where the exchange was asked and has no bar: `none`; `previous_close`, a bar of volume 0
                with all prices at the close before it; or `null`, one without values. With a fill every row has one
                column more, the last one, which tells whether it is `synthetic`. What is missing for any other reason
                is never filled: that stays a gap. The digest is that of the real rows.
        """
        wanted = Wanted(exchange, symbol, timeframe, start, end, kind, refresh, derive, fill)
        request = history_request(wanted, wire_format=format, chunk_rows=chunk_rows)
        options = StreamOptions(verify, on_gap, self._retries, on_progress)
        stream = HistoryStream(request, self._connector, self._coverage_of, options)
        self._streams.add(stream)
        return stream

    @_with_arguments_of(stream)
    async def history(self, *series_and_range: Any, **options: Any) -> History:
        """Return the rows from *start* (inclusive) to *end* (exclusive) in one piece; arguments as for `stream`.

        No rows make an empty table of the same schema. Use `stream` for what does not fit into memory: 48 bytes a bar,
        about as many a trade.
        """
        return await self.stream(*series_and_range, **options).whole()

    async def latest(
        self, exchange: Exchanges, symbol: str, timeframe: str | None, *, kind: str = "ohlcv", derive: bool = False
    ) -> LatestBar:
        """Return how far a series is stored and how far its bars have closed; *exchange* as for `stream`.

        Of derived bars, which those with *derive* are and those that the exchange lacks: the newest one that is whole.
        """
        request = latest_request(exchange, symbol, timeframe, kind=kind, derive=derive)
        return await self._latest(request, self._retries, self._connector.is_lost)

    async def wait_until(
        self,
        exchange: Exchanges,
        symbol: str,
        timeframe: str | None,
        timestamp: Instant,
        *,
        kind: str = "ohlcv",
        derive: bool = False,
    ) -> LatestBar:
        """Return as soon as all bars that end at *timestamp* or before have closed on the exchange.

        Of a kind without bars: as soon as what happened before *timestamp* does not change any more.

        The service is asked when that can be so by this machine's clock, then about once a second; before that at least
        once a minute. Bound it with `asyncio.timeout` where it must not wait for ever.

        Made for programs that run for days: once this client has reached the service, it may restart, be busy, or lose
        the exchange for a while. Only when that lasts for about ten minutes its error is raised; with `retries=0`, at
        once.
        """
        target = to_utc(timestamp, "timestamp")
        retries = self._retries and max(self._retries, RETRIES_WHILE_AWAY)
        while True:
            request = latest_request(exchange, symbol, timeframe, kind=kind, derive=derive)
            reach = await self._latest(request, retries, self._connector.is_away)
            exchange = reach.exchange  # once chosen, it stays
            if reach.closed_until >= target:
                return reach
            # Nothing but asking tells that a bar has closed.
            await asyncio.sleep(secs_until_next_question(target, datetime.now(UTC)))

    async def plan(
        self,
        exchange: Exchanges,
        symbol: str,
        timeframe: str | None,
        start: Instant,
        end: Instant,
        *,
        refresh: bool = False,
        kind: str = "ohlcv",
        derive: bool = False,
        fill: Fill = NO_FILL,
    ) -> PlanResult:
        """Return what the same `history` request would read and fetch, without calling an exchange.

        Where it leaves the exchange open, this is of the one that would be asked first: to know whether that has the
        symbol may take a call.
        """
        request = plan_request(Wanted(exchange, symbol, timeframe, start, end, kind, refresh, derive, fill))
        answer = await self._shared.ask(request, PLAN, self._retries, self._connector.is_lost)
        return PlanResult.from_message(answer, request["exchange"])

    async def exchanges(self) -> tuple[ExchangeInfo, ...]:
        """Return the exchanges that can be asked for, with the state each was last seen in."""
        async with self._questions() as questions:
            answer = await questions.ask("exchanges", {})
        return tuple(map(ExchangeInfo.from_message, read_objects(answer, "exchanges")))

    async def series(self, exchange: str | None = None, symbol: str | None = None) -> tuple[StoredSeries, ...]:
        """Return the series that are stored, of one exchange and one symbol or of all (None), sorted as text."""
        found: list[StoredSeries] = []
        query: Query = {"exchange": exchange, "symbol": symbol, "limit": _SERIES_PER_PAGE}
        async with self._questions() as questions:
            while True:
                answer = await questions.ask("series", query)
                found += map(StoredSeries.from_message, read_objects(answer, "series"))
                after = read_optional_text(answer, "next")
                if after is None:
                    return tuple(found)
                _check_progress(query.get("after"), after)
                query["after"] = after

    async def coverage(
        self,
        exchange: str,
        symbol: str,
        timeframe: str | None,
        start: Instant | None = None,
        end: Instant | None = None,
        *,
        kind: str = "ohlcv",
    ) -> CoverageReport:
        """Return what is known of every instant from *start* (inclusive) to *end* (exclusive).

        Where an end is None it is where the service's knowledge ends. The exchange is not called.
        """
        pages = self.coverage_pages(exchange, symbol, timeframe, start, end, kind=kind)
        first, *rest = [page async for page in pages]
        return first.followed_by(*rest)

    def coverage_pages(
        self,
        exchange: str,
        symbol: str,
        timeframe: str | None,
        start: Instant | None = None,
        end: Instant | None = None,
        *,
        kind: str = "ohlcv",
    ) -> AsyncGenerator[CoverageReport, None]:
        """Return what `coverage` does in pieces that follow each other, as they come. To be closed if left early."""
        query = coverage_query(exchange, symbol, timeframe, start, end, kind=kind)
        return self._pages("coverage", query, CoverageReport.from_message, "next_start_time")

    async def compare(
        self, exchange: str, symbol: str, timeframe: str, start: Instant, end: Instant
    ) -> ComparisonReport:
        """Return where stored bars differ from those that the stored trades of the same market make.

        Those are compared that open from *start* (inclusive) to *end* (exclusive) and of which both are stored. The
        exchange is not called: fetch bars and trades first.
        """
        pages = self.compare_pages(exchange, symbol, timeframe, start, end)
        first, *rest = [page async for page in pages]
        return first.followed_by(*rest)

    def compare_pages(
        self, exchange: str, symbol: str, timeframe: str, start: Instant, end: Instant
    ) -> AsyncGenerator[ComparisonReport, None]:
        """Return what `compare` does in pieces that follow each other, as they come. To be closed if left early."""
        query = comparison_query(exchange, symbol, timeframe, start, end)
        return self._pages("comparison", query, ComparisonReport.from_message, "next_start_time")

    def quality_pages(
        self,
        exchange: str,
        symbol: str,
        timeframe: str,
        start: Instant | None = None,
        end: Instant | None = None,
        *,
        details: bool = False,
    ) -> AsyncGenerator[QualityReport, None]:
        """Return what `quality` does in pieces that follow each other, as they come. To be closed if left early.

        Args:
            exchange: The exchange's CCXT id.
            symbol: The CCXT unified symbol.
            timeframe: Such as `1m`, `1h`, `1d`.
            start: Inclusive; None: where the service's knowledge begins.
            end: Exclusive; None: where it ends.
            details: Have the rows read as well, for gaps, findings, prices, and the comparison with other bars. Without
                it the answer comes from what lies beside them, quickly. The exchange is not called in either case.
        """
        query = quality_query(exchange, symbol, timeframe, start, end, details=details)
        return self._pages("quality", query, QualityReport.from_message, "next")

    @_with_arguments_of(quality_pages)
    async def quality(self, *series_and_range: Any, **options: Any) -> QualityReport:
        """Return how good the stored bars of a series are, and what says so; arguments as for `quality_pages`."""
        first, *rest = [page async for page in self.quality_pages(*series_and_range, **options)]
        return first.followed_by(*rest)

    def _questions(self) -> Questions:
        return Questions(self._url, self._connector, self._retries)

    async def _pages(
        self, path: str, query: Query, read_page: Callable[[Message], Page], next_name: str
    ) -> AsyncGenerator[Page, None]:
        """Yield the pages of the answer to *query*; each tells, as *next_name*, where the one after it starts."""
        start: datetime | None = None
        async with self._questions() as questions:
            while True:
                answer = await questions.ask(path, query)
                page = read_page(answer)
                next_start = read_optional_instant(answer, next_name)
                # What was asked for, not what came: the answer may be to another question, if a proxy drops the query.
                _check_later(start or page.start, next_start)
                yield page
                if next_start is None:
                    return
                start, query["start_time"] = next_start, to_text(next_start)

    async def _latest(self, request: Request, retries: int, is_loss: Callable[[CbTradeError], bool]) -> LatestBar:
        answer = await self._shared.ask(request, LATEST, retries, is_loss)
        return LatestBar.from_message(answer, request["exchange"])

    async def _coverage_of(self, request: Request, start: datetime, end: datetime) -> tuple[CoverageSegment, ...]:
        named = (request["exchange"], request["symbol"], request.get("timeframe"))
        return (await self.coverage(*named, start, end, kind=request["kind"])).segments

    async def _new_token(self) -> str:
        if isinstance(self._token, str):
            return self._token.strip()
        token = self._token()
        return (await token if isawaitable(token) else token).strip()


def _check_progress(before: object, after: str) -> None:
    if before == after:
        raise ProtocolError(f"the page after {after} would be the same again")


def _check_later(start: datetime | None, next_start: datetime | None) -> None:
    if start is not None and next_start is not None and next_start <= start:
        raise ProtocolError(f"the page from {to_text(start)} does not lead on, but to {to_text(next_start)}")
