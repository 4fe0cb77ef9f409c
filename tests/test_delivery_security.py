"""SECURITY.md claims no proof that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECURITY = (ROOT / "SECURITY.md").read_text()
THREATS = re.findall(r"^\| (.+?) \| (.+?) \| (`.+`) \|$", SECURITY, re.MULTILINE)
PROOFS = sorted({proof for _, _, cell in THREATS for proof in re.findall(r"`([^`]+)`", cell)})


def test_every_threat_has_a_defence_and_a_proof():
    assert len(THREATS) > 15


@pytest.mark.parametrize("proof", PROOFS)
def test_a_proof_is_there(proof: str):
    path, _, test = proof.partition("::")
    folder = ROOT if path.startswith(("tests/", "deploy/")) else ROOT / "data-service" / "tests"

    assert (folder / path).exists()
    assert not test or re.search(rf"def {test}\(", (folder / path).read_text())
