"""Chromium without a screen, as a child process, driven over its DevTools protocol.

As a program it prints where the Chromium of this machine is, and fails if there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import websockets

_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
_FLAGS = (
    "--headless",
    "--no-sandbox",  # root has none, and only our own pages are opened
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-dev-shm-usage",  # containers have little of it
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--use-mock-keychain",  # macOS would ask for a password
)
_SAYS_WHERE = "DevTools listening on "
_MESSAGE_MAX_BYTES = 64 * 1024 * 1024


def find_chromium() -> str | None:
    """Return the Chromium or Chrome of this machine; CHROMIUM in the environment names another one."""
    names = (os.environ["CHROMIUM"],) if "CHROMIUM" in os.environ else _NAMES
    return next(filter(None, map(shutil.which, names)), None)


class PageError(Exception):
    """A page threw what it did not catch."""


class Page:
    """A tab.

    Attributes:
        complaints: What went wrong in the page so far: errors on its console, exceptions nobody caught, files that did
            not load.
    """

    def __init__(self, connection: Any) -> None:
        self.complaints: list[str] = []
        self._connection = connection
        self._session: dict[str, str] = {}
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()

    async def goto(self, url: str) -> None:
        """Open *url* and wait until it has loaded, with all its modules."""
        self._loaded.clear()
        await self._call("Page.navigate", url=url)
        await self._loaded.wait()

    async def evaluate(self, script: str, **values: Any) -> Any:
        """Run *script*, the body of an async function that knows *values*; return what it returns, as JSON has it.

        Raises:
            PageError: It threw.
        """
        expression = f"(async ({{ {', '.join(values)} }}) => {{ {script} }})({json.dumps(values)})"
        answer = await self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise PageError(_described(answer["exceptionDetails"]))
        return answer["result"].get("value")

    async def look(self, *, width: int, is_dark: bool = False) -> None:
        """Show pages *width* pixels wide from now on, to somebody who likes them light or dark."""
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        await self._call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        await self._call("Emulation.setEmulatedMedia", features=[scheme])

    async def attach(self) -> None:
        """Open the tab and listen to what it says."""
        target = await self._call("Target.createTarget", url="about:blank")
        attached = await self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            await self._call(f"{domain}.enable")

    async def listen(self) -> None:
        """Take in what Chromium says, until it ends; nobody waits longer than that."""
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                self._take_in(json.loads(await self._connection.recv()))
        for answer in filter(lambda answer: not answer.done(), self._answers.values()):
            answer.set_exception(RuntimeError("Chromium has ended"))

    def _take_in(self, message: dict[str, Any]) -> None:
        if "id" not in message:
            self._notice(message["method"], message["params"])
            return
        answer = self._answers.pop(message["id"])
        if answer.done():  # nobody waits for it any more
            return
        if "error" in message:
            answer.set_exception(RuntimeError(message["error"]["message"]))
        else:
            answer.set_result(message["result"])

    def _notice(self, event: str, told: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded.set()
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(_described(told["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.complaints.append(" ".join(str(part.get("value", part)) for part in told["args"]))
        elif event == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._connection.send(json.dumps({"id": number, "method": method, "params": parameters} | self._session))
        return await answer


def _described(exception: dict[str, Any]) -> str:
    return str(exception.get("exception", {}).get("description", exception["text"]))


@asynccontextmanager
async def open_page() -> AsyncIterator[Page]:
    """Run a Chromium that knows nothing yet; yield its one tab. Nothing of it is left afterwards."""
    # In /tmp, because the path of a socket must be short; Chromium may still write while it is being killed.
    with tempfile.TemporaryDirectory(prefix="cb-trade-chromium-", dir="/tmp", ignore_cleanup_errors=True) as home:
        async with _running(home) as address, websockets.connect(address, max_size=_MESSAGE_MAX_BYTES) as connection:
            page = Page(connection)
            listening = asyncio.create_task(page.listen())
            try:
                await page.attach()
                yield page
            finally:
                listening.cancel()


@asynccontextmanager
async def _running(home: str) -> AsyncIterator[str]:
    """Run a Chromium that writes nowhere else than in *home*; yield the address of its DevTools."""
    program = find_chromium()
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program,
        *_FLAGS,
        f"--user-data-dir={home}/profile",
        "about:blank",
        env={name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        | {"HOME": home, "TMPDIR": home},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # so that its children can be killed with it
    )
    try:
        address = await _address(process.stderr)
        draining = asyncio.create_task(process.stderr.read())  # a full pipe would hold it up
        yield address
        draining.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _address(stderr: asyncio.StreamReader) -> str:
    said = ""
    async for line in stderr:
        said += line.decode(errors="replace")
        if _SAYS_WHERE in said:
            return said.partition(_SAYS_WHERE)[2].strip()
    raise RuntimeError(f"Chromium did not start:\n{said}")


if __name__ == "__main__":
    found = find_chromium()
    if found is None:
        sys.exit(1)
    print(found)  # noqa: T201 - it is what the program is for
