"""What docs/how-to/judge-a-series.md has its readers type works: with the service, in front of a simulated exchange."""

from __future__ import annotations

import json
import re
import shlex
import sys

import pytest
from programs import CB_TRADE, Ended, run_program
from service_harness import token
from wire_contract import DOCS

PAGE = (DOCS / "how-to" / "judge-a-series.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^cb-trade ([^>\n]*)", PAGE, re.MULTILINE)
[PROGRAM] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
async def ended(service, tmp_path) -> list[Ended]:
    """How its commands ended, one after the other as who follows the page types them."""
    return [await run_program(service, CB_TRADE, *shlex.split(each), folder=tmp_path) for each in COMMANDS]


async def test_its_commands_end_well_one_after_the_other(ended, tmp_path):
    assert [(each.exit_code, each.stderr) for each in ended if each.exit_code != 0] == []
    assert [command.partition(" ")[0] for command in COMMANDS] == ["fetch", "quality", "quality", "quality"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads(ended[-1].stdout)["evidence"]["expected_bars"] == 72


@pytest.mark.usefixtures("ended")
async def test_its_program_says_how_good_the_series_is(service, tmp_path):
    program = PROGRAM.replace("ws://127.0.0.1:8700/ws/data", service.socket_url).replace("<your token>", token())
    (tmp_path / "program.py").write_text(program, encoding="utf-8")

    ended = await run_program(service, sys.executable, "program.py", folder=tmp_path)

    assert (ended.exit_code, ended.stderr) == (0, "")
    assert "of 72 bars held" in ended.stdout
