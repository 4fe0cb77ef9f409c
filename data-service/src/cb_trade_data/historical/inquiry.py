"""Asking several, of whom the first that can is wanted: one patience for them all, and few asked for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

Whom = TypeVar("Whom")

# By the last of the steps that the patience has, all are asked: there are sixteen at most.
_STEPS: Final = 5
_MORE_EACH_STEP: Final = 4


class Inquiry(Generic[Whom]):
    """Asks one at a time, whoever's turn it is, and after each fifth of its patience four of the next ones beside.

    Who is slow costs the others no time, and nobody is asked for nothing while all are quick. Once one can, no more are
    asked than those before it.
    """

    def __init__(
        self, whom: Sequence[Whom], ask: Callable[[Whom], Awaitable[str | None]], *, patience_secs: float
    ) -> None:
        """
        Args:
            whom: The best first.
            ask: Returns what keeps one of them from it, None where nothing does; may raise.
            patience_secs: How long all of them together are waited for, from the first question on.
        """
        self._whom = whom
        self._ask = ask
        self._patience_secs = patience_secs
        self._answers: dict[Whom, asyncio.Task[str | None]] = {}
        self._begun_at: float | None = None  # loop time
        self._steps = 0

    async def answer(self, one: Whom) -> str | None:
        """Return what *one* answers, or raise what `ask` does.

        Raises:
            TimeoutError: It has not answered, and there is no patience left.
        """
        loop = asyncio.get_running_loop()
        if self._begun_at is None:
            self._begun_at = loop.time()
        while one not in self._answers or not self._answers[one].done():
            waited_secs = loop.time() - self._begun_at
            if waited_secs >= self._patience_secs:
                raise TimeoutError
            self._begin(one)
            next_secs = (self._steps + 1) * self._patience_secs / _STEPS
            if waited_secs >= next_secs:
                self._steps += 1
                self._begin_more()
                continue
            await asyncio.wait([self._answers[one]], timeout=next_secs - waited_secs)
        return self._answers[one].result()

    def close(self) -> None:
        """End the questions that are under way; nobody wants to know how they went."""
        for answer in self._answers.values():
            answer.cancel()
            answer.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _begin(self, one: Whom) -> None:
        if one not in self._answers:
            self._answers[one] = asyncio.ensure_future(self._ask(one))

    def _begin_more(self) -> None:
        if any(map(_can, self._answers.values())):
            return
        for one in [each for each in self._whom if each not in self._answers][:_MORE_EACH_STEP]:
            self._begin(one)


def _can(answer: asyncio.Task[str | None]) -> bool:
    return answer.done() and not answer.cancelled() and answer.exception() is None and answer.result() is None
