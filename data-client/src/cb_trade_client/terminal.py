"""What people read while a command runs: short lines on stderr, so that stdout stays clean data."""

from typing import Literal

Tone = Literal["plain", "warning", "error"]

_STYLES = {"plain": "none", "warning": "yellow", "error": "red"}


def say(text: str, tone: Tone = "plain") -> None:
    """Print one line on stderr, coloured by *tone* where stderr is a terminal."""
    # Imported here: it takes longer to load than a command that says nothing may wait.
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    console.print(text, style=_STYLES[tone], soft_wrap=True)
