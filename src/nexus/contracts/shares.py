"""Capacity that several organizations share, as a limit of each of them: what its own part is called, and guaranteed.

Rates are whole numbers of units an hour, so that shares add up exactly.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from nexus.contracts.limits import Dimension, FailurePolicy, Limit, Rate, ScopeKind, Share
from nexus.kit.ids import opaque_uuid

HOUR_US = 3_600_000_000


class ShareDocument(msgspec.Struct, frozen=True):
    """That an organization shares a capacity, as the data plane's snapshot has it."""

    organization_id: UUID
    capacity_id: UUID
    name: str
    dimension: Dimension
    scope: ScopeKind
    subject: str | None
    failure: FailurePolicy
    rate: int
    """Of the whole capacity, units an hour."""
    burst: int
    guaranteed: int
    """Units an hour."""
    most: int | None
    members: int


def limit_id(capacity_id: UUID, organization_id: UUID) -> UUID:
    """Return the id of the limit that an organization's share is; its hexadecimal digits name the bucket."""
    return opaque_uuid(f"share:{capacity_id}:{organization_id}")


def burst_of(rate: int, whole_rate: int, whole_burst: int, members: int) -> int:
    """Return what a share's bucket holds: one unit, and of the others a part as large as that of the rate.

    However the rate is divided, all parts together are at most the whole.
    """
    return 1 + max(0, whole_burst - members) * rate // whole_rate if rate else 0


def share_limit(document: ShareDocument) -> Limit:
    """Make the limit; `UnrepresentableLimit` for a rate that is none."""
    burst = burst_of(document.guaranteed, document.rate, document.burst, document.members)
    most = burst_of(document.most or document.rate, document.rate, document.burst, document.members)
    rate = Rate.of(document.guaranteed, per_us=HOUR_US)
    return Limit(
        id=limit_id(document.capacity_id, document.organization_id), name=document.name,
        organization_id=document.organization_id, scope=document.scope, subject=document.subject,
        dimension=document.dimension, method="token_bucket", capacity=burst, rate=rate, failure=document.failure,
        version=0, share=Share(burst, rate, most),
    )  # fmt: skip
