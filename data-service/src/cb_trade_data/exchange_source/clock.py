"""An exchange's clock: its offset from ours, measured once and refreshed rarely."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from cb_trade_data.errors import ExchangeUnavailableError
from cb_trade_data.exchange_source.once import Once

_log = structlog.get_logger(__name__)

_REFRESH_AFTER: Final = timedelta(hours=6)
# Machines that serve, or use, an exchange are not further behind the time than this.
_AHEAD_MAX: Final = timedelta(minutes=5)
_RETRY_AFTER: Final = timedelta(minutes=1)


class ExchangeClock:
    """Bars are closed by the exchange's clock, not ours; this keeps the difference between the two."""

    def __init__(
        self, exchange: str, fetch_time: Callable[[], Awaitable[datetime | None]], local_now: Callable[[], datetime]
    ) -> None:
        self._exchange = exchange
        self._fetch_time = fetch_time
        self._local_now = local_now
        self._offset: timedelta | None = None
        self._measure_next = local_now()
        self._measuring = Once(self._measure, keep=False)

    def known_now(self) -> datetime | None:
        """Return the exchange's present if its clock was ever read; touches no network."""
        return None if self._offset is None else self._local_now() + self._offset

    async def now(self) -> datetime:
        """Return the exchange's present, reading its clock when that is due; the local present if it does not tell."""
        if self._local_now() >= self._measure_next:
            await self._measuring.get()
        return self.known_now() or self._local_now()

    async def close(self) -> None:
        """End a reading that is under way."""
        await self._measuring.cancel()

    async def _measure(self) -> None:
        try:
            told = await self._fetch_time()
        except ExchangeUnavailableError as error:
            _log.warning("exchange.clock_unknown", exchange=self._exchange, error=str(error))
            told = None
        answered = self._local_now()
        if told is None:
            self._measure_next = answered + _RETRY_AFTER
            return
        # The exchange read its clock some time before its answer came, so this is never ahead of it: however slow the
        # way was, no bar is taken for closed too early.
        self._offset = told - answered
        if self._offset > _AHEAD_MAX:
            # Believed, it would close bars that are open, for ever.
            _log.warning("exchange.clock_ahead", exchange=self._exchange, ahead_secs=self._offset.total_seconds())
            self._offset = _AHEAD_MAX
        self._measure_next = answered + _REFRESH_AFTER
        _log.info("exchange.clock", exchange=self._exchange, offset_ms=self._offset / timedelta(milliseconds=1))
