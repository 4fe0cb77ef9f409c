"""A token bucket: so many a second, of which a second's worth may come at once. Plain arithmetic, without a clock."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class TokenBucket:
    """Full when made. All times are seconds of one clock that never goes back.

    Attributes:
        rate: Tokens that come in a second, above zero.
    """

    rate: float
    counted_at_secs: float
    tokens: float = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = self.capacity

    @property
    def capacity(self) -> float:
        """How many tokens there are at most: a second's worth, and one at least."""
        return max(1.0, self.rate)

    @property
    def fills_in_secs(self) -> float:
        """How long it takes at most until it is full, and thus like a new one."""
        return self.capacity / self.rate

    def take(self, now_secs: float) -> float:
        """Take a token; return 0, or after how many seconds there will be one, where there was none to take."""
        self.tokens = min(self.capacity, self.tokens + (now_secs - self.counted_at_secs) * self.rate)
        self.counted_at_secs = now_secs
        if self.tokens < 1.0:
            return (1.0 - self.tokens) / self.rate
        self.tokens -= 1.0
        return 0.0
