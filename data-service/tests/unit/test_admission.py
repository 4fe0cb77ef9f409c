"""Who is let in, what may be begun, and who has to leave."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from cb_trade_data.api.admission import Admission, AdmissionLimits
from cb_trade_data.api.memory_gauge import MemoryGauge, own_memory_bytes
from cb_trade_data.errors import OverloadedError, QuotaExceededError, ShuttingDownError
from cb_trade_data.models import system

MIB = 1024 * 1024


class Clock:
    def __init__(self) -> None:
        self.secs = 0.0

    def __call__(self) -> float:
        return self.secs


def test_places_are_free_again_when_connections_end():
    admission = Admission(AdmissionLimits(connections=2))
    with admission.connection("a"), admission.connection("b"):
        with pytest.raises(OverloadedError), admission.connection("c"):
            pass
        with pytest.raises(OverloadedError), admission.connection("a"):
            pass

    with admission.connection("c"):
        assert admission.connections == 1


def test_a_subject_that_has_its_connections_takes_no_place_from_others():
    admission = Admission(AdmissionLimits(connections_per_subject=1))
    with admission.connection("a"):
        with pytest.raises(QuotaExceededError) as refused, admission.connection("a"):
            pass
        with admission.connection("b"):
            pass
    with admission.connection("a"):
        pass

    assert refused.value.details == {"quota": "connections", "limit": 1}
    assert refused.value.retry_after is not None


def test_open_requests_are_counted_over_all_connections_of_a_subject():
    admission = Admission(AdmissionLimits(requests_per_subject=2))
    with admission.connection("a") as one, admission.connection("a") as other, admission.connection("b") as stranger:
        one.begin_request()
        other.begin_request()
        with pytest.raises(QuotaExceededError) as refused:
            one.begin_request()
        with pytest.raises(QuotaExceededError), admission.request("a"):
            pass
        stranger.begin_request()
        other.end_request()
        one.begin_request()

    assert refused.value.details == {"quota": "open requests", "limit": 2}


def test_a_connection_that_ends_takes_its_requests_with_it():
    admission = Admission(AdmissionLimits(requests_per_subject=2))
    with admission.connection("a") as staying:
        with admission.connection("a") as leaving:
            leaving.begin_request()
            leaving.begin_request()
        staying.begin_request()
        staying.begin_request()


def test_requests_a_second_are_counted_per_subject_and_tell_when_the_next_may_come():
    clock = Clock()
    admission = Admission(AdmissionLimits(requests_per_sec_per_subject=2), now_secs=clock)
    with admission.connection("a") as one, admission.connection("a") as other, admission.connection("b") as stranger:
        one.count_question()
        other.count_question()
        with pytest.raises(QuotaExceededError) as refused:
            other.count_question()
        stranger.count_question()
        clock.secs = 0.5
        other.count_question()
        with pytest.raises(QuotaExceededError), admission.request("a"):
            pass

    assert refused.value.details == {"quota": "requests a second", "limit": 2}
    assert refused.value.retry_after.total_seconds() == pytest.approx(0.5)


def test_coming_back_at_once_does_not_make_a_new_second_begin():
    clock = Clock()
    admission = Admission(AdmissionLimits(requests_per_sec_per_subject=2), now_secs=clock)
    with admission.connection("a") as guest:
        guest.count_question()
        guest.count_question()

    with admission.connection("a") as guest, pytest.raises(QuotaExceededError):
        guest.count_question()


def test_subjects_that_have_nothing_open_are_forgotten():
    clock = Clock()
    for limits in (AdmissionLimits(), AdmissionLimits(requests_per_sec_per_subject=100)):
        admission = Admission(limits, now_secs=clock)
        with ExitStack() as open_:
            for number in range(1000):
                open_.enter_context(admission.connection(str(number))).begin_request()
        clock.secs += 2
        with admission.request("the last"):
            assert (admission.connections, admission.subjects) == (0, 1)


def test_with_its_memory_used_up_nothing_new_begins_until_it_is_not():
    clock, held = Clock(), 3 * MIB
    gauge = MemoryGauge(2 * MIB, lambda: held, clock)
    admission = Admission(AdmissionLimits(), gauge)
    with pytest.raises(OverloadedError), admission.connection("a"):
        pass
    held, clock.secs = 1 * MIB, 1.0
    with admission.connection("a") as guest:
        held, clock.secs = 3 * MIB, 2.0
        with pytest.raises(OverloadedError) as refused:
            guest.begin_request()

    assert refused.value.retry_after is not None


def test_memory_is_looked_at_once_a_second_however_much_begins():
    clock, looks = Clock(), []
    gauge = MemoryGauge(MIB, lambda: looks.append(clock.secs) or 0, clock)

    for tick in range(1000):
        clock.secs = tick / 250
        assert not gauge.is_over

    assert looks == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.skipif(not system.TELLS_OWN_MEMORY, reason="only Linux tells")
def test_own_memory_counts_what_was_allocated_and_not_what_shows_a_file(tmp_path):
    import mmap

    before = own_memory_bytes()
    kept = bytearray(b"1" * (64 * MIB))
    allocated = own_memory_bytes() - before
    path = tmp_path / "file"
    path.write_bytes(kept)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as shown:
        before = own_memory_bytes()
        assert sum(shown[::4096]) > 0
        mapped = own_memory_bytes() - before

    assert allocated > 50 * MIB
    assert mapped < 16 * MIB


def test_a_service_that_ends_lets_nothing_new_begin():
    admission = Admission(AdmissionLimits())
    with admission.connection("a") as guest:
        guest.begin_request()
        admission.end()
        with pytest.raises(ShuttingDownError):
            guest.begin_request()
        with pytest.raises(ShuttingDownError), admission.connection("b"):
            pass
        with pytest.raises(ShuttingDownError), admission.request("a"):
            pass


def test_a_service_that_ends_sends_the_idle_away_and_the_others_when_they_are_done():
    admission, left = Admission(AdmissionLimits()), []
    with (
        admission.connection("a") as idle,
        admission.connection("b") as busy,
        admission.connection("c") as busier,
        admission.connection("d") as new,
    ):
        for name, guest in {"idle": idle, "busy": busy, "busier": busier}.items():
            guest.when_to_leave(lambda name=name: left.append(name))
        busy.begin_request()
        busier.begin_request()
        busier.begin_request()
        admission.end()
        assert left == ["idle"]
        new.when_to_leave(lambda: left.append("new"))  # it was let in just before
        busy.end_request()
        busier.end_request()
        assert left == ["idle", "new", "busy"]
        admission.send_away()

    assert "busier" in left
