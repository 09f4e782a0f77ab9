"""Which limits calls were asked for, kept once for all that were asked the same: a record names the set, and has numbers alone.

`metadata.gateway` of a record has `limit_set` then, and whoever reads the record is told `limits` in its place (`expand`):

{"limit_set": {"id": "0f…", "charged": [1, 60], "settled": [1, 25], "left": [999, 88000, 41]}}
{"limits": [["org:…", "requests", "organization", "requests", 1, 1, 1, 999, false], …]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec

FIELDS = ("bucket", "limit", "scope", "dimension", "unit", "charged", "settled", "left", "would_refuse")
"""Of one limit, in this order: written as a list, so that a record with a dozen limits stays small.

`unit` is how many of the amounts make one of what people count in (operations and money are kept in fractions); `charged` was
reserved before the call, `settled` is what it came to; `left` is what the limit had left then, null where nobody could be asked.
"""


class DescribedLimit(msgspec.Struct, frozen=True, array_like=True):
    """What is the same of a limit for all calls that were asked for it."""

    bucket: str
    limit: str
    scope: str
    dimension: str
    unit: int
    column: int
    """Which of a call's amounts it was charged: limits of one dimension, counted alike, have one together."""


class LimitSet(msgspec.Struct, frozen=True, array_like=True, tag="limit_set"):
    """Limits that calls of one organization were asked for together. Its id is made of what is in it, and never changes."""

    id: str
    organization_id: UUID
    limits: tuple[DescribedLimit, ...]

    @classmethod
    def of(cls, organization_id: UUID, limits: Sequence[DescribedLimit]) -> LimitSet:
        """Name limits by what they are: whoever describes the same ones gives them the same id."""
        digest = sha256(msgspec.json.encode((organization_id, limits))).digest()
        return cls(str(UUID(bytes=digest[:16])), organization_id, tuple(limits))


class Asked(msgspec.Struct, frozen=True):
    """What a record says of the limits it was asked for: amounts by column, and by limit what was left."""

    id: UUID
    charged: list[int]
    settled: list[int]
    left: list[int | None]


def asked_of(metadata: Any) -> Asked | None:
    """Return what a record's metadata say of a set of limits; None where they name none, or it is not one of ours."""
    gateway = metadata.get("gateway") if isinstance(metadata, dict) else None
    if not isinstance(gateway, dict) or "limit_set" not in gateway:
        return None
    try:
        return msgspec.convert(gateway["limit_set"], Asked)
    except msgspec.ValidationError:
        # Whoever reports calls may write there what they like.
        return None


def marks(asked: Asked, limits: Sequence[DescribedLimit]) -> list[list[Any]] | None:
    """Return what a call's limits did, each as `FIELDS` say; None where the numbers are not those of such a set."""
    columns = min(len(asked.charged), len(asked.settled))
    if len(asked.left) != len(limits) or any(not 0 <= limit.column < columns for limit in limits):
        return None
    return [
        [
            limit.bucket, limit.limit, limit.scope, limit.dimension, limit.unit, asked.charged[limit.column],
            asked.settled[limit.column], left, False,
        ]
        for limit, left in zip(limits, asked.left, strict=True)
    ]  # fmt: skip


def expand(metadata: Mapping[str, Any], asked: Asked, limits: Sequence[DescribedLimit]) -> Mapping[str, Any]:
    """Return a record's metadata with its limits written out; as they are where the set is not theirs."""
    written_out = marks(asked, limits)
    if written_out is None:
        return metadata
    gateway = {name: value for name, value in metadata["gateway"].items() if name != "limit_set"}
    return {**metadata, "gateway": {**gateway, "limits": written_out}}
