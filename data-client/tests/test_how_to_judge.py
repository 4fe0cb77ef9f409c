"""What docs/how-to/judge-a-series.md shows of a series with faults is what is said of it.

That its commands work, in their order, is proven with the service.
"""

import re
import shlex
from pathlib import Path

import pytest
from quality_pages import PAGES
from typer.testing import CliRunner

from cb_trade_client.main import build_app

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "judge-a-series.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(cb-trade quality [^>\n]*)", PAGE, re.MULTILINE)


@pytest.fixture
def service(run_service, monkeypatch, tmp_path):
    """A service that tells the three days of the page, in an empty folder."""
    service = run_service(quality_pages=PAGES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CB_TRADE_CLIENT__URL", service.url)
    monkeypatch.setenv("CB_TRADE_CLIENT__TOKEN", "good.token")
    return service


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs(command, service):
    assert CliRunner().invoke(build_app(()), shlex.split(command)[1:]).exit_code == 0


def test_the_first_command_says_what_the_page_shows(service):
    [shown] = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)

    assert CliRunner().invoke(build_app(()), shlex.split(COMMANDS[0])[1:]).stdout == shown


def test_the_program_runs(service, capsys):
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    program = program.replace("ws://127.0.0.1:8700/ws/data", service.url).replace("<your token>", "good.token")

    exec(compile(program, "judge-a-series.md", "exec"), {"__name__": "how_to"})  # noqa: S102 - our own text

    assert "0.96875 because of accuracy" in capsys.readouterr().out


def test_there_are_examples():
    assert len(COMMANDS) == 3
