"""What must not be in the log: tokens, errors that are none, and the same twice."""

from __future__ import annotations

import logging
import re
from typing import Final

# What stands in a query as a token, the whole query of the socket (whose only parameter it is, however it is spelled),
# and what has the form of a JWT wherever it stands.
_SECRETS: Final = re.compile(r"(?<=token=)[^&\s\"']+|(?<=/ws/data\?)[^\s\"']+|eyJ[\w-]+\.[\w-]+\.[\w-]*", re.IGNORECASE)
_REDACTED: Final = "[redacted]"

# What uvicorn (0.54) logs as ERROR, with or without a traceback, although all is as it should be.
_NO_DEFECTS: Final = (
    "ASGI callable returned without completing handshake.",  # a handshake that was refused, with an HTTP status
    "Invalid UTF-8 sequence received from client.",  # a client's defect, and answered with 1007
)


class RedactTokens(logging.Filter):
    """Replaces tokens in a record: the server prints whole query strings."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place and let it pass."""
        text = record.getMessage()
        if (redacted := _SECRETS.sub(_REDACTED, text)) != text:
            record.msg, record.args = redacted, None
        return True


class DropNoise(logging.Filter):
    """Drops errors of the server that clients cause at will, and that are dealt with."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record may pass."""
        return not (record.name == "uvicorn.error" and record.msg in _NO_DEFECTS)
