"""What Prometheus is given is right by its own judgement, and speaks of what there is."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from idle_collector import idle_collector
from prometheus_client import CollectorRegistry, generate_latest
from promtool import find_promtool

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "prometheus"
REFERENCE = (ROOT / "docs" / "reference" / "metrics.md").read_text()
OPERATE = (ROOT / "docs" / "how-to" / "operate.md").read_text()

ALERTS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
CASES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]


@pytest.fixture(scope="module")
def promtool() -> str:
    """Continuous integration leaves nothing out; elsewhere not everybody has it."""
    found = find_promtool()
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no promtool on this machine")
    assert found is not None
    return found


def told(promtool: str, *arguments: str, stdin: bytes = b"") -> str:
    """Return what promtool says of a file in the folder; it fails where that is wrong."""
    ran = subprocess.run(  # noqa: S603 - a program of the machine's own
        [promtool, *arguments], cwd=FOLDER, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert ran.returncode == 0, ran.stdout.decode()
    return ran.stdout.decode()


def test_the_configuration_is_one(promtool):
    # Only its syntax: the file with the token is where Prometheus runs.
    assert "SUCCESS" in told(promtool, "check", "config", "--syntax-only", "prometheus.yml")


def test_the_rules_are_rules(promtool):
    assert f"{len(ALERTS)} rules found" in told(promtool, "check", "rules", "alerts.yml")


def test_alerts_ring_when_they_should_and_only_then(promtool):
    assert "SUCCESS" in told(promtool, "test", "rules", "alerts_test.yml")


def test_the_figures_are_told_as_prometheus_likes_them(promtool):
    registry = CollectorRegistry()
    registry.register(idle_collector())

    assert told(promtool, "check", "metrics", stdin=generate_latest(registry)) == ""


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_has_its_part_of_the_guide(alert: dict[str, Any]):
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", alert["alert"]).capitalize()

    assert alert["annotations"]["runbook_url"] == f"docs/how-to/operate.md#{words.lower().replace(' ', '-')}"
    assert f"\n### {words}\n" in OPERATE


def test_every_part_of_the_guide_has_its_alert():
    parts = re.findall(r"^### (.+)$", OPERATE.partition("\n## What rings")[2], re.MULTILINE)

    assert [part.title().replace(" ", "") for part in parts] == [alert["alert"] for alert in ALERTS]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_is_shown_to_ring_and_not_to(alert: dict[str, Any]):
    tried = [each for case in CASES for each in case["alert_rule_test"] if each["alertname"] == alert["alert"]]

    assert any(each.get("exp_alerts") for each in tried)
    assert any(not each.get("exp_alerts") for each in tried)


@pytest.mark.parametrize(
    "document", [FOLDER / "alerts.yml", FOLDER / "alerts_test.yml", ROOT / "docs/how-to/operate.md"]
)
def test_only_metrics_that_there_are_are_spoken_of(document: str):
    names = set(re.findall(r"\b(?:cb_trade|process)_\w+", (ROOT / document).read_text()))
    known = set(re.findall(r"`((?:cb_trade|process)_\w+)`", REFERENCE))

    assert names
    assert {re.sub(r"_bucket$", "", name) for name in names} - known == set()
