"""Subcommands from other packages."""

from importlib.metadata import EntryPoint

import pytest
from typer.testing import CliRunner

from cb_trade_client.main import build_app
from cb_trade_client.plugins import GROUP

PLUGIN_SOURCE = '''
import typer

def greet(name: str) -> None:
    """Greet someone."""
    typer.echo(f"hello {name}")

token = typer.Typer(help="Make and read tokens.")

@token.command()
def create() -> None:
    typer.echo("a new token")

def unreadable(what: "NoSuchType") -> None: ...
number = 7
'''


@pytest.fixture
def run_with(tmp_path, monkeypatch):
    """Run `cb-trade` with the given entry points, written as name=value."""
    (tmp_path / "cb_trade_test_plugin.py").write_text(PLUGIN_SOURCE)
    monkeypatch.syspath_prepend(tmp_path)

    def run(arguments, *plugins):
        entry_points = [EntryPoint(*plugin.split("="), group=GROUP) for plugin in plugins]
        return CliRunner().invoke(build_app(entry_points), arguments)

    return run


def test_a_function_becomes_a_command(run_with):
    result = run_with(["greet", "world"], "greet=cb_trade_test_plugin:greet")

    assert result.stdout == "hello world\n"


def test_a_typer_becomes_a_group_of_commands(run_with):
    result = run_with(["token", "create"], "token=cb_trade_test_plugin:token")

    assert result.stdout == "a new token\n"


def test_the_help_lists_plugins_beside_our_commands(run_with):
    result = run_with(["--help"], "token=cb_trade_test_plugin:token", "greet=cb_trade_test_plugin:greet")

    for words in ("fetch", "greet", "Greet someone.", "token", "Make and read tokens."):
        assert words in result.stdout


@pytest.mark.parametrize(
    "value",
    [
        "no_such_module:run",
        "cb_trade_test_plugin:no_such_name",
        "cb_trade_test_plugin:number",
        "cb_trade_test_plugin:unreadable",
    ],
)
def test_a_broken_plugin_is_named_in_one_line_and_left_out(run_with, value, capsys):
    result = run_with(["--help"], f"broken={value}", "greet=cb_trade_test_plugin:greet")

    assert result.exit_code == 0
    assert "greet" in result.stdout
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: command 'broken' ({value}) is left out: ")
    assert warning.count("\n") == 1


def test_a_plugin_cannot_take_the_place_of_our_commands(run_with, capsys):
    result = run_with(["fetch", "--help"], "fetch=cb_trade_test_plugin:greet")

    assert "--start" in result.stdout
    assert "the name is taken" in capsys.readouterr().err
