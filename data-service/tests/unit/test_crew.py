"""What a parent does with workers that cannot even be started, which no machine does on demand."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from cb_trade_data import workers
from cb_trade_data.config import AuthSettings, Settings


class Machine:
    """Starts workers that say at once that they have started, and end when they are told to.

    Attributes:
        tries: Whether each start succeeds, one after the other; after these, all do.
        started: In the order in which they were.
    """

    def __init__(self, *tries: bool) -> None:
        self.tries = list(tries)
        self.started: list[SimpleNamespace] = []

    def start(self, number: int, *_: object) -> SimpleNamespace:
        if self.tries and not self.tries.pop(0):
            raise OSError("Cannot allocate memory")
        line, theirs = multiprocessing.Pipe()
        theirs.send(True)
        ended, ending = multiprocessing.Pipe(duplex=False)
        process = SimpleNamespace(sentinel=ended, exitcode=None)
        worker = SimpleNamespace(
            number=number,
            has_started=True,
            refusal=None,
            line=line,
            process=process,
            hear=lambda: line.poll() and line.recv(),
        )
        worker.kept_open = (theirs, ended, ending)

        def end() -> None:
            process.exitcode = 0
            ending.send(None)

        process.terminate = end
        self.started.append(worker)
        return worker


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def crew_of(
    workers_wanted: int, machine: Machine, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> workers._Crew:
    """Return one whose first worker ends as soon as all have started."""
    monkeypatch.setattr(workers, "_Worker", machine.start)
    monkeypatch.setattr(workers, "_REPLACED_AFTER_SECS", 0.0)
    settings = Settings(_env_file=None, auth=AuthSettings(secret="x" * 32), workers=workers_wanted)
    return workers._Crew(settings, listener, lambda: machine.started[0].process.terminate())


def test_one_that_cannot_be_started_again_now_is_tried_until_it_can(listener, monkeypatch):
    machine = Machine(True, True, False, False)
    crew = crew_of(2, machine, listener, monkeypatch)
    start = machine.start

    def start_and_end_with_the_third(*arguments: object) -> SimpleNamespace:
        worker = start(*arguments)
        if len(machine.started) == 3:
            crew.tell_to_end()
        return worker

    monkeypatch.setattr(workers, "_Worker", start_and_end_with_the_third)
    crew.run()

    assert [worker.number for worker in machine.started] == [1, 2, 1]
    assert [worker.process.exitcode for worker in machine.started] == [0, 0, 0]
    assert machine.tries == []


def test_where_one_of_the_first_cannot_be_started_the_service_ends_and_none_is_left(listener, monkeypatch):
    machine = Machine(True, False)
    crew = crew_of(3, machine, listener, monkeypatch)

    with pytest.raises(SystemExit):
        crew.run()

    assert [worker.process.exitcode for worker in machine.started] == [0]
