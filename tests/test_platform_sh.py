"""The front door says what it can do, and refuses what it does not know."""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLATFORM_SH = ROOT / "platform.sh"
SCRIPTS = [PLATFORM_SH, ROOT / ".ci" / "run"]
COMMANDS = ["setup", "demo", "start", "stop", "restart", "status", "logs", "test", "bench", "docs", "lock", "help"]


def platform_sh(*arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own script
        [root / "platform.sh", *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def copied_root(tmp_path: Path) -> Path:
    """A workspace of empty files around the script: no environment, no service, nothing to disturb."""
    shutil.copy(PLATFORM_SH, tmp_path)
    (tmp_path / "requirements.lock").touch()
    for folder in [".", "data-client", "data-service", "exchange-conformance", "exchange-simulator"]:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "pyproject.toml").touch()
    return tmp_path


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_executable_and_parses(script: Path):
    assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(["bash", "-n", script], check=True)  # noqa: S603, S607


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_command(command: str):
    assert re.search(rf"^  {command} ", platform_sh("help").stdout, re.MULTILINE)


def test_help_is_what_no_command_shows():
    bare = platform_sh()

    assert bare.returncode == 0
    assert bare.stdout == platform_sh("help").stdout


@pytest.mark.parametrize(
    "arguments", [["fly"], ["start", "now"], ["setup", "--fast"], ["docs", "it"], ["logs", "all"], ["lock", "it"]]
)
def test_what_it_does_not_know_is_refused_with_the_help(arguments: list[str], copied_root: Path):
    refused = platform_sh(*arguments, root=copied_root)

    assert refused.returncode == 2
    assert "Usage:" in refused.stderr
    assert refused.stdout == ""


@pytest.fixture
def run_ci(tmp_path: Path) -> Callable[..., list[str]]:
    """Run what continuous integration runs, as root of a machine with these programs; return what was called."""
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "sh", "dirname", "mkdir", "rm"):
        (programs / name).symlink_to(shutil.which(name))
    tell = 'echo "${0##*/} $*: CI=$CI" >>"$CALLS"'

    def write(file: Path, command: str) -> None:
        file.write_text(f"#!/bin/sh\n{command}\n")
        file.chmod(0o755)

    def run(*installed: str) -> list[str]:
        write(tmp_path / "platform.sh", tell)
        write(programs / "id", "echo 0")
        for name in installed:
            write(programs / name, tell)
        calls = tmp_path / "calls"
        subprocess.run([script], check=True, env={"PATH": str(programs), "CALLS": str(calls)})  # noqa: S603
        return calls.read_text().splitlines()

    return run


def test_continuous_integration_tells_its_commands_that_nothing_may_be_left_out(run_ci):
    assert run_ci() == ["platform.sh demo: CI=1", "platform.sh test: CI=1"]


def test_continuous_integration_installs_what_a_clean_debian_lacks(run_ci):
    calls = run_ci("apt-get", "promtool")

    assert [call.partition(":")[0] for call in calls] == [
        "apt-get -qq update",
        "apt-get -qq install --no-install-recommends --yes chromium shellcheck npm",
        "platform.sh demo",
        "platform.sh test",
    ]


@pytest.mark.parametrize("browser", ["chromium", "chromium-browser", "google-chrome"])
def test_continuous_integration_takes_the_browser_that_is_there(run_ci, browser: str):
    there = run_ci("apt-get", "promtool", "shellcheck", "npm", browser)

    assert there == ["platform.sh demo: CI=1", "platform.sh test: CI=1"]


def test_continuous_integration_takes_promtool_out_of_its_package_and_installs_no_service(run_ci):
    there = ("apt-get", "dpkg-deb", "tar", "chromium", "shellcheck", "npm")
    calls = [call.partition(":")[0] for call in run_ci(*there)]

    assert calls[:2] == ["apt-get -qq update", "apt-get -qq download prometheus"]
    assert sorted(call.partition(" ")[0] for call in calls[2:4]) == ["dpkg-deb", "tar"]
    assert calls[4:] == ["platform.sh demo", "platform.sh test"]


def test_continuous_integration_installs_with_homebrew_where_there_is_no_debian(run_ci):
    calls = run_ci("brew", "google-chrome")

    assert calls[:2] == ["brew install --quiet shellcheck npm: CI=1", "brew install --quiet prometheus: CI=1"]


def test_the_status_of_a_service_never_started_is_not_running(copied_root: Path):
    status = platform_sh("status", root=copied_root)

    assert (status.returncode, status.stdout) == (3, "not running\n")


def test_a_pid_file_that_names_somebody_else_is_not_believed(copied_root: Path):
    (copied_root / ".run").mkdir()
    pid_file = copied_root / ".run" / "service.pid"
    pid_file.write_text(f"{os.getpid()}\n")

    assert platform_sh("status", root=copied_root).returncode == 3
    assert platform_sh("stop", root=copied_root).returncode == 0
    assert not pid_file.exists()


def test_logs_before_the_first_start_say_how_to_get_some(copied_root: Path):
    logs = platform_sh("logs", root=copied_root)

    assert logs.returncode == 1
    assert "./platform.sh start" in logs.stderr


def test_a_benchmark_that_does_not_exist_is_named(copied_root: Path):
    bench = platform_sh("bench", "nothing", root=copied_root)

    assert bench.returncode == 1
    assert "'nothing'" in bench.stderr


def test_a_python_that_is_not_there_is_named(copied_root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHON", "no-such-python")

    setup = platform_sh("setup", root=copied_root)

    assert setup.returncode == 1
    assert "no-such-python" in setup.stderr
