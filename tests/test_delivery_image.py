"""The image is what it should be, as far as it shows without being built; deploy/check-image.sh builds and runs it."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from service_harness import RunningService, running_service, token

from cb_trade_simulator import ExchangeSimulator

ROOT = Path(__file__).parents[1]
HEALTHCHECK = ROOT / "deploy" / "healthcheck.py"
SMOKE = ROOT / "deploy" / "smoke.py"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, each with its arguments on one line."""
    text = re.sub(r"^ *#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r" *\\\n *", " ", text).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line)]


def last(name: str) -> str:
    return [rest for instruction, rest in instructions() if instruction == name][-1]


def test_the_base_is_pinned_by_version_and_by_digest():
    (argument, base), *_ = instructions()

    assert argument == "ARG"
    assert re.fullmatch(r"PYTHON_IMAGE=[\w./-]+:3\.1[1-4]\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)


def test_nothing_is_installed_without_its_hash():
    installs = [
        step for _, rest in instructions() for step in rest.split("&&") if re.search(r"/pip .*\b(wheel|install) ", step)
    ]

    assert len(installs) == 4
    # From the lock with hashes, from what that brought, or our own source without dependencies.
    safe = ("--require-hashes", "--no-index", "--no-deps --no-build-isolation")
    assert [step for step in installs if not any(way in step for way in safe)] == []


def test_it_runs_as_a_user_with_a_fixed_number_that_is_not_root():
    assert last("USER") == "10001:10001"


@pytest.mark.parametrize("name", ["ENTRYPOINT", "CMD"])
def test_it_starts_without_a_shell(name: str):
    assert last(name).startswith('["')


def test_its_health_check_needs_no_shell_and_no_curl():
    _, _, command = last("HEALTHCHECK").partition("CMD ")

    assert command == '["python", "/opt/cb-trade/healthcheck.py"]'


def test_it_is_told_to_end_in_the_way_the_service_understands():
    assert last("STOPSIGNAL") == "SIGTERM"


def test_its_version_is_that_of_the_service():
    version = tomllib.loads((ROOT / "data-service" / "pyproject.toml").read_text())["project"]["version"]

    assert f'org.opencontainers.image.version="{version}"' in last("LABEL")


def test_the_build_sees_what_it_copies_and_nothing_else():
    first, *others = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in {"", "#"}]
    let_in = {line.removeprefix("!") for line in others if line.startswith("!")}
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in shlex.split(rest)[:-1]
    }

    assert first == "*"
    assert {Path(path).parts[0] for path in let_in} == {Path(path).parts[0] for path in copied}
    assert all((ROOT / path).exists() for path in let_in)


@pytest.mark.parametrize("tool", ["exchange-conformance", "exchange-simulator"])
def test_what_only_tries_exchanges_out_is_not_in_it(tool: str):
    assert tool not in (ROOT / ".dockerignore").read_text() + (ROOT / "Dockerfile").read_text()


class Answering(BaseHTTPRequestHandler):
    """Says 200 to /health/live, 503 to all else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/live" else 503)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def answering() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent() -> Iterator[int]:
    """A port that nobody answers on, and nobody else can take meanwhile: it is bound, and does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def healthcheck(port: int, *arguments: str, host: str = "0.0.0.0") -> int:  # noqa: S104 - read, not bound
    environment = {"CB_TRADE_HOST": host, "CB_TRADE_PORT": str(port)}
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, HEALTHCHECK, *arguments], env=environment, capture_output=True, check=False
    ).returncode


def test_the_health_check_passes_while_the_service_lives():
    with answering() as port:
        assert healthcheck(port) == 0


def test_the_health_check_fails_with_the_path_that_is_asked():
    with answering() as port:
        assert healthcheck(port, "/health/ready") == 1


def test_the_health_check_fails_when_nobody_answers():
    with silent() as port:
        assert healthcheck(port) == 1


async def smoke(service: RunningService, bearer: str, *arguments: str) -> tuple[int, str]:
    """Run the smoke test of a deployment; return its exit status and everything it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        SMOKE,
        service.http_url,
        *arguments,
        env={"PYTHONPATH": os.pathsep.join(sys.path), "CB_TRADE_CLIENT__TOKEN": bearer},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[RunningService]:
    simulator = ExchangeSimulator("binance")
    async with simulator.serve(), running_service(tmp_path, simulator.base_url) as running:
        yield running


async def test_the_smoke_test_passes_a_service_that_works(service: RunningService):
    status, said = await smoke(service, token())

    assert status == 0, said
    assert "24 bars" in said


async def test_the_smoke_test_fails_a_service_that_refuses_the_token(service: RunningService):
    status, said = await smoke(service, token(secret="the secret of another service, long enough"))

    assert (status, said.splitlines()[-1][:6]) == (1, "smoke:")


async def test_the_smoke_test_fails_a_service_whose_exchange_does_not_have_the_bars(service: RunningService):
    status, said = await smoke(service, token(), "--symbol", "NONE/USDT")

    assert (status, said.splitlines()[-1][:6]) == (1, "smoke:")


async def test_the_smoke_test_fails_where_nothing_is_ready():
    with silent() as port:
        status, said = await smoke(RunningService(port), token(), "--patience-secs", "0")

    assert status == 1
    assert "not ready after 0 s" in said


async def test_the_smoke_test_fails_a_service_that_says_it_is_not_ready():
    with answering() as port:
        status, said = await smoke(RunningService(port), token(), "--patience-secs", "0")

    assert status == 1
    assert "not ready after 0 s: status 503" in said


BUILDAH = """#!/usr/bin/env bash
case "$1" in inspect) echo 10001:10001 ;; *) exit 1 ;; esac
"""


def check_image(tmp_path: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Run the check of an image on a machine whose Docker does not run, and whose Buildah has no image."""
    for name, program in (("docker", "#!/usr/bin/env bash\nexit 1\n"), ("buildah", BUILDAH)):
        file = tmp_path / name
        file.write_text(program)
        file.chmod(0o755)
    venv = Path(sys.executable).parents[1]
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PORT": str(port), "VENV": str(venv)}
    return subprocess.run(  # noqa: S603 - our own script
        [ROOT / "deploy" / "check-image.sh", "cb-trade"], env=environment, capture_output=True, text=True, check=False
    )


def test_an_image_is_not_checked_on_a_port_where_somebody_else_would_answer(tmp_path: Path):
    with answering() as port:
        checked = check_image(tmp_path, port)

    assert checked.returncode == 1
    assert checked.stderr == f"check-image: port {port} is taken; PORT names another\n"


def test_the_dockerfile_has_no_mistake_that_hadolint_knows():
    hadolint = Path(sys.executable).with_name("hadolint")
    linted = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)  # noqa: S603

    assert (linted.returncode, linted.stdout) == (0, "")
