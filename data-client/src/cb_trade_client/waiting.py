"""Waiting for a bar to close: asking no more often than the answer can change."""

import random
from datetime import datetime

WAIT_MIN_SECS = 1.0
"""Between two questions about a bar that should have closed by now: the exchange's clock may lag behind ours."""

WAIT_MAX_SECS = 60.0
"""Between any two questions: our clock may lag, too, or have slept."""

RETRIES_WHILE_AWAY = 60
"""While the service is away: with the waits of `retrying` about ten minutes, more than a restart takes."""

_JITTER = 0.25


def secs_until_next_question(target: datetime, now: datetime) -> float:
    """Return how long to wait before asking again whether bars have closed until *target*.

    That is until *target* by our clock, within bounds, and a little more: clients that wait for the same bar are not to
    ask all in the same instant.
    """
    due_secs = min(max((target - now).total_seconds(), WAIT_MIN_SECS), WAIT_MAX_SECS)
    return due_secs + random.uniform(0, _JITTER * min(due_secs, 4 * WAIT_MIN_SECS))  # noqa: S311 - no secret
