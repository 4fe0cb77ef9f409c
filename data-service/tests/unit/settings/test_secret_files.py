"""Settings from files that are named like variables, as containers are handed their secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from signing_keys import p256_key, public_pem

OTHER_SECRET = "another secret for tests, that is long enough"


@pytest.fixture
def folder(tmp_path) -> Path:
    """The folder that is looked in by default."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", ["CB_TRADE_AUTH__SECRET", "cb_trade_auth__secret"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_file_holds_the_value_of_the_variable_it_is_named_for(load, folder, name, end):
    (folder / name).write_bytes(f"{OTHER_SECRET}{end}".encode())

    assert load(AUTH__SECRET=None).auth.secret.get_secret_value() == OTHER_SECRET


def test_any_setting_may_come_from_a_file(load, folder):
    (folder / "cb_trade_port").write_text("1111\n")
    (folder / "CB_TRADE_EXCHANGES__BINANCE__API_KEY").write_text("a key of ours")
    (folder / "CB_TRADE_EXCHANGES__BINANCE__API_SECRET").write_text("hush, hush")
    (folder / "CB_TRADE_LIMITS").write_text('{"connections_max": 7}')
    (folder / "CB_TRADE_AUTH__PUBLIC_KEY").write_text(public_pem(p256_key()))

    settings = load(AUTH__SECRET=None)

    assert (settings.port, settings.limits.connections_max) == (1111, 7)
    assert settings.exchanges["binance"].api_key.get_secret_value() == "a key of ours"
    assert settings.auth.public_key == public_pem(p256_key()).rstrip("\n")


def test_a_file_yields_to_the_environment_and_beats_the_env_files(load, folder):
    Path(".env.local").write_text("CB_TRADE_PORT=1\n")
    (folder / "CB_TRADE_PORT").write_text("2\n")
    assert load().port == 2
    assert load(PORT="3").port == 3


def test_the_folder_can_be_another_one(load, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "CB_TRADE_PORT").write_text("1111")

    assert load(SECRETS_DIR=str(tmp_path / "mine")).port == 1111


def test_without_the_usual_folder_all_is_well(load):
    assert load().port == 8700


def test_an_empty_file_is_no_value(load, folder):
    (folder / "CB_TRADE_PORT").write_text("\n")

    assert load().port == 8700


def test_a_link_is_followed(load, folder, tmp_path):
    """Kubernetes mounts secrets so, and links may lead anywhere."""
    (tmp_path / "elsewhere").write_text("1111\n")
    (folder / "CB_TRADE_PORT").symlink_to(tmp_path / "elsewhere")

    assert load().port == 1111


@pytest.mark.parametrize("name", ["CB_TRADE_CLIENT__TOKEN", "postgres_password", ".hidden", "MY_CB_TRADE_PORT"])
def test_files_of_other_programs_are_not_opened(load, folder, name):
    (folder / name).mkdir()  # which could not be read

    assert load().port == 8700


# --- Problems --------------------------------------------------------------------------------------------------------


def test_a_folder_that_was_named_and_is_not_there_is_told(problems_of):
    assert problems_of(SECRETS_DIR="/not/there") == [
        "CB_TRADE_SECRETS_DIR: /not/there cannot be read (No such file or directory): correct it, or the folder"
    ]


def test_a_folder_that_is_none_is_told(problems_of, tmp_path):
    (tmp_path / "secrets").touch()

    (problem,) = problems_of()

    assert problem.startswith(f"CB_TRADE_SECRETS_DIR: {tmp_path / 'secrets'} cannot be read (Not a directory)")


@pytest.mark.parametrize("file", [".env", ".env.local"])
def test_the_folder_is_not_named_in_a_file(problems_of, file):
    Path(file).write_text("CB_TRADE_SECRETS_DIR=/run/mine\n")

    assert problems_of() == [
        f"CB_TRADE_SECRETS_DIR is read from the environment only: remove it from {Path(file).absolute()}"
    ]


def test_a_name_that_is_no_setting_is_told_with_its_file(problems_of, folder):
    (folder / "CB_TRADE_PRT").write_text("1")
    (folder / "cb_trade_auth__secret.txt").write_text("1")

    problems = problems_of()

    assert any("CB_TRADE_PRT is no setting" in each and str(folder / "CB_TRADE_PRT") in each for each in problems)
    assert any("CB_TRADE_AUTH__SECRET.TXT is no setting" in problem for problem in problems)
    assert len(problems) == 2


def test_files_that_cannot_be_read_are_told_with_all_other_problems(problems_of, folder):
    (folder / "CB_TRADE_STORAGE__ROOT").mkdir()
    (folder / "CB_TRADE_WORKERS").symlink_to("nowhere")
    (folder / "CB_TRADE_HOST").write_bytes(b"\xff")
    (folder / "CB_TRADE_AUTH__ISSUER").write_text("x" * 65_537)
    for name in ("CB_TRADE_DRAIN_SECS", "cb_trade_drain_secs"):
        (folder / name).write_text("1")

    problems = problems_of(PORT="http")

    expected = {
        "STORAGE__ROOT": "Is a directory",
        "WORKERS": "No such file or directory",
        "HOST": "no text in UTF-8",
        "AUTH__ISSUER": "more than 65,536 bytes",
        "DRAIN_SECS": "two files",
        "PORT": "integer",
    }
    assert {
        name: any(f"CB_TRADE_{name}:" in each and told in each for each in problems) for name, told in expected.items()
    } == dict.fromkeys(expected, True)
    assert len(problems) == len(expected)


def test_a_bad_value_in_a_file_is_told_with_the_file_and_without_the_value(problems_of, folder):
    (folder / "CB_TRADE_AUTH__SECRET").write_text("hunter2")

    (problem,) = problems_of(AUTH__SECRET=None)

    assert problem.startswith("CB_TRADE_AUTH__SECRET: shorter than 32 bytes")
    assert problem.endswith(f"(set in {folder / 'CB_TRADE_AUTH__SECRET'})")
    assert "hunter2" not in problem
