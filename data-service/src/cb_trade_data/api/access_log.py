"""What must not be in the log: tokens, and an error that is none."""

from __future__ import annotations

import logging
import re
from typing import Final

_TOKEN: Final = re.compile(r"(token=)[^&\s\"']+", re.IGNORECASE)
_REDACTED: Final = r"\1[redacted]"

_DENIAL_TAKEN_FOR_A_DEFECT: Final = "ASGI callable returned without completing handshake."


class RedactTokens(logging.Filter):
    """Replaces the value of every `token=` in a record: the server prints whole query strings."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place and let it pass."""
        if isinstance(record.msg, str):
            record.msg = _TOKEN.sub(_REDACTED, record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(_TOKEN.sub(_REDACTED, arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


class DropDenials(logging.Filter):
    """Drops the ERROR that uvicorn (0.54) logs after each handshake that was refused, properly, with an HTTP status."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record may pass."""
        return not (record.name == "uvicorn.error" and record.msg == _DENIAL_TAKEN_FOR_A_DEFECT)
