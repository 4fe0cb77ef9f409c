"""The address of a data service."""

from urllib.parse import urlsplit, urlunsplit

from cb_trade_client.errors import RequestError

DEFAULT_URL = "ws://127.0.0.1:8700/ws/data"
"""Where a service started on this machine listens."""

_SOCKET_PATH = "/ws/data"


def check(url: str) -> None:
    """Raise RequestError (`invalid_url`) unless *url* could be a service's address."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in {"ws", "wss"} and bool(parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError:  # a port that is no number, an unfinished IPv6 address
        is_good = False
    if not is_good:
        # Not quoted: it may hold a secret, and here nobody knows where.
        raise RequestError(f"the service's URL must look like {DEFAULT_URL} or wss://…", code="invalid_url")


def http_base(url: str) -> str:
    """Return where the service at the WebSocket address *url* answers HTTP: without a slash at the end.

    Raises:
        RequestError: *url* is no such address, or its path is not that of the data socket (`invalid_url`).
    """
    check(url)
    parts = urlsplit(url)
    if not parts.path.rstrip("/").endswith(_SOCKET_PATH):
        raise RequestError(f"the path of {printable(url)} must end in {_SOCKET_PATH}", code="invalid_url")
    scheme = {"ws": "http", "wss": "https"}[parts.scheme]
    # User, password and query belong to the socket's handshake; here the token travels in a header.
    path = parts.path.rstrip("/").removesuffix(_SOCKET_PATH)
    return urlunsplit((scheme, parts.netloc.rpartition("@")[2], path, "", ""))


def is_loopback(url: str) -> bool:
    """Return whether *url* names this machine."""
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def printable(url: str) -> str:
    """Return *url* without the parts that may hold a secret: user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
