"""What ingest knows of one type of record. Reading, group commit, spool and receipts are the same for all of them.

A type is a struct that callers fill in, a staging table, two functions of SQL (one makes the staging table, one stores
what is in it), and two functions here: one names a record's faults, one turns records into rows. Writer, spool and drain
know of it what any rows have (`RowType`), so that what no caller sends goes the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol
from uuid import UUID

import msgspec

from nexus.contracts.bodies import BodyRule
from nexus.dataplane.snapshots import PriceTable
from nexus.dataplane.store import Refuse
from nexus.kit.errors import FieldFault


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """On whose behalf records come in: an organization, and the key's defaults for what a record leaves out."""

    organization_id: UUID
    currency: str
    tier: str = ""
    key_id: UUID | None = None
    application: str = ""
    user_id: UUID | None = None
    members: Mapping[str, UUID] = field(default_factory=dict)

    def user_ref(self, name: str | None) -> str:
        """Return whom a record means: a member's id, or the name as it is; the key's user where it says nobody."""
        if name:
            member = self.members.get(name.lower())
            return name if member is None else str(member)
        return "" if self.user_id is None else str(self.user_id)


@dataclass(slots=True)
class Prepared:
    """What became of the records of one type in one request."""

    rows: list[bytes] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    """Index in the request of each row."""
    days: set[int] = field(default_factory=set)
    """Days since 2000 of the rows' keys, to know which partitions they need."""
    faults: list[tuple[int, str | None, list[FieldFault]]] = field(default_factory=list)
    """Refused records: index in the request, id, what is wrong."""
    unpriced: int = 0


@dataclass(frozen=True, slots=True)
class Tables:
    """The snapshots records are resolved against."""

    prices: PriceTable
    bodies: Mapping[UUID, BodyRule] = field(default_factory=dict)
    """What of a record's content an organization wants masked."""


class Encoder(Protocol):
    """Turns records of one type into rows, against one set of snapshots."""

    def prepare(
        self,
        caller: Caller,
        records: Sequence[Any],
        *,
        received_at: datetime,
        idempotency_key: str | None = None,
        positions: Sequence[int],
        into: Prepared | None = None,
    ) -> Prepared:
        """Turn records into rows; those that cannot be are listed with every fault they have.

        `positions` gives each record's index in its request; with `idempotency_key` it makes the id of a record
        that has none.
        """
        ...


class FindFaults(Protocol):
    """Names every fault of a record whose fields are well-formed: what makes no sense, or cannot be stored."""

    def __call__(self, record: Any, *, received_at: datetime, has_idempotency_key: bool) -> list[FieldFault]:
        """Return the faults; empty when there are none."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RowType:
    """Rows of one type, from the queue to their table."""

    is_record: ClassVar[bool] = False
    """Whether its rows are records, and are counted as such."""
    struct: type[msgspec.Struct]
    """What a row is made of, tagged with the type's name."""
    table: str
    """Where the rows end up; cut by month of the key's time, unless rows come without the days of their keys."""
    staging: str
    """The transaction's temporary table that rows are copied into."""
    stage: str
    """Name of the query that makes the staging table."""
    store: str
    """Name of the query that stores what is staged and answers the ordinals of duplicates."""
    column_types: Mapping[str, str]
    """Columns of the staging table, in order: `ordinal` first, then those of every type, then the type's own."""
    not_null: frozenset[str]
    refuse: Refuse | None = None
    """Takes out of what is staged what may not be stored, though it is well-formed."""

    @property
    def name(self) -> str:
        """The struct's tag."""
        return str(self.struct.__struct_config__.tag)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(self.column_types)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RecordType(RowType):
    """One type of record: its struct is what a caller sends, tagged with the value of `type`."""

    is_record = True
    least: Mapping[str, Any]
    """A value of each required field, so that the other fields of a faulty record can be checked."""
    faults_of: FindFaults
    encoder: Callable[[Tables], Encoder]
