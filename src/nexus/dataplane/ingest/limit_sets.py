"""Rows of the sets of limits that calls name. No caller sends them: they come with the records of a gateway of ours.

They go the way of records, through queue, commit and spool, in rows of their own and before the calls that name them: a call
that PostgreSQL refuses takes no set with it that others name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

from nexus.contracts.limit_sets import LimitSet
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.identity import PG_EPOCH, microseconds
from nexus.dataplane.ingest.record_type import RowType

_COLUMN_TYPES = {"ordinal": "int4", "organization_id": "uuid", "id": "uuid", "month": "timestamptz", "limits": "jsonb"}
_MOST_KEPT = 100_000

LIMIT_SET = RowType(
    struct=LimitSet,
    table="metering.limit_sets",
    staging="staged_limit_sets",
    stage="stage_limit_sets",
    store="store_limit_sets",
    column_types=MappingProxyType(_COLUMN_TYPES),
    not_null=frozenset(_COLUMN_TYPES),
)


class KeptSets:
    """Which sets this process knows to be durable, so that each is sent once and not with each batch of calls."""

    def __init__(self) -> None:
        self._kept: set[tuple[str, int]] = set()

    def missing(self, limit_sets: Sequence[LimitSet], days: Collection[int]) -> list[tuple[LimitSet, int]]:
        """Return sets that calls of some days (since 2000) may name, each with the month, in µs since 2000, it is not kept for.

        A set is kept for each month of the calls that name it, and deleted with them.
        """
        months = {_month_us(day) for day in days}
        return [(item, month) for item in limit_sets for month in months if (item.id, month) not in self._kept]

    def note(self, durable: Sequence[tuple[LimitSet, int]]) -> None:
        """Note that sets are durable. Those of many others are forgotten: to send one again changes nothing."""
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept.update((item.id, month) for item, month in durable)


def _month_us(day: int) -> int:
    at = PG_EPOCH + timedelta(days=day)
    return microseconds(at.replace(day=1))


def row_of(limit_set: LimitSet, month_us: int) -> bytes:
    """Encode a set for one month."""
    return b"".join(
        (
            rows.uuid_bytes(limit_set.organization_id.bytes),
            rows.uuid_bytes(UUID(limit_set.id).bytes),
            rows.int8(month_us),
            rows.json(limit_set.limits),
        )
    )
