"""A lock that is good for the length of a lease, and renewed in the background until it is released or lost."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from typing import Final

import structlog

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.storage.interfaces import PartitionLock

_log = structlog.get_logger(__name__)

LEASE_SECS: Final = 15
_RENEWALS_PER_LEASE: Final = 3


class RenewedLock(PartitionLock):
    """A place subclasses this and supplies how its lock is renewed and ended. Made inside an event loop."""

    def __init__(self, name: str, lease_secs: float) -> None:
        self._name = name
        self._lease_secs = lease_secs
        self._renewed_at = time.monotonic()
        self._was_taken = False
        self._is_released = False
        self._renewing = asyncio.create_task(self._keep_renewing())

    @abstractmethod
    async def _renew(self) -> bool:
        """Make the lock good for another lease; return False if somebody else has it by now.

        Raises:
            StorageUnavailableError: It could not be tried.
        """

    @abstractmethod
    async def _end(self) -> None:
        """Let go of the lock if it is still ours. Never fails: it would end by itself."""

    @property
    def is_lost(self) -> bool:
        """See `PartitionLock.is_lost`."""
        # The clock also runs while this process is stopped: it wakes up knowing.
        return self._was_taken or time.monotonic() - self._renewed_at > self._lease_secs

    async def release(self) -> None:
        """See `PartitionLock.release`."""
        if not self._is_released:
            self._is_released = True
            self._renewing.cancel()
            await self._end()

    async def _keep_renewing(self) -> None:
        while not self._was_taken:
            await asyncio.sleep(self._lease_secs / _RENEWALS_PER_LEASE)
            tried_at = time.monotonic()
            try:
                self._was_taken = not await self._renew()
            except StorageUnavailableError as error:
                # Tried again until the lease is over: then the lock is lost if it was not renewed by then.
                _log.warning("lock.not_renewed", lock=self._name, error=str(error))
            else:
                self._renewed_at = tried_at
        _log.warning("lock.lost", lock=self._name)
