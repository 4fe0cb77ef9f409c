"""Packages that are installed for one test: modules and entry points, in folders of their own on the path."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-an-exchange.md"
BLOCK = re.compile(r"^```(?:toml|python)\n# (\S+?),?(?: continued)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: Installs a distribution: its name, its modules by file name, and its entry points by group and name.
Install = Callable[[str, Mapping[str, str], Mapping[str, Mapping[str, str]]], None]


@contextmanager
def installing(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Yield what installs a distribution below *root*; its modules are forgotten afterwards."""
    before = set(sys.modules)

    def install(name: str, modules: Mapping[str, str], offers: Mapping[str, Mapping[str, str]]) -> None:
        folder = root / "site-packages" / name
        metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir(parents=True)
        for file, text in modules.items():
            (folder / file).write_text(text)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [
            line
            for group, values in offers.items()
            for line in (f"[{group}]", *(f"{entry} = {value}" for entry, value in values.items()), "")
        ]
        (metadata / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(str(folder))
        importlib.invalidate_caches()

    yield install
    for module in set(sys.modules) - before:
        if str(root) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]


def install_the_how_tos_example(install: Install) -> None:
    """Install the package of docs/how-to/add-an-exchange.md as it stands there."""
    files: dict[str, str] = {}
    for name, text in BLOCK.findall(PAGE.read_text()):
        files[name] = files.get(name, "") + text
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    install(project["name"], files, project["entry-points"])
