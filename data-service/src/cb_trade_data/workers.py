"""Several processes on one socket: a parent starts them, replaces those that die, and ends them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Final

from cb_trade_data.config import Settings
from cb_trade_data.errors import InvalidSettingsError

# One that ends whenever it is started is started no more often than this.
_REPLACED_AFTER_SECS: Final = 1.0
_EXIT_FAILURE: Final = 1

# Forked ones would share what imports have started: threads, pools, locks.
_spawning: Final = multiprocessing.get_context("spawn")


def run_workers(settings: Settings, listener: socket.socket, tell_started: Callable[[], None]) -> None:
    """Serve with as many processes as *settings* say, until SIGINT or SIGTERM, which are passed on to them.

    Args:
        listener: Bound to where they listen.
        tell_started: Called once all of them accept requests.

    Raises:
        InvalidSettingsError: They cannot start as they are set up.
        SystemExit: One of them did not start, for another reason; none is left.
    """
    crew = _Crew(settings, listener, tell_started)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: crew.tell_to_end())
    crew.run()


class _Worker:
    """One process, and the line to it, on which it says that it has started, or why not; it ends when the line does."""

    def __init__(self, number: int, settings: Settings, listener: socket.socket) -> None:
        self.number = number
        self.has_started = False
        self.refusal: InvalidSettingsError | None = None
        self.line, theirs = _spawning.Pipe()
        self.process = _spawning.Process(target=_work, args=(number, settings, listener, theirs))
        self.process.start()
        theirs.close()

    def hear(self) -> None:
        """Take in what it says, if anything."""
        with suppress(EOFError):  # that its process has ended is seen by itself
            if self.line.poll():
                match self.line.recv():
                    case True:
                        self.has_started = True
                    case problems, files:
                        self.refusal = InvalidSettingsError(problems, files)


class _Crew:
    def __init__(self, settings: Settings, listener: socket.socket, tell_started: Callable[[], None]) -> None:
        self._settings = settings
        self._listener = listener
        self._tell_started = tell_started
        self._workers: dict[int, _Worker] = {}
        self._due_at_secs = dict.fromkeys(range(1, settings.workers + 1), 0.0)  # who is to be started; time.monotonic
        self._was_complete = False
        self._is_ending = False
        self._failure: InvalidSettingsError | SystemExit | None = None
        # A signal comes between any two steps of what is done here, and waits in this line for all of them.
        self._signals, self._new_signal = _spawning.Pipe(duplex=False)

    def run(self) -> None:
        while self._workers or self._due_at_secs:
            self._start_who_is_due()
            theirs = [each for worker in self._workers.values() for each in (worker.process.sentinel, worker.line)]
            wait([self._signals, *theirs], self._secs_until_somebody_is_due())
            if self._signals.poll():
                self._signals.recv()
                self._end()
            for worker in list(self._workers.values()):
                has_ended = worker.process.exitcode is not None  # and says nothing after what is heard now
                worker.hear()
                if has_ended:
                    self._bury(worker)
            self._tell_if_complete()
        if self._failure is not None:
            raise self._failure

    def tell_to_end(self) -> None:
        """Have all of them end; again, to have them end at once. May be called from a handler of signals."""
        self._new_signal.send(None)

    def _end(self) -> None:
        self._is_ending = True
        self._due_at_secs.clear()
        self._listener.close()  # What waits in it would wait for nobody.
        for worker in self._workers.values():
            worker.process.terminate()

    def _start_who_is_due(self) -> None:
        for number, due_at_secs in list(self._due_at_secs.items()):
            if due_at_secs <= time.monotonic() and not self._is_ending:
                del self._due_at_secs[number]
                try:
                    self._workers[number] = _Worker(number, self._settings, self._listener)
                except OSError as error:  # no memory for it, or no process, which may pass
                    self._log("worker.not_started", number, error=str(error))
                    self._do_without(number, SystemExit(_EXIT_FAILURE))

    def _secs_until_somebody_is_due(self) -> float | None:
        return max(0, min(self._due_at_secs.values()) - time.monotonic()) if self._due_at_secs else None

    def _bury(self, worker: _Worker) -> None:
        del self._workers[worker.number]
        worker.line.close()
        if self._is_ending:
            return
        if worker.refusal is None:
            self._log("worker.died", worker.number, exit_code=worker.process.exitcode)
        elif self._was_complete:  # else whoever started us is told
            self._log("worker.refused", worker.number, problems=worker.refusal.problems)
        self._do_without(worker.number, worker.refusal or SystemExit(_EXIT_FAILURE))

    def _do_without(self, number: int, failure: InvalidSettingsError | SystemExit) -> None:
        """Have a worker that is not there started again later; end, with *failure*, where all were never there."""
        if self._was_complete:
            # Where it refuses, too. The settings were good for those before it, so that something else has changed, a
            # package that is being replaced perhaps, and may be mended; the others answer meanwhile.
            self._due_at_secs[number] = time.monotonic() + _REPLACED_AFTER_SECS
        else:
            self._failure = failure
            self._end()

    def _log(self, event: str, number: int, **facts: object) -> None:
        # Large imports that a parent does without as long as all is well.
        import structlog

        from cb_trade_data.server import configure_log

        configure_log(self._settings.log_level)
        structlog.get_logger(__name__).error(event, worker=number, **facts)

    def _tell_if_complete(self) -> None:
        if self._was_complete or self._is_ending:
            return
        if all(worker.has_started for worker in self._workers.values()):
            self._was_complete = True
            self._tell_started()


def _work(number: int, settings: Settings, listener: socket.socket, parent: Connection) -> None:
    """Be a worker."""
    # A Ctrl-C is for the parent, which passes it on: two signals would mean that somebody is in haste.
    os.setsid()
    Thread(target=_end_with, args=(parent,), daemon=True).start()
    # Large imports that the parent does without: it is to be there at once.
    from cb_trade_data.server import run

    try:
        run(settings, listener, partial(parent.send, True), number)
    except InvalidSettingsError as error:
        parent.send((error.problems, error.files))


def _end_with(parent: Connection) -> None:
    """End in order once the parent is gone, killed perhaps: nobody would end us, and our socket stay taken."""
    with suppress(EOFError, OSError):
        parent.recv()
    os.kill(os.getpid(), signal.SIGTERM)
