"""What admission answers with."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from nexus.contracts.limit_specs import LimitSpec
from nexus.contracts.limits import ScopeKind

RefusalKind = Literal["refused", "impossible", "unavailable", "shadow"]
"""*impossible*: larger than the limit will ever allow. *unavailable*: Redis was away, and the limit is closed then. *shadow*: it
only watches, and would have refused."""
BucketHealth = Literal["healthy", "warning", "critical"]


class Cluster(msgspec.Struct, frozen=True):
    """A storage cluster."""

    id: UUID
    name: str
    region: str
    endpoint: str | None
    max_capacity: int
    health_status: str
    health_check_url: str | None
    created_at: datetime
    updated_at: datetime


class Application(msgspec.Struct, frozen=True):
    """An application; access keys name it."""

    id: UUID
    cluster_id: UUID | None
    name: str
    metadata: dict[str, Any]
    is_active: bool
    created_at: datetime
    updated_at: datetime


class OperationType(msgspec.Struct, frozen=True):
    """What an operation is charged: c_base + size / unit_quantum x c_bw operations."""

    id: UUID
    is_shared: bool
    name: str
    category: str
    c_base: str
    unit_quantum: int
    c_bw: str
    whole_quanta: bool
    description: str
    is_active: bool


class CostRule(msgspec.Struct, frozen=True):
    """Another charge for one application, for a time."""

    id: UUID
    application_id: UUID
    operation: str
    c_base: str | None
    c_bw: str | None
    valid_from: datetime | None
    valid_to: datetime | None


class QuotaVersion(msgspec.Struct, frozen=True):
    """The limits of a quota from one instant to another."""

    version: int
    valid_from: datetime | None
    valid_to: datetime | None
    is_in_force: bool
    is_withdrawn: bool
    """It was scheduled, and another took over before it came into force."""
    limits: list[LimitSpec]
    reason: str
    author: str
    rolled_back_to: int | None
    created_at: datetime


class ScheduledVersion(msgspec.Struct, frozen=True):
    """A version that is still to come into force."""

    version: int
    valid_from: datetime


class Quota(msgspec.Struct, frozen=True):
    """A scope that is limited, with the version in force and the one that comes next."""

    id: UUID
    name: str
    scope: ScopeKind
    subject: str | None
    created_at: datetime
    current: QuotaVersion | None
    scheduled: ScheduledVersion | None
    provider: str | None = None
    """Of models: as called at this provider; null: wherever they are called."""


class LimitChange(msgspec.Struct, frozen=True):
    """How one limit differs between two versions."""

    limit: str
    change: Literal["added", "removed", "changed"]
    before: dict[str, Any]
    after: dict[str, Any]


class QuotaPreview(msgspec.Struct, frozen=True):
    """What a version would change, had it been published; nothing was."""

    against_version: int | None
    """The version that holds when this one would begin; None where none does."""
    changes: list[LimitChange]


class QuotaDifference(msgspec.Struct, frozen=True):
    """What differs between two versions of a quota, limit by limit; fields that are equal are left out."""

    from_version: int
    to_version: int
    changes: list[LimitChange]


class ShareStatus(msgspec.Struct, frozen=True):
    """What an organization has of a capacity that it shares with others. Rates are units a second."""

    per_second: float
    """Now: it follows what is asked for here and elsewhere."""
    guaranteed_per_second: float


class BucketStatus(msgspec.Struct, frozen=True):
    """How a bucket stands now. Amounts are units: micro-operations, nano-money (or `scale` of them), else plain counts."""

    bucket: str
    limit: str
    scope: ScopeKind
    subject: str
    dimension: str
    method: str
    capacity: int
    available: int
    held: int
    shadow_refusals: int
    scale: int
    fill: float
    status: BucketHealth
    share: ShareStatus | None
    """Null for a limit that is the organization's own."""


class TokenTransaction(msgspec.Struct, frozen=True):
    """What one transaction did to one bucket: its level, or of loans another of its accounts, whose balance `level` is then."""

    at: datetime
    sequence: int
    leg: int
    kind: str
    reference: str
    bucket: str
    account: Literal["liquid", "debt", "receivable", "interest"]
    occurred_at: datetime
    opened: bool
    refilled: int
    adjusted: int
    changed: int
    level: int
    held: int
    leased: int


class Refusal(msgspec.Struct, frozen=True):
    """How often one limit refused one caller's calls in a range of time, or in shadow mode would have."""

    bucket: str
    limit_id: UUID
    limit: str
    scope: ScopeKind
    subject: str
    """Whose bucket it was; '' for the organization's, and for all together whose counts found no room of their own."""
    dimension: str
    kind: RefusalKind
    key_id: UUID | None
    application: str
    calls: int
    retry_after_ms: int | None
    """What was last said of when to try again; None where waiting does not help."""
    last_at: datetime
