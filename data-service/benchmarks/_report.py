"""What benchmarks print, and write into the documentation: the same tables."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[2] / "docs" / "topics" / "performance.md"


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark can be told."""
    found = argparse.ArgumentParser(prog=f"platform.sh bench {name}", description=description)
    found.add_argument(
        "--no-write",
        action="store_true",
        help="leave docs/topics/performance.md as it is, into which the tables of a full run go",
    )
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table with columns of even width, so that it reads well on a terminal, too."""
    lines = [list(map(str, head)), *(list(map(str, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    padded.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(padded)


def machine(*packages: str) -> str:
    """Return what the figures were measured on and with."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {system}, {versions}"


def write(name: str, text: str) -> None:
    """Put *text* between the marks of that *name* in the page about performance."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    page = PAGE.read_text()
    before, mark, rest = page.partition(begin)
    _, end_mark, after = rest.partition(end)
    if not (mark and end_mark):
        sys.exit(f"{PAGE} has no place for {name!r}: it needs the lines {begin.strip()} and {end}")
    PAGE.write_text(f"{before}{begin}\n{text}\n\n{end}{after}")
