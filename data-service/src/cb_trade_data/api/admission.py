"""Admission: who may come in and begin something, so that nobody takes what all share, and who is to leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from cb_trade_data.api.memory_gauge import MemoryGauge
from cb_trade_data.api.token_bucket import TokenBucket
from cb_trade_data.errors import OverloadedError, QuotaExceededError, ShuttingDownError

_RETRY_AFTER: Final = timedelta(seconds=1)
_RETRY_AFTER_OVERLOAD: Final = timedelta(seconds=5)


@dataclass(frozen=True)
class AdmissionLimits:
    """How much there may be at once in this process.

    Attributes:
        requests_per_subject: Running or queued, on all its connections.
        requests_per_sec_per_subject: Asked in a second, of which a second's worth may come at once: each question over
            HTTP, and each message on a socket, whatever it says. None for any.
        memory_bytes: Of the process's own; None for any.
    """

    connections: int = 2_000
    connections_per_subject: int = 256
    requests_per_subject: int = 1_024
    requests_per_sec_per_subject: float | None = None
    memory_bytes: int | None = None


@dataclass(eq=False)
class _Subject:
    """What one subject has open, and how often it may ask."""

    bucket: TokenBucket | None
    connections: int = 0
    requests: int = 0


class Guest:
    """A connection that was let in. Made by `Admission.connection`."""

    def __init__(self, admission: Admission, subject: _Subject) -> None:
        self._admission = admission
        self._subject = subject
        self._requests = 0
        self._leave: Callable[[], None] | None = None

    def count_question(self) -> None:
        """Count a message towards what its subject may ask in a second, whatever it says.

        Raises:
            QuotaExceededError: It is one too many.
        """
        self._admission.count_question(self._subject)

    def begin_request(self) -> None:
        """Count a request in, until `end_request`; its message was counted before.

        Raises:
            ShuttingDownError, OverloadedError, QuotaExceededError: It may not begin now.
        """
        self._admission.count_in(self._subject)
        self._requests += 1

    def end_request(self) -> None:
        """Count a request out."""
        self._requests -= 1
        self._subject.requests -= 1
        self.leave_if_done()

    def when_to_leave(self, leave: Callable[[], None]) -> None:
        """Have *leave* called once the service ends and no request is open here any more: at once, perhaps."""
        self._leave = leave
        self.leave_if_done()

    def leave_if_done(self) -> None:
        """Leave if the service ends and no request is open here."""
        if self._admission.is_ending and not self._requests:
            self.leave()

    def leave(self) -> None:
        """Leave now, whatever is open."""
        if self._leave is not None:
            self._leave()

    def count_out(self) -> None:
        """Take back what is still counted, for a connection that has ended."""
        self._leave = None
        self._subject.requests -= self._requests
        self._requests = 0


class Admission:
    """Counts what is open: in all, and of each subject. Knows no subject longer than that tells something.

    Attributes:
        is_ending: Whether the service ends and lets nothing new begin.
    """

    def __init__(
        self,
        limits: AdmissionLimits,
        memory: MemoryGauge | None = None,
        now_secs: Callable[[], float] = time.monotonic,
    ) -> None:
        """*memory* is that of this process if it is None; *now_secs* a clock that is never set."""
        self.is_ending = False
        self._limits = limits
        self._memory = memory or MemoryGauge(limits.memory_bytes)
        self._now_secs = now_secs
        self._guests: set[Guest] = set()
        self._subjects: dict[str, _Subject] = {}
        # Those with nothing open whose buckets were not full: until when they are, the soonest first.
        self._remembered: dict[str, float] = {}

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._guests)

    @property
    def subjects(self) -> int:
        """How many subjects are known."""
        return len(self._subjects)

    @contextmanager
    def connection(self, subject: str) -> Iterator[Guest]:
        """Let a connection of *subject* in for as long as the context lasts.

        Raises:
            ShuttingDownError, OverloadedError: None is let in now.
            QuotaExceededError: The subject has as many as it may have.
        """
        self._refuse_what_is_new()
        if len(self._guests) >= self._limits.connections:
            raise OverloadedError(f"{len(self._guests):,} connections are open", _RETRY_AFTER_OVERLOAD)
        with self._known(subject) as known:
            if known.connections >= self._limits.connections_per_subject:
                raise QuotaExceededError("connections", self._limits.connections_per_subject, _RETRY_AFTER)
            guest = Guest(self, known)
            self._guests.add(guest)
            known.connections += 1
            try:
                yield guest
            finally:
                self._guests.discard(guest)
                known.connections -= 1
                guest.count_out()

    @contextmanager
    def request(self, subject: str) -> Iterator[None]:
        """Let a request of *subject* begin that comes without a connection; raises as `Guest.begin_request` does."""
        with self._known(subject) as known:
            self.count_question(known)
            self.count_in(known)
            try:
                yield
            finally:
                known.requests -= 1

    def count_in(self, subject: _Subject) -> None:
        """Count a request of *subject* in; see `Guest.begin_request`."""
        self._refuse_what_is_new()
        if subject.requests >= self._limits.requests_per_subject:
            raise QuotaExceededError("open requests", self._limits.requests_per_subject, _RETRY_AFTER)
        subject.requests += 1

    def count_question(self, subject: _Subject) -> None:
        """Count what *subject* asks; see `Guest.count_question`."""
        if subject.bucket is not None and (wait_secs := subject.bucket.take(self._now_secs())):
            raise QuotaExceededError("requests a second", subject.bucket.rate, timedelta(seconds=wait_secs))

    def end(self) -> None:
        """Let nothing new begin; connections without an open request leave now, others once their last one is over."""
        self.is_ending = True
        for guest in list(self._guests):
            guest.leave_if_done()

    def send_away(self) -> None:
        """Have all connections leave now, whatever is open."""
        for guest in list(self._guests):
            guest.leave()

    def _refuse_what_is_new(self) -> None:
        if self.is_ending:
            raise ShuttingDownError(_RETRY_AFTER)
        if self._memory.is_over:
            raise OverloadedError("its memory is used up", _RETRY_AFTER_OVERLOAD)

    @contextmanager
    def _known(self, name: str) -> Iterator[_Subject]:
        self._forget_those_whose_time_has_come()
        subject = self._subjects.get(name)
        if subject is None:
            rate = self._limits.requests_per_sec_per_subject
            bucket = None if rate is None else TokenBucket(rate, self._now_secs())
            subject = self._subjects[name] = _Subject(bucket)
        self._remembered.pop(name, None)
        try:
            yield subject
        finally:
            if not subject.connections and not subject.requests:
                if subject.bucket is None:
                    del self._subjects[name]
                else:  # Who comes back at once is not to find a full bucket again.
                    self._remembered[name] = self._now_secs() + subject.bucket.fills_in_secs

    def _forget_those_whose_time_has_come(self) -> None:
        now_secs = self._now_secs()
        while self._remembered:
            name, until_secs = next(iter(self._remembered.items()))
            if until_secs > now_secs:
                return
            del self._remembered[name], self._subjects[name]
