"""What came over the wire while CCXT made something of it: CCXT tells an empty list from a missing one by nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextvars import ContextVar
from typing import Any, Final

# How deep in an answer its rows are looked for.
_DEPTH: Final = 3

# Of the rows that are being fetched; calls that run beside this one have their own.
_answers: ContextVar[list[Any] | None] = ContextVar("answers", default=None)


async def with_answers_kept(fetching: Awaitable[Any]) -> Any:
    """Await *fetching* with the answers that come for it at hand to those who make rows of them."""
    token = _answers.set([])
    try:
        return await fetching
    finally:
        _answers.reset(token)


def keep(answer: Any) -> None:
    """Keep an answer, if somebody wants to see it."""
    if (answers := _answers.get()) is not None:
        answers.append(answer)


def kept_answers() -> list[Any]:
    """Return what came since `with_answers_kept` began."""
    return _answers.get() or []


def parts_of(answer: Any, depth: int = _DEPTH) -> Iterator[Any]:
    """Yield the answer and, to some depth, what its objects hold."""
    yield answer
    if isinstance(answer, dict) and depth:
        for value in answer.values():
            yield from parts_of(value, depth - 1)
