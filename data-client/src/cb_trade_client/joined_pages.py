"""Lists that come in pages: what the end of a page has cut is put together again."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def joined(parts: Iterable[T], with_next: Callable[[T, T], T | None]) -> Iterator[T]:
    """Yield *parts*, those as one that belong together.

    Args:
        parts: In time order.
        with_next: Takes one and the next one; returns both as one, or None where they are two.
    """
    current: T | None = None
    for part in parts:
        together = None if current is None else with_next(current, part)
        if current is not None and together is None:
            yield current
        current = part if together is None else together
    if current is not None:
        yield current
