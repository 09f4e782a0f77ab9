"""What the engine answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from nexus.contracts.limits import DIMENSIONS, Dimension, Limit

Outcome = Literal["admitted", "refused", "impossible", "unavailable", "spent", "scarce"]
"""*spent*: the hold that was named has ended, or belongs to another call. *scarce*, only within the engine: ask again."""
EndKind = Literal["settle", "release"]
Decider = Literal["redis", "lease", "fallback"]
"""Who decided: the script in Redis, what this process has on lease, or the limits' failure policies while Redis is away."""


class LimitStanding(msgspec.Struct, frozen=True):
    """How one limit stands after a decision."""

    limit: Limit
    bucket: str
    charged: int
    left: int | None
    """Units it can still give; None when Redis could not be asked."""
    reset_us: int
    """Microseconds until it is full, or until its window ends."""
    would_refuse: bool = False
    """It is in shadow mode, and would have refused."""


class Decision(msgspec.Struct, frozen=True):
    """What was decided of one call."""

    outcome: Outcome
    standings: Sequence[LimitStanding] = ()
    """How each limit stands; of calls that were decided without Redis worked out when it is read."""
    hold_id: str = ""
    """What to settle by; '' where nothing is held."""
    wait_us: int = 0
    """Admitted, but to begin only after so long: a leaky bucket shapes it."""
    retry_us: int = 0
    """Refused: when it could be admitted, if nothing else happens."""
    refused_by: Limit | None = None
    decided_by: Decider = "redis"
    is_replay: bool = False
    """Decided before, under the same hold."""
    has_older_headers: bool = False
    """The caller is told in `X-RateLimit-*` too."""

    @property
    def is_admitted(self) -> bool:
        """Whether the call may be made."""
        return self.outcome == "admitted"

    @property
    def is_degraded(self) -> bool:
        """Whether it was decided without Redis, by the limits' failure policies."""
        return self.decided_by == "fallback"


@dataclass(frozen=True, slots=True)
class SettledLeg:
    """What a settlement did to one limit."""

    dimension: Dimension
    charged: int
    actual: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a hold ended: now, before (then what was said then), or unknown."""

    status: Literal["ended", "ended_before", "unknown", "unavailable"]
    legs: Sequence[SettledLeg] = field(default=())

    @classmethod
    def read(cls, answer: Sequence[int]) -> Settlement:
        """Read what the script answers."""
        if answer[0] == 0:
            return cls("unknown")
        legs = [
            SettledLeg(DIMENSIONS[dimension - 1], charged, actual)
            for dimension, charged, actual in zip(answer[2::4], answer[3::4], answer[4::4], strict=True)
        ]
        return cls("ended" if answer[0] == 1 else "ended_before", legs)


@dataclass(frozen=True, slots=True)
class WindowAccount:
    """How a window of a bucket stands."""

    begins_us: int
    ends_us: int
    used: int
    """Everything that is charged."""
    lost: int
    """Of that, what processes had on lease that told nothing of it any more."""
    known: int
    """Of that, what is known to be spent: neither lost, nor on lease, nor held."""
