"""Trying again after what passes: a bounded number of times, after growing waits, and without a word."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from cb_trade_client.errors import CbTradeError, ConnectionLostError, ServiceUnavailableError
from cb_trade_client.service_errors import ShuttingDownError

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
    # By itself: this is done for every batch of a stream, and hardly ever fails.
    try:
        return await work()
    except CbTradeError as error:
        if retries == 0 or not is_loss(error):
            raise
        wait_secs = _secs_after(error, 1)
    await asyncio.sleep(wait_secs)
    return await AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, CbTradeError) and is_temporary(error)),
        wait=_secs_after_one_more,
        stop=stop_after_attempt(retries),
        reraise=True,
    )(work)


def is_lost_connection(error: CbTradeError) -> bool:
    """Return whether *error* means that the connection ended, or begins nothing new, before there was an answer."""
    return isinstance(error, ConnectionLostError | ShuttingDownError)


def is_unreachable(error: CbTradeError) -> bool:
    """Return whether *error* means that nobody answers where the service should be."""
    return isinstance(error, ServiceUnavailableError) and error.code == ServiceUnavailableError.default_code


def is_temporary(error: CbTradeError) -> bool:
    """Return whether *error* is a lost connection, or a service that is away or busy for now."""
    return is_lost_connection(error) or (isinstance(error, ServiceUnavailableError) and error.retryable)


def _secs_after_one_more(state: RetryCallState) -> float:
    error = None if state.outcome is None else state.outcome.exception()
    return _secs_after(error, state.attempt_number + 1)


def _secs_after(error: BaseException | None, tries: int) -> float:
    if isinstance(error, CbTradeError) and error.retry_after_ms:
        return min(error.retry_after_ms / 1000, _WAIT_MAX_SECS)
    if tries == 1:
        return 0
    # Jittered: clients that lost the same service are not to come back all in the same instant.
    wait_secs = _WAIT_FIRST_SECS * 2.0 ** (min(tries, 20) - 2) + random.uniform(0, _JITTER_SECS)  # noqa: S311 - no secret
    return min(wait_secs, _WAIT_MAX_SECS)
