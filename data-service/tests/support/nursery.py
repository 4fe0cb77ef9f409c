"""Real processes in milliseconds: one that has imported everything forks a child for each job.

As a program (`nursery.py DESCRIPTOR MODULE…`) it is that process; `Nursery` is its handle in the tests.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

_MESSAGE_MAX_BYTES = 65_536


class Child:
    """A process that does a job.

    Attributes:
        said: What it writes to its standard output.
    """

    def __init__(self, nursery: Nursery, pid: int, said: BinaryIO) -> None:
        self._nursery = nursery
        self.pid = pid
        self.said = said

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> list[bytes]:
        """Kill it with SIGKILL; when it is gone, return what it had said and nobody had read."""
        self.send_signal(signal.SIGKILL)
        return self.wait()

    def wait(self) -> list[bytes]:
        """Wait for its end; return what it had said and nobody had read."""
        self._nursery.ask({"wait": self.pid})
        with self.said:
            return self.said.readlines()


class Nursery:
    """Starts children. Whatever is still alive at the end is killed."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def spawn(self, job: str, **arguments: Any) -> Child:
        """Start a process that calls *job* (`module:function`) and ends."""
        readable, writable = os.pipe()
        try:
            answer = self.ask({"job": job, "arguments": arguments}, [writable])
        finally:
            os.close(writable)
        return Child(self, answer["pid"], os.fdopen(readable, "rb"))

    def ask(self, message: dict[str, Any], descriptors: list[int] | None = None) -> Any:
        socket.send_fds(self._connection, [json.dumps(message).encode()], descriptors or [])
        return json.loads(self._connection.recv(_MESSAGE_MAX_BYTES))


@contextmanager
def running_nursery(*modules: str) -> Iterator[Nursery]:
    """Run a nursery whose children have these modules imported."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            arguments = [sys.executable, __file__, str(theirs.fileno()), *modules]
            # It finds what the tests find, in all the folders that pytest was told of.
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            process = subprocess.Popen(arguments, pass_fds=[theirs.fileno()], env=environment)  # noqa: S603 - our own program
        try:
            yield Nursery(ours)
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            process.wait()


def _serve(connection: socket.socket) -> None:
    alive: set[int] = set()
    while True:
        data, descriptors, _, _ = socket.recv_fds(connection, _MESSAGE_MAX_BYTES, 1)
        if not data:
            break
        message = json.loads(data)
        if "wait" in message:
            _, status = os.waitpid(message["wait"], 0)
            alive.discard(message["wait"])
            answer = {"status": status}
        else:
            pid = os.fork()
            if pid == 0:
                connection.close()
                os.dup2(descriptors[0], 1)
                os.close(descriptors[0])
                os._exit(_do(message["job"], message["arguments"]))
            os.close(descriptors[0])
            alive.add(pid)
            answer = {"pid": pid}
        connection.send(json.dumps(answer).encode())
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _do(job: str, arguments: dict[str, Any]) -> int:
    module, _, function = job.partition(":")
    try:
        getattr(importlib.import_module(module), function)(**arguments)
    except BaseException:  # noqa: BLE001 - the child ends here, whatever happened
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        _serve(inherited)
