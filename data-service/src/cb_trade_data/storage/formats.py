"""Which reader an object needs: every stored object says in which format it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from cb_trade_data.errors import NewerFormatError

#: What is written. An object of an earlier format is read by its own reader, and of this one when it is next written.
FORMAT: Final = 1

FORMAT_KEY: Final = "cb_trade.format"
CHECKSUM_KEY: Final = "cb_trade.checksum"

Reader = TypeVar("Reader", bound=Callable[..., Any])


def reader_for(found: object, readers: Mapping[int, Reader], path: str) -> Reader:
    """Return the one of *readers*, by format, for an object of the format *found*.

    To be asked before anything else is looked at: what an object of a later format holds is not for us to judge.

    Raises:
        NewerFormatError: Only later releases know that format.
        ValueError: There never was such a format.
    """
    if type(found) is not int or found < 1:
        raise ValueError(f"format {found!r} is none that there ever was")
    if found > FORMAT:
        raise NewerFormatError(path, found, FORMAT)
    return readers[found]
