"""An identity provider for tests: publishes keys, and remembers who asked for them."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa


def jwk(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, kid: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return the public half of *key* as a member of a key set, with *fields* beside it or in its place."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        parts = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
    else:
        point = public.public_numbers()
        size_bytes = (public.key_size + 7) // 8
        parts = {"kty": "EC", "crv": "P-256", "x": _number(point.x, size_bytes), "y": _number(point.y, size_bytes)}
    return parts | ({} if kid is None else {"kid": kid}) | fields


def _number(value: int, size_bytes: int | None = None) -> str:
    data = value.to_bytes(size_bytes or (value.bit_length() + 7) // 8, "big")
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class KeyServer:
    """Answers every address with a key set, or as it is told to.

    Attributes:
        url: Where it is.
        keys: What it publishes.
        body: What it answers instead; None for the key set.
        status: The status of its answers.
        headers: Further headers of its answers.
        calls: The paths that were asked for.
        may_answer: Cleared by a test that wants nobody to hear from it.
    """

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.url = ""
        self.keys = list(keys)
        self.body: bytes | None = None
        self.status = 200
        self.headers: dict[str, str] = {}
        self.calls: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def _answer(self, request: web.Request) -> web.Response:
        self.calls.append(request.path)
        await self.may_answer.wait()
        body = json.dumps({"keys": self.keys}).encode() if self.body is None else self.body
        return web.Response(body=body, status=self.status, headers=self.headers, content_type="application/json")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[KeyServer]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
            yield self
        finally:
            self.may_answer.set()
            await runner.cleanup()
