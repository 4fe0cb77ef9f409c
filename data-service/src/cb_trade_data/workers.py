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
from threading import Event, Thread
from typing import Final

from cb_trade_data.config import Settings
from cb_trade_data.errors import InvalidSettingsError

# One that dies whenever it is started is started no more often than this.
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
        signal.signal(number, lambda *_: crew.end())
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

    def tell_to_end(self) -> None:
        """Pass a signal on, or another one."""
        if self.process.pid is not None and self.process.exitcode is None:
            os.kill(self.process.pid, signal.SIGTERM)


class _Crew:
    def __init__(self, settings: Settings, listener: socket.socket, tell_started: Callable[[], None]) -> None:
        self._settings = settings
        self._listener = listener
        self._tell_started = tell_started
        self._workers: dict[int, _Worker] = {}
        self._was_complete = False
        self._ending = Event()
        self._has_failed = False
        self._refusal: InvalidSettingsError | None = None

    def run(self) -> None:
        for number in range(1, self._settings.workers + 1):
            self._start(number)
        while self._workers:
            wait([each for worker in self._workers.values() for each in (worker.process.sentinel, worker.line)])
            for worker in list(self._workers.values()):
                worker.hear()
                if worker.process.exitcode is not None:
                    self._bury(worker)
            self._tell_if_complete()
        if self._refusal is not None:
            raise self._refusal
        if self._has_failed:
            raise SystemExit(_EXIT_FAILURE)

    def end(self) -> None:
        """Have all of them end; again, to have them end at once."""
        self._ending.set()
        self._listener.close()  # What waits in it would wait for nobody.
        for worker in list(self._workers.values()):
            worker.tell_to_end()

    def _start(self, number: int) -> None:
        if not self._ending.is_set():
            worker = self._workers[number] = _Worker(number, self._settings, self._listener)
            if self._ending.is_set():  # meanwhile
                worker.tell_to_end()

    def _bury(self, worker: _Worker) -> None:
        del self._workers[worker.number]
        worker.line.close()
        if self._ending.is_set():
            return
        if worker.refusal is not None:
            self._refusal = worker.refusal
        else:
            self._log_death(worker)
        if self._was_complete:
            time.sleep(_REPLACED_AFTER_SECS)
            self._start(worker.number)
        else:
            self._has_failed = True
            self.end()

    def _log_death(self, worker: _Worker) -> None:
        # Large imports that a parent does without as long as all is well.
        import structlog

        from cb_trade_data.server import configure_log

        configure_log(self._settings.log_level)
        log = structlog.get_logger(__name__)
        log.error("worker.died", worker=worker.number, exit_code=worker.process.exitcode)

    def _tell_if_complete(self) -> None:
        if not self._was_complete and self._workers and all(worker.has_started for worker in self._workers.values()):
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
