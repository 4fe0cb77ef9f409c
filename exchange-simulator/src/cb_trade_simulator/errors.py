"""What the simulator's own caller can get wrong. Mistakes of an HTTP client are answered by the venue instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class SimulatorError(Exception):
    """The root of the simulator's errors."""


class _UnknownNameError(SimulatorError):
    """A name that is in none of our tables; the ones that are come with it."""

    noun: str

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(name)
        self.name = name
        self.known = tuple(known)

    def __str__(self) -> str:
        return f"unknown {self.noun} {self.name!r}, there is: {', '.join(self.known)}"


class UnknownVenueError(_UnknownNameError):
    """No venue of this name is simulated."""

    noun = "exchange"


class BrokenVenueError(SimulatorError):
    """A package offers a venue that cannot be used."""

    def __init__(self, value: str, problem: str) -> None:
        super().__init__(value, problem)
        self.value = value
        self.problem = problem

    def __str__(self) -> str:
        return f"the simulated venue {self.value} cannot be used: {self.problem}"


class UnknownSymbolError(_UnknownNameError):
    """No market of this name is simulated."""

    noun = "symbol"


class UnknownTimeframeError(_UnknownNameError):
    """No candle of this length is known."""

    noun = "timeframe"


class BadFaultError(SimulatorError):
    """A fault that is spelt wrongly or meets nothing here."""

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(text, problem)
        self.text = text
        self.problem = problem

    def __str__(self) -> str:
        return f"cannot make sense of the fault {self.text!r}: {self.problem}"
