"""An event loop whose time jumps to the next timer: minutes of waiting pass at once, and exactly."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _Jumping(selectors.DefaultSelector):
    """Never waits: where nothing is ready, the time of the next timer has come."""

    now_secs = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everybody waits, and nothing is going to happen any more")
            self.now_secs += max(timeout, 0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Only for tests without threads, files and sockets: nobody waits for those."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_secs

    def let_pass(self, secs: float) -> None:
        """Let time pass in which nothing else can happen."""
        self._jumping.now_secs += secs


def now_secs() -> float:
    """Return the time of the running loop."""
    return asyncio.get_running_loop().time()


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run *test* in a loop of virtual time; a test that would hang for ever fails at once."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*arguments, **named))

    return run
