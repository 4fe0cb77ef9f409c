"""What must not be in the log: tokens, and an error that is none."""

from __future__ import annotations

import logging
import re
from typing import Final

# What stands in a query as a token, the whole query of the socket (whose only parameter it is, however it is spelled),
# and what has the form of a JWT wherever it stands.
_SECRETS: Final = re.compile(r"(?<=token=)[^&\s\"']+|(?<=/ws/data\?)[^\s\"']+|eyJ[\w-]+\.[\w-]+\.[\w-]*", re.IGNORECASE)
_REDACTED: Final = "[redacted]"

_DENIAL_TAKEN_FOR_A_DEFECT: Final = "ASGI callable returned without completing handshake."


class RedactTokens(logging.Filter):
    """Replaces tokens in a record: the server prints whole query strings."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place and let it pass."""
        text = record.getMessage()
        if (redacted := _SECRETS.sub(_REDACTED, text)) != text:
            record.msg, record.args = redacted, None
        return True


class DropDenials(logging.Filter):
    """Drops the ERROR that uvicorn (0.54) logs after each handshake that was refused, properly, with an HTTP status."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record may pass."""
        return not (record.name == "uvicorn.error" and record.msg == _DENIAL_TAKEN_FOR_A_DEFECT)
