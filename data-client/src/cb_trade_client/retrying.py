"""Trying again after a lost connection: a bounded number of times, each time after a longer wait."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from cb_trade_client.errors import CbTradeError, ConnectionLostError, ServiceUnavailableError

T = TypeVar("T")

DEFAULT_RETRIES = 5
_WAIT_FIRST_SECS = 0.1
_WAIT_MAX_SECS = 10.0
_JITTER_SECS = 0.5


async def with_retries(work: Callable[[], Awaitable[T]], retries: int, is_loss: Callable[[CbTradeError], bool]) -> T:
    """Return what *work* returns. Where it ends with what *is_loss* calls so, do it again.

    Args:
        work: Opens whatever it needs by itself.
        retries: How often it is done again, at most; the first time at once, then after growing waits or as long as the
            service asks. A service that is away or busy for now is worth another try, too, once there was a loss.
    """
    try:
        return await work()
    except CbTradeError as error:
        if not retries or not is_loss(error):
            raise
    async for attempt in stamina.retry_context(
        on=_wait,
        attempts=retries,
        timeout=None,
        wait_initial=_WAIT_FIRST_SECS,
        wait_max=_WAIT_MAX_SECS,
        wait_jitter=_JITTER_SECS,
    ):
        with attempt:
            return await work()
    raise AssertionError("unreachable: the last attempt returns or raises")


def is_lost_connection(error: CbTradeError) -> bool:
    """Return whether *error* means that the connection ended before the answer did."""
    return isinstance(error, ConnectionLostError)


def is_temporary(error: CbTradeError) -> bool:
    """Return whether *error* is a lost connection, or a service that is away or busy for now."""
    return is_lost_connection(error) or (isinstance(error, ServiceUnavailableError) and error.retryable)


def _wait(error: Exception) -> bool | float:
    """Return whether to try again after *error*, or how many seconds to wait before."""
    if not isinstance(error, CbTradeError) or not is_temporary(error):
        return False
    return min(error.retry_after_ms / 1000, _WAIT_MAX_SECS) if error.retry_after_ms else True
