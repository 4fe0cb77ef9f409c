"""Questions over HTTP: one JSON object each, asked again where that helps, foreign errors turned into ours."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from cb_trade_client.connector import Connector
from cb_trade_client.errors import ProtocolError
from cb_trade_client.fields import Message
from cb_trade_client.refusals import check_token, error_from_http, error_of_no_answer, error_of_slow_answer
from cb_trade_client.retrying import with_retries
from cb_trade_client.service_errors import ShuttingDownError, TokenExpiredError
from cb_trade_client.service_url import http_base, is_loopback

CONNECT_TIMEOUT_SECS = 10
ANSWER_TIMEOUT_SECS = 120


class Questions:
    """A place to ask from, to be entered: what is asked inside shares its connection."""

    def __init__(self, url: str, connector: Connector, retries: int) -> None:
        """*url* is the WebSocket address of the service; see `service_url.http_base`.

        Args:
            connector: Has tokens, and knows whether the service was ever there.
            retries: How often each question is asked again after what passes.
        """
        self._url = url
        self._base = http_base(url)
        self._connector = connector
        self._retries = retries
        self._token: str | None = None
        self._session = self._new_session()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(self, path: str, query: Mapping[str, Any]) -> Message:
        """Return the answer of `/v1/` *path*; entries of *query* that are None are left out.

        Where the service is busy, ends, or was lost, it is asked again, after as long as it says. One that takes too
        long is not: it goes on with what nobody waits for any more, and would work on both.

        Raises:
            CbTradeError: The service refused, failed, cannot be reached or takes too long.
            ProtocolError: What answered is no JSON object.
            RuntimeError: The client is closed.
        """
        asked = {name: str(value) for name, value in query.items() if value is not None}

        async def once() -> bytes:
            try:
                return await self._ask_with_a_good_token(path, asked)
            except ShuttingDownError:
                # Its socket may stay open for what is under way there; a new one finds the successor.
                await self._session.close()
                self._session = self._new_session()
                raise

        return _json_object(path, await with_retries(once, self._retries, self._connector.is_passing))

    async def _ask_with_a_good_token(self, path: str, asked: Mapping[str, str]) -> bytes:
        self._connector.refuse_if_closed()
        token = self._token = self._token or await self._connector.new_token()
        try:
            return await self._ask_once(path, asked, token)
        except TokenExpiredError:
            self._token = await self._connector.new_token()
            if self._token == token:
                raise
            return await self._ask_once(path, asked, self._token)

    async def _ask_once(self, path: str, asked: Mapping[str, str], token: str) -> bytes:
        check_token(token)
        self._connector.refuse_if_closed()  # meanwhile
        try:
            async with self._session.get(
                f"{self._base}/v1/{path}",
                params=asked,
                # Never in the address, which ends up in logs.
                headers={"Authorization": f"Bearer {token}"},
                # A redirect could lead the token somewhere else.
                allow_redirects=False,
            ) as response:
                self._connector.note_reached()
                status, retry_after, body = response.status, response.headers.get("Retry-After"), await response.read()
        except aiohttp.ClientError as error:
            cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
            raise error_of_no_answer(self._base, cause, CONNECT_TIMEOUT_SECS) from error
        except TimeoutError as error:
            raise error_of_slow_answer(self._base, ANSWER_TIMEOUT_SECS) from error
        if status != 200:
            raise error_from_http(self._base, status, retry_after=retry_after, body=body)
        return body

    def _new_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_SECS, connect=CONNECT_TIMEOUT_SECS),
            # A proxy from the environment is for other machines; it cannot reach this one's loopback.
            trust_env=not is_loopback(self._url),
        )


def _json_object(path: str, body: bytes) -> Message:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"/v1/{path} answered what is not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise ProtocolError(f"/v1/{path} answered with what is not a JSON object")
    return answer
