"""The messages of `docs/protocol-messages`: conversations, byte for byte, that service, SDK and page agree on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import orjson
from wire_contract import DOCS, REQUESTS

FOLDER: Final = DOCS / "protocol-messages"
#: Each is a folder; its files are numbered in their order.
CONVERSATIONS: Final = sorted(path.name for path in FOLDER.iterdir())
FILES: Final = sorted(FOLDER.glob("*/*"))


def name_of(file: Path) -> str:
    """Return the file as the documents name it: `latest/1_request_current_timestamp.json`."""
    return file.relative_to(FOLDER).as_posix()


def message_of(file: Path) -> str | bytes:
    """Return a message as it goes over the wire; files with text end with a line break, as text files do."""
    return file.read_bytes() if file.suffix == ".bin" else file.read_text().removesuffix("\n")


def is_request(file: Path) -> bool:
    return file.stem.partition("_")[2] in REQUESTS


def files_of(conversation: str) -> list[Path]:
    return [file for file in FILES if file.parent.name == conversation]


def asked(conversation: str) -> dict[str, Any]:
    """Return the request that a conversation begins with."""
    request: dict[str, Any] = orjson.loads(message_of(files_of(conversation)[0]))
    return request


def answered(conversation: str) -> list[str | bytes]:
    """Return what the service answers, text as `str` and binary messages as `bytes`."""
    return [message_of(file) for file in files_of(conversation) if not is_request(file)]


def rows_of(conversation: str) -> list[dict[str, Any]]:
    """Return the rows of an answer in the format `json`."""
    return [row for message in answered(conversation) for row in orjson.loads(message).get("data", ())]
