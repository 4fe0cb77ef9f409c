"""`.env.example` names every setting once, explains it, and leaves only the secret to be filled."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from cb_trade_data.config import ExchangeSettings, Settings

ROOT = Path(__file__).parents[1]
EXAMPLE = (ROOT / ".env.example").read_text()
ASSIGNMENT = re.compile(r"^(# )?(CB_TRADE_[A-Z0-9_]+)=(.*)$", re.MULTILINE)
VARIABLES = [name for _, name, _ in ASSIGNMENT.findall(EXAMPLE)]


def test_every_line_is_a_comment_or_an_assignment():
    lines = [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")]

    assert [line for line in lines if not ASSIGNMENT.match(line)] == []


def test_only_the_secret_must_be_filled():
    assert [(name, value) for comment, name, value in ASSIGNMENT.findall(EXAMPLE) if not comment] == [
        ("CB_TRADE_AUTH__SECRET", "")
    ]


def test_no_setting_is_named_twice():
    assert sorted(VARIABLES) == sorted(set(VARIABLES))


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_setting_is_explained_above_it(variable: str):
    lines = EXAMPLE.splitlines()
    at = next(i for i, line in enumerate(lines) if ASSIGNMENT.match(line) and f"{variable}=" in line)

    assert lines[at - 1].startswith("# ")
    assert not ASSIGNMENT.match(lines[at - 1])


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_setting_has_its_row_in_the_reference(variable: str):
    assert f"| `{variable}` |" in (ROOT / "docs" / "reference" / "settings.md").read_text()


def settings_of(model: type[BaseModel], prefix: str = "CB_TRADE_") -> dict[str, object]:
    """Every variable the service reads, with its default; of the exchanges, Binance stands for all."""
    found: dict[str, object] = {}
    for name, field in model.model_fields.items():
        variable = prefix + name.upper()
        if name == "exchanges":
            found |= settings_of(ExchangeSettings, f"{variable}__BINANCE__")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= settings_of(field.annotation, f"{variable}__")
        elif name != "azure":  # only there to be ignored
            found[variable] = field.get_default(call_default_factory=True)
    return found


def test_every_setting_of_the_service_is_there_and_no_other():
    ours = [name for name in VARIABLES if not name.startswith("CB_TRADE_CLIENT__")]

    assert sorted(ours) == sorted(settings_of(Settings))


def test_the_values_shown_are_the_services_own_defaults():
    shown = {name: value for _, name, value in ASSIGNMENT.findall(EXAMPLE)}
    defaults = {
        name: default for name, default in settings_of(Settings).items() if isinstance(default, str | int | Path)
    }

    assert {name: shown[name] for name in defaults} == {name: str(default) for name, default in defaults.items()}
