"""The SDK's front door: ask the service for history, what it knows of it, or what a request would cost."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from types import TracebackType
from typing import Self
from weakref import WeakSet

import pyarrow as pa

from cb_trade_client.answers import LatestBar, PlanResult
from cb_trade_client.connection import Connection
from cb_trade_client.errors import ProtocolError
from cb_trade_client.fields import Message, read_objects, read_optional_instant, read_optional_text
from cb_trade_client.instants import Instant, to_text
from cb_trade_client.inventory import CoverageReport, ExchangeInfo, StoredSeries
from cb_trade_client.landing import Landing, OneBlock, PieceByPiece
from cb_trade_client.message_types import LATEST, PLAN
from cb_trade_client.pending_request import PendingRequest
from cb_trade_client.questions import Questions
from cb_trade_client.requests import Query, Request, coverage_query, history_request, latest_request, plan_request
from cb_trade_client.schemas import schema_of
from cb_trade_client.service_url import DEFAULT_URL
from cb_trade_client.stream import HistoryStream
from cb_trade_client.table_metadata import with_gaps

_SERIES_PER_PAGE = 100


class DataClient:
    """A client of one data service, for any number of requests, also at the same time.

        async with DataClient(token=token) as client:
            table = await client.history("binance", "BTC/USDT", "1h", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z")

    Ranges include `start` and exclude `end`. Both are aware datetimes or ISO 8601 text with a zone; a naive time is
    refused, since it could mean any zone. An `end` after the newest closed bar is fine and clipped by the service.

    Every method raises `CbTradeError`s (see `errors`): RequestError for what cannot be asked, AuthenticationError and
    ForbiddenError for the token, ServiceUnavailableError and ConnectionLostError for what may work again later.
    """

    def __init__(self, url: str = DEFAULT_URL, *, token: str) -> None:
        self._url = url
        self._token = token.strip()
        self._streams: WeakSet[HistoryStream] = WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all streams that are still open."""
        for stream in tuple(self._streams):
            await stream.aclose()

    def stream(
        self,
        exchange: str,
        symbol: str,
        timeframe: str | None,
        start: Instant,
        end: Instant,
        *,
        format: str = "arrow",  # noqa: A002 - the wire's own word
        chunk_rows: int | None = None,
        refresh: bool = False,
        kind: str = "ohlcv",
    ) -> HistoryStream:
        """Return the rows from *start* (inclusive) to *end* (exclusive) as a stream of batches in time order.

        Nothing is sent before the stream is entered or iterated.

        Args:
            exchange: The exchange's CCXT id, such as `binance`.
            symbol: The CCXT unified symbol, such as `BTC/USDT`.
            timeframe: Such as `1m`, `1h`, `1d`, `1w`, `1M`; None for kinds without bars.
            format: How the rows travel: `arrow`, by far the fastest, `json_columns` or `json`. They arrive the same.
            chunk_rows: Upper bound of the rows in one batch; None leaves it to the service.
            refresh: Fetch the range from the exchange again even if it is stored. Needs the scope `data:refresh`.
            kind: What to stream. This SDK decodes `ohlcv`.
        """
        request = history_request(
            exchange,
            symbol,
            timeframe,
            start,
            end,
            kind=kind,
            wire_format=format,
            chunk_rows=chunk_rows,
            refresh=refresh,
        )
        return self._stream(request, PieceByPiece())

    async def history(
        self,
        exchange: str,
        symbol: str,
        timeframe: str | None,
        start: Instant,
        end: Instant,
        *,
        format: str = "arrow",  # noqa: A002
        chunk_rows: int | None = None,
        refresh: bool = False,
        kind: str = "ohlcv",
    ) -> pa.Table:
        """Return the rows from *start* (inclusive) to *end* (exclusive) as one table; arguments as for `stream`.

        No rows make an empty table of the same schema. What is missing from the range is kept in the table's metadata:
        `gaps_of(table)` reads it. Use `stream` for long ranges and for the full receipt.
        """
        request = history_request(
            exchange,
            symbol,
            timeframe,
            start,
            end,
            kind=kind,
            wire_format=format,
            chunk_rows=chunk_rows,
            refresh=refresh,
        )
        stream = self._stream(request, OneBlock())
        async with stream:
            batches = [batch async for batch in stream]
        return with_gaps(pa.Table.from_batches(batches, stream.schema), stream.completed.gaps)

    async def latest(self, exchange: str, symbol: str, timeframe: str) -> LatestBar:
        """Return how far a series is stored and how far its bars have closed."""
        return LatestBar.from_message(await self._ask(latest_request(exchange, symbol, timeframe), LATEST))

    async def plan(
        self,
        exchange: str,
        symbol: str,
        timeframe: str | None,
        start: Instant,
        end: Instant,
        *,
        refresh: bool = False,
        kind: str = "ohlcv",
    ) -> PlanResult:
        """Return what the same `history` request would read and fetch, without calling the exchange."""
        request = plan_request(exchange, symbol, timeframe, start, end, kind=kind, refresh=refresh)
        return PlanResult.from_message(await self._ask(request, PLAN))

    async def exchanges(self) -> tuple[ExchangeInfo, ...]:
        """Return the exchanges that can be asked for, with the state each was last seen in."""
        async with Questions(self._url, self._token) as questions:
            answer = await questions.ask("exchanges", {})
        return tuple(map(ExchangeInfo.from_message, read_objects(answer, "exchanges")))

    async def series(self, exchange: str | None = None, symbol: str | None = None) -> tuple[StoredSeries, ...]:
        """Return the series that are stored, of one exchange and one symbol or of all (None), sorted as text."""
        found: list[StoredSeries] = []
        query: Query = {"exchange": exchange, "symbol": symbol, "limit": _SERIES_PER_PAGE}
        async with Questions(self._url, self._token) as questions:
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

    async def coverage_pages(
        self,
        exchange: str,
        symbol: str,
        timeframe: str | None,
        start: Instant | None = None,
        end: Instant | None = None,
        *,
        kind: str = "ohlcv",
    ) -> AsyncGenerator[CoverageReport, None]:
        """Yield what `coverage` returns in pieces that follow each other, as they come. To be closed if left early."""
        query = coverage_query(exchange, symbol, timeframe, start, end, kind=kind)
        async with Questions(self._url, self._token) as questions:
            while True:
                answer = await questions.ask("coverage", query)
                page = CoverageReport.from_message(answer)
                yield page
                next_start = read_optional_instant(answer, "next_start_time")
                if next_start is None:
                    return
                _check_progress(page.start, next_start)
                query["start_time"] = to_text(next_start)

    def _stream(self, request: Request, landing: Landing) -> HistoryStream:
        stream = HistoryStream(request, schema_of(request["kind"]), landing, self._connect)
        self._streams.add(stream)
        return stream

    async def _ask(self, request: Request, answer_type: str) -> Message:
        async with aclosing(await self._connect()) as connection:
            pending = PendingRequest.send(connection, request, PieceByPiece())
            return (await pending.next_answer(answer_type)).message

    async def _connect(self) -> Connection:
        # One connection per request: simple, and a bulk stream cannot hold up a small question.
        return await Connection.open(self._url, self._token)


def _check_progress(before: datetime | str | None, after: datetime | str) -> None:
    if before == after:
        raise ProtocolError(f"the page after {after} would be the same again")
