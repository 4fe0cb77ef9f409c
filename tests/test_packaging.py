"""The lock, the conda door and the example settings agree with the pyprojects, which own the versions."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKSPACE = tomllib.loads((ROOT / "pyproject.toml").read_text())
MEMBERS = {
    member: tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]
    for member in WORKSPACE["tool"]["uv"]["workspace"]["members"]
}
LOCK = (ROOT / "requirements.lock").read_text()
# One entry: the pinned line and the lines it goes on over.
LOCKED = re.findall(r"^([a-z0-9._-]+)==.*\\\n(?:.*\\\n)*.*", LOCK, re.MULTILINE)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted_packages() -> list[str]:
    groups = WORKSPACE["dependency-groups"]
    # An entry that is no text includes another group.
    requirements = [entry for entry in (*groups["dev"], *groups["docs"], *groups["examples"]) if isinstance(entry, str)]
    for project in MEMBERS.values():
        requirements += project["dependencies"]
    wanted = {normal(re.split(r"[^A-Za-z0-9._-]", requirement)[0]) for requirement in requirements}
    return sorted(wanted - {project["name"] for project in MEMBERS.values()})  # which are installed from here


def test_what_the_examples_need_comes_with_what_the_checks_need():
    assert {"include-group": "examples"} in WORKSPACE["dependency-groups"]["dev"]


@pytest.mark.parametrize("package", wanted_packages())
def test_what_a_pyproject_asks_for_is_locked(package: str):
    assert package in {normal(name) for name in LOCKED}


def test_every_locked_package_has_a_hash():
    entries = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]

    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_the_lock_holds_no_addresses():
    assert [line for line in LOCK.splitlines() if "://" in line or "--index" in line or "--find-links" in line] == []


def conda_dependencies() -> list[str]:
    """The entries of environment.yml's lists, the nested ones as well."""
    return re.findall(r"^ +- (.+)$", (ROOT / "environment.yml").read_text(), re.MULTILINE)


@pytest.mark.parametrize("member", MEMBERS)
def test_conda_installs_every_member_editable(member: str):
    assert f"-e ./{member}" in conda_dependencies()


@pytest.mark.parametrize("member", MEMBERS)
def test_conda_brings_the_pythons_every_member_supports(member: str):
    assert f"python {MEMBERS[member]['requires-python']}" in conda_dependencies()


def test_conda_pins_no_version_that_a_pyproject_owns():
    pinned = [entry for entry in conda_dependencies() if re.search(r"[<>=]", entry)]

    assert [entry for entry in pinned if not entry.startswith("python ")] == []
