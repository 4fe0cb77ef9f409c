"""What went wrong with storage, and what of it still stands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

import structlog

from cb_trade_data.errors import CbTradeError
from cb_trade_data.models.past_error import PastError

_log = structlog.get_logger(__name__)

# A disk that fails as a whole fails everywhere; these are enough to say so.
_REMEMBERED_MAX: Final = 20


class Failures:
    """Counts the failures of one kind of work. Each stands until the same is done again, and then succeeds.

    What works elsewhere proves nothing: an object whose permissions are wrong stays unreadable, however well the others
    are read.

    Attributes:
        count: How many there were since the start.
        latest: The last one, until anything of this kind succeeds.
        last: The last one, whatever has succeeded since.
    """

    def __init__(self, kind: Literal["read", "write", "check"]) -> None:
        self._kind = kind
        self._standing: dict[str, str] = {}
        self.count = 0
        self.latest: str | None = None
        self.last: PastError | None = None

    @property
    def standing(self) -> list[str]:
        """Those that stand, oldest first; of very many only the newest."""
        return list(self._standing.values())

    @contextmanager
    def noted(self, place: str) -> Iterator[None]:
        """Note whether the work on *place* fails, and how."""
        try:
            yield
        except CbTradeError as error:
            self.count += 1
            self.latest = str(error)
            self.last = PastError(self.latest)
            self._standing.pop(place, None)
            self._standing[place] = self.latest
            if len(self._standing) > _REMEMBERED_MAX:
                del self._standing[next(iter(self._standing))]
            _log.error(
                f"storage.{self._kind}_failed",
                code=error.code,
                error=self.latest,
                **{f"failed_{self._kind}s": self.count},
            )
            raise
        self.latest = None
        self._standing.pop(place, None)
