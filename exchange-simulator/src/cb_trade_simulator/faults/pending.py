"""Which calls go wrong next, and how."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cb_trade_simulator.faults.kinds import Fault

EVERY_ENDPOINT = "*"


class Faults:
    """The faults that have been asked for and not been met yet, and how many have been met.

    Args:
        seed: What chance follows: the same seed and the same calls in the same order meet the same faults.
    """

    def __init__(self, seed: int = 1) -> None:
        self._pending: list[_Pending] = []
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrecy
        self.met = 0

    def inject(
        self, fault: Fault, endpoint: str, times: int | None, probability: float = 1.0, label: str | None = None
    ) -> None:
        """Let the next *times* calls of *endpoint* meet *fault* (None: all from now on), after those queued before.

        With a *probability* below one, a call that is spared goes on to the faults queued behind.
        """
        if not 0 <= probability <= 1:
            raise ValueError(f"a probability is between 0 and 1, not {probability}")
        if times is None or times > 0:
            self._pending.append(_Pending(fault, endpoint, times, probability, label or repr(fault)))

    def clear(self) -> None:
        """Forget everything that has not happened yet."""
        self._pending.clear()

    def take(self, endpoint: str) -> Fault | None:
        """Return the fault that the next call of *endpoint* meets, if any, and count it as met."""
        for pending in self._pending:
            if pending.endpoint not in (endpoint, EVERY_ENDPOINT):
                continue
            if pending.probability < 1 and self._random.random() >= pending.probability:
                continue
            if pending.times is not None:
                pending.times -= 1
                if pending.times == 0:
                    self._pending.remove(pending)
            self.met += 1
            return pending.fault
        return None

    def described(self) -> list[dict[str, Any]]:
        """Return what is pending, for people."""
        return [
            {"fault": p.label, "endpoint": p.endpoint, "times": p.times, "probability": p.probability}
            for p in self._pending
        ]


@dataclass(slots=True, eq=False)
class _Pending:
    fault: Fault
    endpoint: str
    times: int | None
    probability: float
    label: str
