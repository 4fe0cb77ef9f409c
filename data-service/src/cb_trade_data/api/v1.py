"""`/v1`: what there is, and what is known of it. Reads storage and memory; calls no exchange, ever."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from cb_trade_data.api.admission import Admission
from cb_trade_data.api.http import WhoAsks, protected_router
from cb_trade_data.api.http_stories import HttpStories
from cb_trade_data.api.incoming import check_range
from cb_trade_data.api.v1_answers import (
    ComparisonAnswer,
    CoverageAnswer,
    ExchangeAnswer,
    ExchangesAnswer,
    QualityAnswer,
    SeriesPageAnswer,
)
from cb_trade_data.auth.interfaces import IAuthenticationModule
from cb_trade_data.exchange_source.interfaces import IDataSourceConnector
from cb_trade_data.historical.interfaces import IHistoricalDataManager
from cb_trade_data.historical.quality_report import QualityPage
from cb_trade_data.models.queries import ComparisonQuery, CoverageQuery, NoQuery, QualityQuery, SeriesQuery
from cb_trade_data.models.series import Kind, Series

V1: Final = "/v1"


def v1_router(
    auth: IAuthenticationModule,
    admission: Admission,
    manager: IHistoricalDataManager,
    source: IDataSourceConnector,
    stories: HttpStories,
) -> APIRouter:
    """Return the routes that tell what there is."""
    router = protected_router(V1, auth, admission, stories)

    @router.get("/exchanges", tags=["what there is"])
    async def exchanges(_: Annotated[NoQuery, Query()], who: WhoAsks) -> ExchangesAnswer:
        """Tell which exchanges can be asked for with this token, and the state each was last seen in."""
        return ExchangesAnswer(
            exchanges=[
                ExchangeAnswer.of(source.facts(name), condition)
                for name, condition in source.conditions().items()
                if who.may_use(name)
            ]
        )

    @router.get("/series", tags=["what there is"])
    async def series(query: Annotated[SeriesQuery, Query()], who: WhoAsks) -> SeriesPageAnswer:
        """Tell which series are stored, and how far each reaches; of the exchanges that the token is for."""
        if query.exchange is not None:
            who.require_exchange(query.exchange)
        page = await manager.inventory(
            query.exchange, query.symbol, after=query.after, limit=query.limit, visible=who.exchanges
        )
        return SeriesPageAnswer.of(page)

    @router.get("/coverage", tags=["what there is"])
    async def coverage(query: Annotated[CoverageQuery, Query()], who: WhoAsks) -> CoverageAnswer:
        """Tell what is known of every instant of a range: what is held, and why the rest is missing.

        An end after the newest closed bar is clipped.
        """
        who.require_exchange(query.exchange)
        wanted = manager.series(query.exchange, query.symbol, query.kind, query.timeframe_or_default)
        if query.start_time is not None and query.end_time is not None:
            check_range(query.start_time, query.end_time)
        page = await manager.coverage(wanted, query.start_time, query.end_time, limit=query.limit)
        return CoverageAnswer.of(wanted, page)

    @router.get("/comparison", tags=["what there is"])
    async def comparison(query: Annotated[ComparisonQuery, Query()], who: WhoAsks) -> ComparisonAnswer:
        """Tell where stored bars differ from those that the stored trades of the same market make.

        An end after the newest closed bar is clipped.
        """
        who.require_exchange(query.exchange)
        bars = manager.series(query.exchange, query.symbol, Kind.OHLCV, query.timeframe)
        page = await manager.compare(bars, check_range(query.start_time, query.end_time))
        return ComparisonAnswer.of(bars, page)

    @router.get("/quality", tags=["what there is"], response_model=QualityAnswer)
    async def quality(query: Annotated[QualityQuery, Query()], who: WhoAsks) -> Response:
        """Tell how good stored bars are, day by day, and what says so.

        An end after the newest closed bar is clipped.
        """
        who.require_exchange(query.exchange)
        bars = manager.series(query.exchange, query.symbol, Kind.OHLCV, query.timeframe)
        if query.start_time is not None and query.end_time is not None:
            check_range(query.start_time, query.end_time)
        page = await manager.quality(bars, query.start_time, query.end_time, details=query.details, limit=query.limit)
        # All that is listed of a quiet market takes long enough to write down to hold up the others.
        return await asyncio.to_thread(_written, bars, page)

    return router


def _written(bars: Series, page: QualityPage) -> Response:
    return Response(QualityAnswer.of(bars, page).model_dump_json(), media_type="application/json")
