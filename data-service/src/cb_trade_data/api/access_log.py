"""Keeps tokens out of the log: the server prints whole query strings, `?token=` included."""

from __future__ import annotations

import logging
import re
from typing import Final

_TOKEN: Final = re.compile(r"(token=)[^&\s\"']+", re.IGNORECASE)
_REDACTED: Final = r"\1[redacted]"


class RedactTokens(logging.Filter):
    """Replaces the value of every `token=` in a record, in its text and in its arguments."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place and let it pass."""
        if isinstance(record.msg, str):
            record.msg = _TOKEN.sub(_REDACTED, record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(_TOKEN.sub(_REDACTED, arg) if isinstance(arg, str) else arg for arg in record.args)
        return True
