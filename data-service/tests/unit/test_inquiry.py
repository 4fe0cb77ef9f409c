"""Who is asked when, and who is waited for: one patience for all of them; in virtual time."""

from __future__ import annotations

import asyncio
import string
from collections.abc import Mapping
from contextlib import closing

import pytest
from virtual_time import in_virtual_time, now_secs

from cb_trade_data.historical.inquiry import Inquiry

PATIENCE_SECS = 15
NEVER = 1_000_000
SIXTEEN = string.ascii_lowercase[:16]

Answers = Mapping[str, tuple[float, str | None]]


class Asked:
    """Asks those who answer after some seconds; whom *answers* does not name never does.

    Attributes:
        at: When each was asked.
        given_up: Those that were not waited for any more.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.at: dict[str, float] = {}
        self.given_up: list[str] = []

    async def __call__(self, one: str) -> str | None:
        self.at[one] = now_secs()
        secs, answer = self._answers.get(one, (NEVER, None))
        try:
            await asyncio.sleep(secs)
        except asyncio.CancelledError:
            self.given_up.append(one)
            raise
        if answer == "broken":
            raise LookupError(one)
        return answer


async def first_that_can(asked: Asked, whom: str) -> str | None:
    """Return who can: the first of *whom* that answers with None."""
    with closing(Inquiry(whom, asked, patience_secs=PATIENCE_SECS)) as inquiry:
        for one in whom:
            try:
                if await inquiry.answer(one) is None:
                    return one
            except (TimeoutError, LookupError):
                continue
    return None


@in_virtual_time
async def test_while_all_are_quick_each_is_asked_when_its_turn_has_come_and_no_other():
    asked = Asked({"a": (1, "no"), "b": (1, "broken"), "c": (0.5, None), "d": (0, None)})

    assert await first_that_can(asked, "abcd") == "c"
    assert asked.at == {"a": 0, "b": 1, "c": 2}


@in_virtual_time
async def test_who_is_slow_is_waited_for_beside_the_next_ones_and_goes_before_them():
    asked = Asked({"a": (14, None), "b": (1, "no"), "c": (20, None)} | dict.fromkeys("defg", (1, "no")))

    assert await first_that_can(asked, "abcdefg") == "a"
    assert now_secs() == 14
    assert asked.at == {"a": 0} | dict.fromkeys("bcde", 3) | dict.fromkeys("fg", 6)


@in_virtual_time
async def test_once_one_can_no_more_are_asked_than_those_before_it():
    asked = Asked({"b": (1, "no"), "c": (1, None)})

    assert await first_that_can(asked, SIXTEEN) == "c"
    assert now_secs() == PATIENCE_SECS
    assert set(asked.at) == set("abcde")


@in_virtual_time
async def test_sixteen_that_do_not_answer_are_all_asked_and_cost_one_patience():
    asked = Asked({})

    assert await first_that_can(asked, SIXTEEN) is None
    assert now_secs() == PATIENCE_SECS
    assert sorted(asked.at.values()) == [0, *[3] * 4, *[6] * 4, *[9] * 4, *[12] * 3]


@in_virtual_time
async def test_sixteen_that_have_nothing_cost_one_patience_however_slow_they_are():
    asked = Asked(dict.fromkeys(SIXTEEN, (2, "no")))

    assert await first_that_can(asked, SIXTEEN) is None
    assert now_secs() <= PATIENCE_SECS


@in_virtual_time
async def test_without_patience_left_nobody_is_asked():
    asked = Asked({})
    inquiry = Inquiry("ab", asked, patience_secs=PATIENCE_SECS)
    with pytest.raises(TimeoutError):
        await inquiry.answer("a")
    inquiry.close()

    late = Asked({"b": (0, None)})
    other = Inquiry("ab", late, patience_secs=0)
    with closing(other), pytest.raises(TimeoutError):
        await other.answer("b")

    assert late.at == {}


@in_virtual_time
async def test_who_is_still_asked_when_the_choice_is_made_is_given_up():
    asked = Asked({"a": (4, None)})

    assert await first_that_can(asked, "abc") == "a"
    await asyncio.sleep(0)

    assert asked.given_up == ["b", "c"]
