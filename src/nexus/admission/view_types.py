"""What admission's views answer with."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from nexus.contracts.limits import ScopeKind


class AdmissionStanding(msgspec.Struct, frozen=True):
    """Whether limits are decided without Redis, and how many limits in force then refuse, admit, or give a share."""

    is_degraded: bool
    closed: int
    open: int
    local: int


class ActiveLimit(msgspec.Struct, frozen=True):
    """A limit in force now, as the process that answers decides by it. Amounts are in the dimension's units."""

    id: UUID
    name: str
    scope: ScopeKind
    subject: str
    """'' where each cluster, application, key … has a bucket of its own."""
    dimension: str
    method: str
    capacity: int
    scale: int
    rate_per_second: float | None
    period: str | None
    zone: str
    reserve: int
    is_shadow: bool
    failure: str
    version: int
    currency: str
    guaranteed_per_second: float | None
    """Of capacity shared with other organizations: what this one has at least; `rate_per_second` and `capacity` are what it has
    now. Null for a limit that is its own."""


class TokenUsage(msgspec.Struct, frozen=True):
    """What was taken from one bucket in one period. Amounts are units, as in the list of buckets."""

    begins: datetime
    bucket: str
    limit: str
    """'' for a limit that is in force no more."""
    scope: str
    subject: str
    dimension: str
    transactions: int
    consumed: int
    """Charged and leased, less what was given back."""
    refunded: int
    """Given back by settlements, releases and leases that were not used up; negative where settlements took more."""
    adjusted: int
    refilled: int
    lowest: int
    """The least a bucket's level was, or a window's use, after a transaction."""


HoldState = Literal["open", "settled", "released", "expired"]


class HoldLimit(msgspec.Struct, frozen=True):
    """What one limit did to a held call. Amounts are units, as in the list of buckets."""

    bucket: str
    limit: str
    """'' for a limit that is in force no more."""
    scope: str
    subject: str
    dimension: str
    scale: int
    had: int | None
    """Just before the call; null where nobody knows any more."""
    charged: int
    left: int | None
    """Just after it was charged."""
    settled: int | None
    """What it came to: null while the call is held, and where the window was over when it ended."""
    came_back: int | None
    """Negative where it took more than was charged."""
    was_over: bool
    """The window was over when the call ended, so that nothing came back to it."""


class Hold(msgspec.Struct, frozen=True):
    """A held call, as its transactions tell of it."""

    hold_id: str
    state: HoldState
    """`expired`: nobody ended it in time, and it stays charged as estimated."""
    began_at: datetime
    ended_at: datetime | None
    expires_at: datetime | None
    """When it ends by itself, while it is open; null too where Redis cannot say."""
    limits: list[HoldLimit]


class ApplicationSummary(msgspec.Struct, frozen=True):
    """What an application took of its own limits in the last 24 hours, each dimension summed apart."""

    application: str
    transactions: int
    consumed: dict[str, int]
    """By dimension."""
    refunded: dict[str, int]
    per_second: dict[str, float]
    """On average over the 24 hours."""


class LowTokenEvent(msgspec.Struct, frozen=True):
    """A time in which a bucket was low: below half of its capacity (warning), or below a fifth (critical)."""

    id: UUID
    bucket: str
    severity: Literal["warning", "critical"]
    fill: float
    """What of the capacity was left when it was noted."""
    began_at: datetime
    noted_at: datetime
    ended_at: datetime | None
