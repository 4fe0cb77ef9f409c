"""The site that mkdocs makes of docs/ has no link that leads nowhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from site_links import on_page_markdown

ROOT = Path(__file__).parents[1]


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site]
    return subprocess.run(  # noqa: S603 - our own site
        command, cwd=root, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    site = tmp_path_factory.mktemp("site")
    result = build(ROOT, site)
    assert result.returncode == 0, result.stdout + result.stderr
    return site


def test_the_site_has_every_page(site):
    pages = [
        page.relative_to(ROOT / "docs")
        for page in (ROOT / "docs").rglob("*.md")
        if "protocol-messages" not in page.parts
    ]

    built = {
        page: site / page.with_name("index.html" if page.name == "README.md" else f"{page.stem}.html") for page in pages
    }
    assert [str(page) for page, file in built.items() if not file.exists()] == []


def test_the_site_fetches_nothing_from_elsewhere(site):
    """Who reads it behind a firewall, or from a folder, sees it whole."""
    html = (site / "index.html").read_text()

    assert re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://[^"]+', html) == []


@pytest.mark.parametrize("link", ["not-there.md", "index.md#not-there", "../not-there.py"])
def test_a_link_that_leads_nowhere_fails_the_build(tmp_path, link):
    for name in ("mkdocs.yml", "tools/site_links.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Words\n\n[more]({link})\n")

    result = build(tmp_path, tmp_path / "site")

    assert result.returncode != 0
    assert "not-there" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[`examples/demo.py`](../examples/demo.py)", "`examples/demo.py`"),
        ("[messages](protocol-messages)", "messages"),
        ("[page](tutorial.md)", "[page](tutorial.md)"),
        ("[page](topics/protocol.md#errors)", "[page](topics/protocol.md#errors)"),
        ("[CCXT](https://docs.ccxt.com)", "[CCXT](https://docs.ccxt.com)"),
        ("[lost](../not-there.py)", "[lost](../not-there.py)"),
    ],
)
def test_only_what_is_no_page_is_shown_without_a_link(text, shown):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))

    assert on_page_markdown(text, page=page) == shown
