"""The documents point to what exists, and name what there is."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pydantic import SecretStr

from cb_trade_client.main import build_app
from cb_trade_data.config import AuthSettings, Settings
from cb_trade_data.errors import ErrorCode
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.plugins.exchanges import EXCHANGES
from cb_trade_data.main import create_app
from cb_trade_data.quality.codes import DataCode

ROOT = Path(__file__).parents[1]
NOT_OURS = {".venv", ".git", "node_modules", ".pytest_cache", "data"}
DOCUMENTS = sorted(path for path in ROOT.rglob("*.md") if not NOT_OURS.intersection(path.relative_to(ROOT).parts))
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def relative_links(document: Path) -> list[str]:
    targets = LINK.findall(CODE.sub("", document.read_text()))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_of_a_document_lead_somewhere(document: Path):
    assert [target for target in relative_links(document) if not leads_somewhere(document, target)] == []


def leads_somewhere(document: Path, target: str) -> bool:
    path, _, heading = target.partition("#")
    linked = document.parent / path if path else document
    return linked.exists() and (not heading or heading in headings(linked))


def headings(document: Path) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_can_be_reached_from_the_index():
    reached: set[Path] = set()
    todo = [ROOT / "docs" / "index.md"]
    while todo:
        page = todo.pop()
        reached.add(page)
        linked = {(page.parent / target.partition("#")[0]).resolve() for target in relative_links(page)}
        todo += [other for other in linked - reached if other.suffix == ".md"]

    assert [page for page in DOCUMENTS if page.is_relative_to(ROOT / "docs") and page not in reached] == []


@pytest.mark.parametrize("code", list(ErrorCode))
def test_an_error_code_has_its_row_in_the_reference(code: ErrorCode):
    assert f"| `{code}` |" in (ROOT / "docs" / "reference" / "errors.md").read_text()


@pytest.mark.parametrize("code", list(DataCode))
def test_a_data_quality_code_has_its_row_in_the_reference(code: DataCode):
    (row,) = re.findall(
        rf"^\| `{code}` \|.*$", (ROOT / "docs" / "reference" / "data-quality.md").read_text(), re.MULTILINE
    )
    _, _, name, verdict, *_ = (cell.strip() for cell in row.split("|"))

    assert name
    assert verdict == code.verdict


def commands_of_cb_trade() -> list[str]:
    own = [command.name or "" for command in build_app([]).registered_commands]
    return [*own, *(plugin.name for plugin in entry_points(group="cb_trade.commands"))]


@pytest.mark.parametrize("command", commands_of_cb_trade())
def test_a_command_has_its_row_in_the_reference(command: str):
    assert f"| `{command} " in (ROOT / "docs" / "reference" / "command-line.md").read_text()


def paths_of_the_service() -> list[str]:
    settings = Settings(_env_file=None, auth=AuthSettings(secret=SecretStr("a secret for tests, long enough to pass")))
    return sorted(create_app(settings).openapi()["paths"])


@pytest.mark.parametrize("path", paths_of_the_service())
def test_an_http_path_has_its_row_in_the_reference(path: str):
    assert f"| `{path}` |" in (ROOT / "docs" / "reference" / "http.md").read_text()


def test_every_trap_of_an_exchange_has_the_test_that_is_named():
    traps = (ROOT / "docs" / "topics" / "exchanges.md").read_text().partition("\n## Traps\n")[2]
    rows = re.findall(r"^\| (?!\*\*|---|trap )(.+?) \| (.*?) \|$", traps, re.MULTILINE)
    tests = {name for file in ROOT.rglob("test_*.py") for name in re.findall(r"def (test_\w+)\(", file.read_text())}
    named = {trap: re.findall(r"`(test_\w+)`", cell) for trap, cell in rows}

    assert len(rows) > 30
    assert [trap for trap, names in named.items() if not names] == []
    assert sorted({name for names in named.values() for name in names} - tests) == []


@pytest.mark.parametrize("facts", EXCHANGES, ids=lambda facts: facts.id)
def test_a_proven_exchange_has_its_row_with_the_bars_on_a_page(facts: ExchangeFacts):
    assert f"| `{facts.id}` | {facts.page_limit_bars} |" in (ROOT / "docs" / "topics" / "exchanges.md").read_text()


@pytest.mark.parametrize("command", ["./platform.sh demo", "./platform.sh test"])
def test_the_readme_names_the_two_commands_that_do_everything(command: str):
    assert re.search(rf"^{re.escape(command)}\b", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_ci_runs_the_readmes_commands():
    ci = (ROOT / ".ci" / "run").read_text()

    assert "\n./platform.sh demo" in ci
    assert "\n./platform.sh test" in ci
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "check.yml").read_text()


def test_the_changelog_has_a_place_for_what_is_not_released():
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text()
