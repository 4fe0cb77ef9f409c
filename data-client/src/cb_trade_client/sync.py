"""The SDK for programs that do not use asyncio, and for notebooks: the same verbs, which wait for their answers."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import update_wrapper, wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import pyarrow as pa

from cb_trade_client.answers import HistoryCompleted, HistoryStarted
from cb_trade_client.client import DataClient, Token
from cb_trade_client.retrying import DEFAULT_RETRIES
from cb_trade_client.service_url import DEFAULT_URL
from cb_trade_client.stream import HistoryStream

P = ParamSpec("P")
T = TypeVar("T")


class _ClosedError(RuntimeError):
    """The client was closed, before the call or during it."""

    def __init__(self) -> None:
        super().__init__("the client is closed")


class _LoopThread:
    """An event loop in a thread of its own: it works beside whatever loop the caller may be in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._is_closed = False
        # Nothing is to be begun behind what closes: the loop would stop before it ends.
        self._beginning = threading.Lock()
        self._thread = threading.Thread(target=self._run_loop, name="cb-trade", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what *work* returns. Raises `_ClosedError` when the thread is closed, also where that is meanwhile."""
        with self._beginning:
            future = None if self._is_closed else asyncio.run_coroutine_threadsafe(work, self._loop)
        if future is None:
            work.close()
            # Not before all has ended: a stream that the caller lets go of could not be closed any more.
            self._thread.join()
            raise _ClosedError
        try:
            return future.result()
        except CancelledError:  # by `close`; nobody else does
            self._thread.join()
            raise _ClosedError from None
        except BaseException:  # Ctrl-C among them: nothing is to go on behind the caller's back
            future.cancel()
            raise

    def close(self, last_work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel all that runs, whichever thread waits for it, then do *last_work* and end the thread. Idempotent."""
        with self._beginning:
            if self._is_closed:
                return
            self._is_closed = True
            ended = asyncio.run_coroutine_threadsafe(self._end(last_work), self._loop)
        # Also when Ctrl-C ends the waiting here.
        ended.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))
        ended.result()
        self._thread.join()

    async def _end(self, last_work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await last_work()

    def _run_loop(self) -> None:
        self._loop.run_forever()
        self._loop.close()


def _waiting(
    method: Callable[Concatenate[DataClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["SyncDataClient", P], T]:
    """Return the same method for a client that waits."""

    def wait(self: "SyncDataClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._thread.run(method(self._client, *args, **kwargs))

    update_wrapper(wait, method)
    return wait


class SyncDataClient:
    """`DataClient` with methods that wait; what they take, return and raise is described there.

        with SyncDataClient(token=token) as client:
            frame = client.history("binance", "BTC/USDT", "1h", start, end).to_pandas()

    It may be used by several threads, and closed by any. `on_progress` is called in a thread of the client's own.
    """

    def __init__(self, url: str = DEFAULT_URL, *, token: Token, retries: int = DEFAULT_RETRIES) -> None:
        """Nothing is sent yet; see `DataClient`."""
        self._client = DataClient(url, token=token, retries=retries)
        self._thread = _LoopThread()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all streams and connections; who waits for them in other threads gets a RuntimeError. Idempotent."""
        self._thread.close(self._client.aclose)

    history = _waiting(DataClient.history)
    latest = _waiting(DataClient.latest)
    wait_until = _waiting(DataClient.wait_until)
    plan = _waiting(DataClient.plan)
    exchanges = _waiting(DataClient.exchanges)
    series = _waiting(DataClient.series)
    coverage = _waiting(DataClient.coverage)
    compare = _waiting(DataClient.compare)
    quality = _waiting(DataClient.quality)

    @wraps(DataClient.stream)
    def stream(self, *args: Any, **kwargs: Any) -> "SyncHistoryStream":
        return SyncHistoryStream(self._client.stream(*args, **kwargs), self._thread)


class SyncHistoryStream:
    """`HistoryStream` to be read with a plain `for`, and ended by a plain `with`."""

    def __init__(self, stream: HistoryStream, thread: _LoopThread) -> None:
        self._stream = stream
        self._thread = thread

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        return self._stream.schema

    @property
    def started(self) -> HistoryStarted:
        """See `HistoryStream.started`."""
        return self._stream.started

    @property
    def completed(self) -> HistoryCompleted:
        """See `HistoryStream.completed`."""
        return self._stream.completed

    def __enter__(self) -> Self:
        self._thread.run(self._stream.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        batches = aiter(self._stream)
        try:
            while (batch := self._thread.run(_next(batches))) is not None:
                yield batch
        finally:
            self.close()

    def close(self) -> None:
        """End the request and its connection. Idempotent."""
        with suppress(_ClosedError):  # then the client has ended it
            self._thread.run(self._stream.aclose())


async def _next(batches: AsyncIterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    return await anext(batches, None)
