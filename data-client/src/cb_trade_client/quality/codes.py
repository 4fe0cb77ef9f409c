"""The codes of what is odd in bars, in words; docs/reference/data-quality.md tells what each means."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "DATA-009": "price outlier",
        "DATA-016": "out of order",
        "DATA-019": "volume outlier",
        "DATA-020": "flat run",
        "DATA-021": "stale repeat",
        "DATA-022": "price in another unit",
        "DATA-025": "id that goes backwards",
        "DATA-026": "off the funding schedule",
    }
)


def words_of(code: str) -> str:
    """Return *code* with what it means, `DATA-009 price outlier`; by itself where it is newer than this SDK."""
    return f"{code} {_WORDS[code]}" if code in _WORDS else code
