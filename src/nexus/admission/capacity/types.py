"""What is told of shared capacities, and what people give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from nexus.contracts.limit_specs import Amount, Name

SharedDimension = Literal["requests", "operations", "bytes", "tokens"]
SharedScope = Literal["organization", "cluster", "provider", "model", "endpoint"]
Per = Literal["second", "minute", "hour"]
Failure = Literal["closed", "local"]
Weight = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[^\x00]+$")]
Organization = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[^\x00]+$")]
MOST_MEMBERS = 200


class MemberTerms(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What an organization has of a capacity. Rates are decimal strings, `per` what the capacity's is."""

    guaranteed: Amount
    """What it has at least, whatever others ask for."""
    most: Amount | None = None
    """What it has at most, whatever is left over; left out: all there is."""
    weight: Weight = 1
    """What is left over is shared out by these."""


class MemberNew(MemberTerms, frozen=True, kw_only=True):
    """An organization that is to share a capacity."""

    organization: Organization
    """Its short name or id."""


class CapacityNew(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A capacity to be shared."""

    name: Name
    dimension: SharedDimension
    scope: SharedScope
    rate: Amount
    """Requests, operations, bytes or model tokens, `per` second, minute or hour."""
    burst: Amount
    """What all members together may take at once."""
    subject: Subject | None = None
    """Which cluster, provider, model or endpoint it is; of an organization it is everything it does."""
    per: Per = "second"
    failure: Failure = "closed"
    """While Redis is away, or has no grant: nothing, or each process's part of what the organization is guaranteed."""
    members: Annotated[list[MemberNew], msgspec.Meta(max_length=MOST_MEMBERS)] = []


class CapacityChange(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What is to change of a capacity; what is left out stays."""

    rate: Amount | None = None
    burst: Amount | None = None
    failure: Failure | None = None


class CapacityShare(msgspec.Struct, frozen=True):
    """A member, and what it has now. Rates and amounts are decimal strings, as the capacity's."""

    organization_id: UUID
    slug: str
    organization: str
    guaranteed: str
    most: str | None
    weight: int
    rate: str | None
    """Its share now; null while nothing is granted yet."""
    burst: str | None
    state: Literal["granted", "shrinking"] | None
    """`shrinking`: it has less already, and others get it when none of what it had before can be spent any more."""
    demand: str | None
    """What was asked for of late, admitted or not; null while nobody knows."""
    refused_calls: int
    """Of the last five minutes."""
    changed_at: datetime | None


class SharedCapacity(msgspec.Struct, frozen=True):
    """A capacity that several organizations share."""

    id: UUID
    name: str
    dimension: SharedDimension
    scope: SharedScope
    subject: str | None
    rate: str
    per: Per
    burst: str
    failure: Failure
    guaranteed: str
    """What all members are guaranteed together."""
    granted: str
    """What all have now together."""
    is_lowered: bool
    """Its rate or burst was lowered, and some of what was granted before is still to be given back."""
    created_at: datetime
    updated_at: datetime
    members: list[CapacityShare]
