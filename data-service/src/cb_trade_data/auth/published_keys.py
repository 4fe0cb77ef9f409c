"""Keys that an identity provider publishes at an address: read when needed, and again as they change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Final

import aiohttp
import structlog

from cb_trade_data.auth.key_set import keys_of
from cb_trade_data.auth.keys import Key, KeySource
from cb_trade_data.errors import AuthenticationUnavailableError
from cb_trade_data.models.component import Component
from cb_trade_data.models.past_error import PastError

_log = structlog.get_logger(__name__)

FRESH_SECS: Final = 60 * 60
"""How long keys are used without a look whether there are newer ones."""
KEPT_SECS: Final = 24 * 60 * 60
"""How long they are used at most, while they cannot be read again."""
READ_AGAIN_SECS: Final = 30
"""How long after a reading the next one begins, at the earliest: anybody can name a key that there is not."""
TRY_AGAIN_SECS: Final = 5
"""The same while there are no keys at all, so that nobody can come in."""

_ANSWER_TIMEOUT_SECS: Final = 5
_DOCUMENT_MAX_BYTES: Final = 256 * 1024


class PublishedKeys(KeySource):
    """The key set at an address, kept in memory.

    One reading serves all who wait for it, and goes on if they leave. Whose connection is open does not depend on it:
    keys are only looked for where a token is.
    """

    def __init__(self, url: str, algorithms: Collection[str], now_secs: Callable[[], float] = time.monotonic) -> None:
        """Nothing is read yet; *now_secs* returns the seconds of a clock that is never set."""
        self.algorithms = frozenset(algorithms)
        self._url = url
        self._now_secs = now_secs
        self._keys: Mapping[str | None, Key] = {}
        self._read_at_secs: float | None = None
        self._tried_at_secs: float | None = None
        self._last_error: PastError | None = None
        self._is_failing = False
        self._reading: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> Key | None:
        """See `KeySource.find`."""
        age_secs = self._age_secs()
        if age_secs is None or age_secs > FRESH_SECS or kid not in self._keys:
            await self._read_unless_just_done()
        if not self._has_keys:
            raise AuthenticationUnavailableError(
                "the keys of who signs them cannot be read", timedelta(seconds=self._secs_until_next_reading())
            )
        return self._keys.get(kid)

    def condition(self) -> Component:
        """See `KeySource.condition`."""
        if self._last_error is None or not self._is_failing:
            return Component("unused" if self._read_at_secs is None else "ok", last_error=self._last_error)
        what = "the keys could not be read again" if self._has_keys else "there are no keys"
        return Component("degraded", f"{what}: {self._last_error.reason}", self._last_error)

    async def close(self) -> None:
        """See `KeySource.close`."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    @property
    def _has_keys(self) -> bool:
        """Whether there are any, and not too old."""
        age_secs = self._age_secs()
        return age_secs is not None and age_secs <= KEPT_SECS

    def _age_secs(self) -> float | None:
        return None if self._read_at_secs is None else self._now_secs() - self._read_at_secs

    def _secs_until_next_reading(self) -> float:
        if self._tried_at_secs is None:
            return 0
        pause_secs = READ_AGAIN_SECS if self._has_keys else TRY_AGAIN_SECS
        return max(0, self._tried_at_secs + pause_secs - self._now_secs())

    async def _read_unless_just_done(self) -> None:
        if self._reading is None:
            if self._secs_until_next_reading() > 0:
                return
            # A task of its own: who asks may leave, and would take the next reading with it.
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._forget_reading)
        await asyncio.shield(self._reading)

    def _forget_reading(self, _: asyncio.Task[None]) -> None:
        self._reading = None

    async def _read(self) -> None:
        self._tried_at_secs = self._now_secs()
        try:
            self._keys = keys_of(await self._document(), self.algorithms)
        except TimeoutError:
            self._fail(f"no answer within {_ANSWER_TIMEOUT_SECS} s")
        except (aiohttp.ClientError, OSError) as error:
            # Its text names hosts and addresses, and whoever asks how we are doing may read the reason.
            self._fail(type(error).__name__, error=str(error))
        except ValueError as error:  # ours
            self._fail(str(error))
        else:
            self._read_at_secs, self._is_failing = self._tried_at_secs, False
            _log.info("auth.keys_read", keys=len(self._keys))

    def _fail(self, reason: str, **for_the_log: str) -> None:
        self._last_error, self._is_failing = PastError(reason), True
        _log.warning("auth.keys_unreadable", reason=reason, age_secs=self._age_secs(), **for_the_log)

    async def _document(self) -> bytes:
        """Return what is at the address. Raises ValueError where it is not what it should be."""
        async with (
            # As it comes: nobody can send little that becomes a lot.
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT_SECS),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                auto_decompress=False,
            ) as session,
            # The settings say whom we trust: not whomever they may send us to.
            session.get(self._url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise ValueError(f"HTTP {response.status}")
            document = bytearray()
            async for piece in response.content.iter_any():
                document += piece
                if len(document) > _DOCUMENT_MAX_BYTES:
                    raise ValueError(f"it has more than {_DOCUMENT_MAX_BYTES} bytes")
            return bytes(document)
