"""Trying again after a lost connection: a bounded number of times, after growing waits, and without a word."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from cb_trade_client.errors import CbTradeError, ConnectionLostError, ServiceUnavailableError

T = TypeVar("T")

DEFAULT_RETRIES = 5
_WAIT_MAX_SECS = 10.0
_growing_wait = wait_exponential_jitter(multiplier=0.05, jitter=0.5)


async def with_retries(work: Callable[[], Awaitable[T]], retries: int, is_loss: Callable[[CbTradeError], bool]) -> T:
    """Return what *work* returns. Where it ends with what *is_loss* calls so, do it again.

    Args:
        work: Opens whatever it needs by itself.
        retries: How often it is done again, at most; the first time at once, then after growing waits or as long as the
            service asks. A service that is away or busy for now is worth another try, too, once there was a loss.
    """

    def is_worth_another_try(error: BaseException) -> bool:
        nonlocal is_loss
        is_worth_it = isinstance(error, CbTradeError) and is_loss(error)
        is_loss = is_temporary
        return is_worth_it

    return await AsyncRetrying(
        retry=retry_if_exception(is_worth_another_try),
        wait=_secs_after,
        stop=stop_after_attempt(1 + retries),
        reraise=True,
    )(work)


def is_lost_connection(error: CbTradeError) -> bool:
    """Return whether *error* means that the connection ended before the answer did."""
    return isinstance(error, ConnectionLostError)


def is_unreachable(error: CbTradeError) -> bool:
    """Return whether *error* means that nobody answers where the service should be."""
    return isinstance(error, ServiceUnavailableError) and error.code == ServiceUnavailableError.default_code


def is_temporary(error: CbTradeError) -> bool:
    """Return whether *error* is a lost connection, or a service that is away or busy for now."""
    return is_lost_connection(error) or (isinstance(error, ServiceUnavailableError) and error.retryable)


def _secs_after(state: RetryCallState) -> float:
    error = None if state.outcome is None else state.outcome.exception()
    if isinstance(error, CbTradeError) and error.retry_after_ms:
        return min(error.retry_after_ms / 1000, _WAIT_MAX_SECS)
    if state.attempt_number == 1:
        return 0
    # Jittered: clients that lost the same service are not to come back all in the same instant.
    return min(_growing_wait(state), _WAIT_MAX_SECS)
