"""Questions over HTTP: one JSON object each, foreign errors turned into ours."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from cb_trade_client.errors import ProtocolError
from cb_trade_client.fields import Message
from cb_trade_client.refusals import check_token, error_from_http, error_of_no_answer
from cb_trade_client.service_url import http_base, is_loopback

CONNECT_TIMEOUT_SECS = 10
ANSWER_TIMEOUT_SECS = 120


class Questions:
    """A place to ask from, to be entered: what is asked inside shares its connection."""

    def __init__(self, url: str, token: str) -> None:
        """*url* is the WebSocket address of the service; see `service_url.http_base`."""
        self._base = http_base(url)
        check_token(token)
        self._session = aiohttp.ClientSession(
            # Never in the address, which ends up in logs.
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_SECS, connect=CONNECT_TIMEOUT_SECS),
            # A proxy from the environment is for other machines; it cannot reach this one's loopback.
            trust_env=not is_loopback(url),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(self, path: str, query: Mapping[str, Any]) -> Message:
        """Return the answer of `/v1/` *path*; entries of *query* that are None are left out.

        Raises:
            CbTradeError: The service refused, failed or cannot be reached.
            ProtocolError: What answered is no JSON object.
        """
        url = f"{self._base}/v1/{path}"
        asked = {name: str(value) for name, value in query.items() if value is not None}
        try:
            # A redirect could lead the token somewhere else.
            async with self._session.get(url, params=asked, allow_redirects=False) as response:
                status, retry_after, body = response.status, response.headers.get("Retry-After"), await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
            is_early = isinstance(error, aiohttp.ConnectionTimeoutError)
            waited_secs = CONNECT_TIMEOUT_SECS if is_early else ANSWER_TIMEOUT_SECS
            raise error_of_no_answer(self._base, cause, waited_secs) from error
        if status != 200:
            raise error_from_http(self._base, status, retry_after=retry_after, body=body)
        return _json_object(path, body)


def _json_object(path: str, body: bytes) -> Message:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"/v1/{path} answered what is not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise ProtocolError(f"/v1/{path} answered with what is not a JSON object")
    return answer
