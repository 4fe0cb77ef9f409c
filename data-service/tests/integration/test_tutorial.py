"""What the tutorial has its readers type works: with the service, in front of a simulated exchange."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from programs import CB_TRADE, run_program

TUTORIAL = (Path(__file__).parents[3] / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\.venv/bin/cb-trade ((?:fetch|latest|coverage) .*)$", TUTORIAL, re.MULTILINE)
PROGRAMS = re.findall(r"^```python\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL)


def test_there_are_commands_and_programs():
    assert (len(COMMANDS), len(PROGRAMS)) == (5, 2)


async def test_its_commands_end_well_and_write_what_they_say(service, tmp_path):
    commands = [shlex.split(command) for command in COMMANDS]

    ended = await asyncio.gather(*(run_program(service, CB_TRADE, *command, folder=tmp_path) for command in commands))

    assert [each.stderr for each in ended if each.exit_code != 0] == []
    rows = {name: pq.read_metadata(tmp_path / f"{name}.parquet").num_rows for name in ("january", "trades", "funding")}
    assert (rows["january"], rows["funding"]) == (31 * 24, 31 * 3)
    assert rows["trades"] > 1_000


@pytest.mark.parametrize(
    ("number", "columns"), [(0, ["open", "close"]), (1, ["side", "amount", "rate"])], ids=["bars", "trades and funding"]
)
async def test_its_programs_print_rows(number, columns, service, tmp_path):
    program = PROGRAMS[number].replace("DataClient(token=", f"DataClient({service.socket_url!r}, token=")
    (tmp_path / "program.py").write_text(program, encoding="utf-8")

    ended = await run_program(service, sys.executable, "program.py", folder=tmp_path)

    assert (ended.exit_code, ended.stderr) == (0, "")
    assert [column for column in columns if f"{column}: " not in ended.stdout] == []
