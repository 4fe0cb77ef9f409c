"""The card of one plugin: what came of each trap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from cb_trade_conformance.trap import Caught, DoesNotApply, Trap

if TYPE_CHECKING:
    from cb_trade_conformance.subject import Subject

# While one waits for an exchange that never answers, others go on.
_AT_ONCE: Final = 8
# A client gives up an answer after ten seconds or so, and asks again.
_LIMIT_SECS: Final = 45.0


class Outcome(StrEnum):
    """What became of a plugin in a trap."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Verdict:
    """What came of one trap.

    Attributes:
        reason: How the plugin failed, or why the trap is not about it; empty where it passed.
    """

    trap: Trap
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True)
class Card:
    """What came of all traps that were tried, in their order."""

    subject: Subject
    verdicts: tuple[Verdict, ...]

    def count(self, outcome: Outcome) -> int:
        """Return of how many traps that came."""
        return sum(verdict.outcome is outcome for verdict in self.verdicts)

    @property
    def failed(self) -> list[str]:
        """The names of the traps into which the plugin walked."""
        return [verdict.trap.name for verdict in self.verdicts if verdict.outcome is Outcome.FAILED]


async def draw_up_card(subject: Subject, traps: Sequence[Trap], on_verdict: Callable[[], None] = lambda: None) -> Card:
    """Try *traps* on a plugin, a few of them at a time, each with an exchange and a storage of its own.

    Args:
        subject: Whom it is about.
        traps: What to try.
        on_verdict: Called after each.
    """
    places = asyncio.Semaphore(_AT_ONCE)

    async def verdict(trap: Trap) -> Verdict:
        async with places:
            found = await _verdict(trap, subject)
        on_verdict()
        return found

    async with asyncio.TaskGroup() as group:
        tasks = {
            trap: group.create_task(verdict(trap), name=f"trap {trap.name}")
            for trap in sorted(traps, key=lambda trap: not trap.waits)
        }
    return Card(subject, tuple(tasks[trap].result() for trap in traps))


async def _verdict(trap: Trap, subject: Subject) -> Verdict:
    limit = asyncio.timeout(_LIMIT_SECS)
    try:
        async with limit:
            await trap.run(subject)
    except DoesNotApply as reason:
        return Verdict(trap, Outcome.NOT_APPLICABLE, str(reason))
    except Caught as caught:
        return Verdict(trap, Outcome.FAILED, str(caught))
    except Exception as error:  # noqa: BLE001 - a plugin is anybody's code
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return Verdict(trap, Outcome.FAILED, f"no end after {_LIMIT_SECS:g} s" if limit.expired() else said)
    return Verdict(trap, Outcome.PASSED)
