"""What the README shows must run, and what it lists must be complete."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cb_trade_client
from cb_trade_client import CbTradeError
from cb_trade_client.main import build_app

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
NAMES = "fetch|latest|plan|coverage|quality|series|exchanges"
COMMANDS = re.findall(rf"^cb-trade (?:{NAMES})\b[^|>\n]*", README, re.MULTILINE)


@pytest.fixture
def other_kinds(made_trades, made_funding):
    return {"trades": made_trades(300), "funding_rate": made_funding(9)}


@pytest.fixture
def quality_pages():
    """One page that says that there is nothing."""
    counts = dict.fromkeys(("expected_bars", "held_bars", "rows", "holes", "compared_bars", "differing_bars"), 0)
    return [{"start_time": None, "end_time": None, "evidence": counts, "days": [], "next": None}]


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_runs(program, run_service, minute_bars, other_kinds, quality_pages):
    service = run_service(series=minute_bars(1440), other_kinds=other_kinds, quality_pages=quality_pages)
    program = program.replace("ws://127.0.0.1:8700/ws/data", service.url).replace("<your token>", "good.token")

    exec(compile(program, "README.md", "exec"), {"__name__": "readme"})  # noqa: S102 - our own text

    assert service.requests


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs(command, run_service, minute_bars, other_kinds, quality_pages, monkeypatch, tmp_path):
    service = run_service(series=minute_bars(1440), other_kinds=other_kinds, quality_pages=quality_pages)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CB_TRADE_CLIENT__URL", service.url)
    monkeypatch.setenv("CB_TRADE_CLIENT__TOKEN", "good.token")

    assert CliRunner().invoke(build_app(()), shlex.split(command)[1:]).exit_code == 0


def test_there_are_examples():
    assert len(PROGRAMS) >= 3
    assert len(COMMANDS) >= 5


def test_every_error_class_is_explained():
    errors = [name for name in cb_trade_client.__all__ if name.endswith("Error")]

    assert [name for name in errors if f"`{name}`" not in README] == []


def test_every_public_name_can_be_imported_and_every_error_belongs_to_the_tree():
    for name in cb_trade_client.__all__:
        public = getattr(cb_trade_client, name)
        if name.endswith("Error"):
            assert issubclass(public, CbTradeError)
    assert set(cb_trade_client.__all__) <= set(dir(cb_trade_client))
