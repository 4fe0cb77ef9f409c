"""Why the service refused a WebSocket handshake, told in the body of its answer."""

from collections.abc import Mapping

import aiohttp
from picows import WSInvalidStatusError

from cb_trade_client.errors import CbTradeError
from cb_trade_client.refusals import error_from_handshake
from cb_trade_client.service_url import is_loopback, printable

_ANSWER_TIMEOUT_SECS = 5
_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "Y2ItdHJhZGUgYXNrcyBhZ2Fpbg==",
}


async def error_of_refusal(url: str, refusal: WSInvalidStatusError, headers: Mapping[str, str]) -> CbTradeError:
    """Return the error that *refusal* means.

    Args:
        headers: What the handshake at *url* was sent with.
    """
    response = refusal.response
    body = refusal.raw_body or b""
    said = response.headers if response is not None else {}
    status = int(response.status) if response is not None else 0
    if len(body) < _whole(said.get("Content-Length")) or "Transfer-Encoding" in said:
        # The library stops at the headers, whatever is still on its way.
        body = await _body_of_the_same(url, headers, status) or body
    return error_from_handshake(printable(url), status, retry_after=said.get("Retry-After"), body=body)


async def _body_of_the_same(url: str, headers: Mapping[str, str], status: int) -> bytes:
    """Ask the same once more, as plain HTTP, and return the body; empty where the answer is another one this time."""
    timeout = aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT_SECS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=not is_loopback(url)) as session,
            session.get(
                f"http{url.removeprefix('ws')}", headers={**headers, **_UPGRADE}, allow_redirects=False
            ) as again,
        ):
            return await again.read() if again.status == status else b""
    except (aiohttp.ClientError, TimeoutError):
        return b""  # the status is enough for an error of the right class


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
