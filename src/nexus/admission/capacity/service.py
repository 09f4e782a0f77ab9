"""Use cases of shared capacities: what there is, who shares it, and what each has now. All run as nexus_system."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

from nexus.admission import store
from nexus.admission.capacity.errors import OverGuaranteed, UnknownCapacity, UnknownMember
from nexus.admission.capacity.types import (
    MOST_MEMBERS,
    CapacityChange,
    CapacityNew,
    CapacityShare,
    MemberTerms,
    Per,
    SharedCapacity,
    SharedDimension,
)
from nexus.contracts.limits import MAX_UNITS, MICRO
from nexus.contracts.shares import limit_id
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import uuid7
from nexus.platform.db import Connection

OF_LATE = timedelta(minutes=5)
_AN_HOUR: dict[Per, int] = {"second": 3600, "minute": 60, "hour": 1}


def _fault(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", faults=[FieldFault(field, message)])


def units_of(field: str, text: str, dimension: SharedDimension, times: int = 1) -> int:
    """Return an amount in whole units, `times` as many; refuses what is none, naming the field."""
    units = Fraction(Decimal(text)) * times * (MICRO if dimension == "operations" else 1)
    if units.denominator != 1:
        raise _fault(field, "too many decimals: it has to be a whole number of units an hour")
    if not 0 < units <= MAX_UNITS:
        raise _fault(field, "give more than nothing, and less than 4.5 x 10^15 units an hour")
    return int(units)


def written(units: int, dimension: str, times: int = 1) -> str:
    """Write units as people do; what has no end as a decimal is rounded down to six places."""
    exact = Fraction(units, times * (MICRO if dimension == "operations" else 1))
    millionths = exact.numerator * 10**6 // exact.denominator
    text = format(Decimal(millionths).scaleb(-6), "f")
    return text.rstrip("0").rstrip(".")


async def capacities(
    connection: Connection, at: datetime, *, capacity_id: UUID | None = None, after: UUID | None = None, limit: int = 50
) -> list[SharedCapacity]:
    """Return capacities with their members and what each has now."""
    rows = await store.rows(connection, "list_capacities", capacity_id, after, limit)
    members: dict[UUID, list[Any]] = defaultdict(list)
    for row in await store.rows(connection, "shares_of_capacities", [row["id"] for row in rows]):
        members[row["capacity_id"]].append(row)
    buckets = {
        (row["organization_id"], limit_id(row["capacity_id"], row["organization_id"]).hex)
        for found in members.values()
        for row in found
    }
    refused = {
        (row["organization_id"], row["bucket"]): row["calls"]
        for row in await store.rows(
            connection, "refused_of_shares", [name for name, _ in buckets], [name for _, name in buckets], at - OF_LATE
        )
    }
    return [_capacity(row, members[row["id"]], refused) for row in rows]


def _capacity(row: Any, members: Sequence[Any], refused: dict[tuple[UUID, str], int]) -> SharedCapacity:
    times, dimension = _AN_HOUR[row["per"]], row["dimension"]

    def rate(units: int | None) -> str | None:
        return None if units is None else written(units, dimension, times)

    shares = [
        CapacityShare(
            item["organization_id"], item["slug"], item["name"], written(item["guaranteed"], dimension, times),
            rate(item["most"]), item["weight"], rate(item["rate"]),
            None if item["burst"] is None else written(item["burst"], dimension), item["state"], rate(item["demand"]),
            refused.get((item["organization_id"], limit_id(row["id"], item["organization_id"]).hex), 0), item["changed_at"],
        )
        for item in members
    ]  # fmt: skip
    return SharedCapacity(
        row["id"], row["name"], dimension, row["scope"], row["subject"], written(row["rate"], dimension, times), row["per"],
        written(row["burst"], dimension), row["failure"],
        written(sum(item["guaranteed"] for item in members), dimension, times),
        written(sum(item["rate"] or 0 for item in members), dimension, times),
        row["ceiling_rate"] > row["rate"] or row["ceiling_burst"] > row["burst"], row["created_at"], row["updated_at"], shares,
    )  # fmt: skip


async def get(connection: Connection, capacity_id: UUID, at: datetime) -> SharedCapacity:
    """Return one capacity."""
    found = await capacities(connection, at, capacity_id=capacity_id, limit=1)
    if not found:
        raise UnknownCapacity
    return found[0]


async def create(connection: Connection, data: CapacityNew, at: datetime) -> SharedCapacity:
    """Make a capacity, with its members; shares are granted within seconds."""
    if (data.scope == "organization") != (data.subject is None):
        raise _fault("subject", "name which one, or leave it out where everything an organization does is meant")
    rate = units_of("rate", data.rate, data.dimension, _AN_HOUR[data.per])
    burst = units_of("burst", data.burst, data.dimension)
    capacity_id = uuid7()
    await store.run(
        connection, "insert_capacity", capacity_id, data.name, data.dimension, data.scope, data.subject, rate, burst, data.per,
        data.failure,
    )  # fmt: skip
    for number, member in enumerate(data.members):
        await _put_member(connection, capacity_id, member.organization, member, f"members.{number}.")
    return await get(connection, capacity_id, at)


async def change(connection: Connection, capacity_id: UUID, data: CapacityChange, at: datetime) -> SharedCapacity:
    """Change what there is. What is lowered is given back by the members first; who has what meanwhile is within the old."""
    row = await _locked(connection, capacity_id)
    times = _AN_HOUR[row["per"]]
    rate = row["rate"] if data.rate is None else units_of("rate", data.rate, row["dimension"], times)
    burst = row["burst"] if data.burst is None else units_of("burst", data.burst, row["dimension"])
    promised = (await store.rows(connection, "guaranteed_to_others", capacity_id, None))[0]
    if promised["guaranteed"] > rate:
        told = written(promised["guaranteed"], row["dimension"], times)
        raise _over("rate", f"members are guaranteed {told} together: lower that first")
    if promised["members"] > burst:
        raise _fault("burst", "give one unit for each member at least")
    await store.run(connection, "update_capacity", capacity_id, rate, burst, data.failure or row["failure"])
    return await get(connection, capacity_id, at)


async def remove(connection: Connection, capacity_id: UUID) -> None:
    """End a capacity: its members are not limited by it any more."""
    await _locked(connection, capacity_id)
    await store.run(connection, "delete_members_of_capacity", capacity_id)
    await store.run(connection, "remove_capacity", capacity_id)


async def put_member(
    connection: Connection, capacity_id: UUID, organization: str, terms: MemberTerms, at: datetime
) -> SharedCapacity:
    """Let an organization share a capacity, or change on what terms it does."""
    await _put_member(connection, capacity_id, organization, terms, "")
    return await get(connection, capacity_id, at)


async def remove_member(connection: Connection, capacity_id: UUID, organization: str) -> None:
    """Let an organization share a capacity no more: it is not limited by it then, and others get what it had."""
    await _locked(connection, capacity_id)
    organization_id = await store.value(connection, "find_member_organization", organization)
    if not await store.run(connection, "delete_capacity_member", capacity_id, organization_id):
        raise UnknownMember


async def _locked(connection: Connection, capacity_id: UUID) -> Any:
    found = await store.rows(connection, "lock_capacity", capacity_id)
    if not found or found[0]["removed_at"] is not None:
        raise UnknownCapacity
    return found[0]


async def _put_member(
    connection: Connection, capacity_id: UUID, organization: str, terms: MemberTerms, prefix: str
) -> None:
    row = await _locked(connection, capacity_id)
    times = _AN_HOUR[row["per"]]
    guaranteed = units_of(f"{prefix}guaranteed", terms.guaranteed, row["dimension"], times)
    most = None if terms.most is None else units_of(f"{prefix}most", terms.most, row["dimension"], times)
    if most is not None and most < guaranteed:
        raise _fault(f"{prefix}most", "give no less than what is guaranteed")
    organization_id = await store.value(connection, "find_member_organization", organization)
    if organization_id is None:
        raise _fault(f"{prefix}organization", "name an organization by its short name or id")
    others = (await store.rows(connection, "guaranteed_to_others", capacity_id, organization_id))[0]
    if others["guaranteed"] + guaranteed > row["rate"]:
        left = written(row["rate"] - others["guaranteed"], row["dimension"], times)
        raise _over(f"{prefix}guaranteed", f"others are guaranteed the rest: at most {left} is left")
    if others["members"] >= min(row["burst"], MOST_MEMBERS):
        raise _fault(f"{prefix}organization", f"a burst of one unit a member, and {MOST_MEMBERS} members, is the most")
    await store.run(connection, "upsert_capacity_member", organization_id, capacity_id, guaranteed, most, terms.weight)


def _over(field: str, message: str) -> OverGuaranteed:
    return OverGuaranteed(f"{field}: {message}", faults=[FieldFault(field, message)])
