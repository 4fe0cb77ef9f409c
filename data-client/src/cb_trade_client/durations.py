"""Lengths of time as people read them."""

from datetime import timedelta
from typing import Final

_UNITS: Final = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("min", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
    ("ms", timedelta(milliseconds=1)),
)


def duration_text(duration: timedelta) -> str:
    """Return *duration* in its largest unit and the one below, cut there: `31 d 4 h`, `12 min`, `5 s 20 ms`."""
    for place, (name, unit) in enumerate(_UNITS):
        count, rest = divmod(duration, unit)
        if count:
            below = [f"{rest // each} {smaller}" for smaller, each in _UNITS[place + 1 : place + 2] if rest >= each]
            return " ".join([f"{count:,} {name}", *below])
    return "0 s"
