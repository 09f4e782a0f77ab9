"""Admission's use cases: clusters, applications, costs of operations; quotas as series of versions; buckets as they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from nexus.admission import store
from nexus.admission.errors import (
    UnknownApplication,
    UnknownCluster,
    UnknownOperation,
    UnknownQuota,
    UnknownVersion,
)
from nexus.admission.types import (
    Application,
    BucketHealth,
    BucketStatus,
    Cluster,
    CostRule,
    LimitChange,
    OperationType,
    Quota,
    QuotaDifference,
    QuotaPreview,
    QuotaVersion,
    Refusal,
    ScheduledVersion,
    ShareStatus,
)
from nexus.contracts.limit_specs import LimitSpec, faults_of
from nexus.contracts.limits import METHODS, Limit, OperationCost
from nexus.dataplane.decide.scripts import BucketState
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import uuid7
from nexus.platform.db import Connection

MOST_LIMITS = 50
"""Limits of one version."""
WARNING_BELOW, CRITICAL_BELOW = 0.5, 0.2
"""Fill below which a bucket is in want."""
_LATE = timedelta(seconds=5)


async def get_cluster(connection: Connection, cluster_id: UUID) -> Cluster:
    """Return a cluster of the organization."""
    found = await store.many(connection, Cluster, "list_clusters", cluster_id, None, 1)
    if not found:
        raise UnknownCluster
    return found[0]


async def create_cluster(connection: Connection, organization_id: UUID, fields: Mapping[str, Any]) -> Cluster:
    """Add a cluster."""
    cluster_id = uuid7()
    await store.run(
        connection, "insert_cluster", organization_id, cluster_id, fields["name"], fields["region"], fields["endpoint"],
        fields["max_capacity"], fields["health_check_url"],
    )  # fmt: skip
    return await get_cluster(connection, cluster_id)


async def update_cluster(connection: Connection, cluster_id: UUID, fields: Mapping[str, Any]) -> Cluster:
    """Change what is given of a cluster."""
    await store.run(
        connection, "update_cluster", cluster_id, fields["region"], fields["endpoint"], fields["max_capacity"],
        fields["health_status"], fields["health_check_url"],
    )  # fmt: skip
    return await get_cluster(connection, cluster_id)


async def get_application(connection: Connection, application_id: UUID) -> Application:
    """Return an application of the organization."""
    found = await store.many(connection, Application, "list_applications", application_id, None, 1)
    if not found:
        raise UnknownApplication
    return found[0]


async def create_application(connection: Connection, organization_id: UUID, fields: Mapping[str, Any]) -> Application:
    """Add an application. Access keys are tied to it by its name."""
    application_id = uuid7()
    await store.run(
        connection, "insert_application", organization_id, application_id, fields["cluster_id"], fields["name"],
        fields["metadata"],
    )  # fmt: skip
    return await get_application(connection, application_id)


async def update_application(connection: Connection, application_id: UUID, fields: Mapping[str, Any]) -> Application:
    """Change what is given of an application."""
    await store.run(
        connection, "update_application", application_id, fields["cluster_id"], fields["metadata"], fields["is_active"]
    )
    return await get_application(connection, application_id)


async def create_operation_type(
    connection: Connection, organization_id: UUID, fields: Mapping[str, Any]
) -> OperationType:
    """Add an operation type of the organization's own; it stands before the shipped one of its name."""
    type_id = uuid7()
    await store.run(
        connection, "insert_operation_type", organization_id, type_id, fields["name"], fields["category"],
        Decimal(fields["c_base"]), fields["unit_quantum"], Decimal(fields["c_bw"]), fields["whole_quanta"],
        fields["description"],
    )  # fmt: skip
    found = await store.many(connection, OperationType, "list_operation_types", fields["name"], None, 2)
    return next(item for item in found if item.id == type_id)


async def create_cost_rule(connection: Connection, organization_id: UUID, fields: Mapping[str, Any]) -> CostRule:
    """Charge one application differently for an operation, for a time in which no other rule holds."""
    if not await store.many(connection, OperationType, "list_operation_types", fields["operation"], None, 1):
        raise UnknownOperation(faults=[FieldFault("operation", "see /api/admission/operation-types")])
    if fields["c_base"] is None and fields["c_bw"] is None:
        raise InvalidRequest("give c_base, c_bw or both", faults=[FieldFault("c_base", "say what differs")])
    _check_order(fields["valid_from"], fields["valid_to"])
    rule_id = uuid7()
    await store.run(
        connection, "insert_cost_rule", organization_id, rule_id, fields["application_id"], fields["operation"],
        Decimal(fields["c_base"]) if fields["c_base"] is not None else None,
        Decimal(fields["c_bw"]) if fields["c_bw"] is not None else None,
        fields["valid_from"], fields["valid_to"],
    )  # fmt: skip
    return (await store.many(connection, CostRule, "list_cost_rules", rule_id, None, 1))[0]


def _check_order(valid_from: datetime | None, valid_to: datetime | None) -> None:
    if valid_from is not None and valid_to is not None and valid_to <= valid_from:
        raise InvalidRequest("valid_to lies before valid_from", faults=[FieldFault("valid_to", "give a later instant")])


def known_cost(cost: OperationCost | None) -> OperationCost:
    """Refuse an operation that nobody knows."""
    if cost is None:
        raise UnknownOperation(faults=[FieldFault("operation", "see /api/admission/operation-types")])
    return cost


def _quota(row: Any) -> Quota:
    current = None
    if row["version"] is not None:
        current = QuotaVersion(
            row["version"], row["valid_from"], row["valid_to"], True, False,
            msgspec.convert(row["limits"], list[LimitSpec]), row["reason"], row["author"], row["rolled_back_to"],
            row["version_created_at"],
        )  # fmt: skip
    scheduled = None
    if row["scheduled_version"] is not None:
        scheduled = ScheduledVersion(row["scheduled_version"], row["scheduled_from"])
    return Quota(
        row["id"], row["name"], row["scope"], row["subject"], row["created_at"], current, scheduled, row["provider"]
    )


async def list_quotas(connection: Connection, after: UUID | None, limit: int, at: datetime) -> list[Quota]:
    """Return quotas with the version in force at an instant."""
    return [_quota(row) for row in await store.rows(connection, "list_quotas", None, after, limit, at, None, None)]


async def find_quotas(
    connection: Connection, at: datetime, limit: int, *, name: str | None = None, scopes: Sequence[str] | None = None
) -> list[Quota]:
    """Return the quota of a name, or those of one subject in some scopes, with the version in force at an instant."""
    return [_quota(row) for row in await store.rows(connection, "list_quotas", None, None, limit, at, name, scopes)]


async def get_quota(connection: Connection, quota_id: UUID, at: datetime) -> Quota:
    """Return a quota with the version in force at an instant."""
    found = await store.rows(connection, "list_quotas", quota_id, None, 1, at, None, None)
    if not found:
        raise UnknownQuota
    return _quota(found[0])


async def create_quota(
    connection: Connection,
    organization_id: UUID,
    *,
    name: str,
    scope: str,
    subject: str | None,
    limits: Sequence[LimitSpec],
    reason: str,
    author: str,
    at: datetime,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
    provider: str | None = None,
) -> Quota:
    """Make a quota with its first version."""
    if scope == "organization" and subject is not None:
        raise InvalidRequest("an organization's quota has no subject", faults=[FieldFault("subject", "leave it out")])
    if scope == "tag" and not (subject or "").partition("=")[0]:
        raise InvalidRequest(
            "subject: name a tag", faults=[FieldFault("subject", "give name=value, or a name for each of its values")]
        )
    if provider is not None and scope != "model":
        raise InvalidRequest(
            "only a model's quota is for one provider",
            faults=[FieldFault("provider", "leave it out, or limit a model")],
        )
    quota_id = uuid7()
    await store.run(connection, "insert_quota", organization_id, quota_id, name, scope, subject, provider)
    await publish(
        connection, organization_id, quota_id, limits=limits, reason=reason, author=author, at=at,
        valid_from=valid_from, valid_to=valid_to,
    )  # fmt: skip
    return await get_quota(connection, quota_id, at)


async def publish(
    connection: Connection,
    organization_id: UUID,
    quota_id: UUID,
    *,
    limits: Sequence[LimitSpec],
    reason: str,
    author: str,
    at: datetime,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
    rolled_back_to: int | None = None,
) -> QuotaVersion:
    """Publish a version: from now on, or from an instant to come; for ever, or to an instant after which goes on what would hold.

    What holds at its beginning ends there. An empty list of limits lifts the quota. Buckets keep their fill, debt and leases.
    """
    begins = _checked(limits, at, valid_from, valid_to)
    found = await store.rows(connection, "lock_quota", quota_id)
    if not found:
        raise UnknownQuota
    number = found[0]["latest"] + 1
    afterwards = None
    if valid_to is not None:
        afterwards = next(
            (version for version in await versions(connection, quota_id, valid_to, limit=1000) if version.is_in_force),
            None,
        )
    await store.run(connection, "give_way", quota_id, begins, valid_to)
    await _insert(
        connection, organization_id, quota_id, number, begins, valid_to, limits, reason, author, rolled_back_to
    )
    if (
        afterwards is not None
        and afterwards.valid_from is not None
        and valid_to is not None
        and afterwards.valid_from < valid_to
    ):
        await _insert(
            connection, organization_id, quota_id, number + 1, valid_to, afterwards.valid_to, afterwards.limits,
            f"version {afterwards.version} goes on after version {number}", author, afterwards.version,
        )  # fmt: skip
    return await get_version(connection, quota_id, number, at)


def _checked(
    limits: Sequence[LimitSpec], at: datetime, valid_from: datetime | None, valid_to: datetime | None
) -> datetime:
    """Refuse a version that cannot be published; returns when it would begin."""
    if len(limits) > MOST_LIMITS:
        raise InvalidRequest("too many limits", faults=[FieldFault("limits", f"give at most {MOST_LIMITS}")])
    faults = faults_of(limits)
    if faults:
        raise InvalidRequest(f"{faults[0].field}: {faults[0].message}", faults=faults)
    begins = valid_from or at
    if begins < at - _LATE:
        raise InvalidRequest(
            "valid_from lies in the past, which is written", faults=[FieldFault("valid_from", "leave it out for now")]
        )
    _check_order(begins, valid_to)
    return begins


async def preview(
    connection: Connection,
    quota_id: UUID | None,
    *,
    limits: Sequence[LimitSpec],
    at: datetime,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
) -> QuotaPreview:
    """Say what publishing a version would change, and refuse what publishing would refuse; stores nothing."""
    begins = _checked(limits, at, valid_from, valid_to)
    current = None if quota_id is None else (await get_quota(connection, quota_id, begins)).current
    return QuotaPreview(current.version if current else None, _changes(current.limits if current else [], limits))


async def _insert(
    connection: Connection, organization_id: UUID, quota_id: UUID, number: int, begins: datetime, ends: datetime | None,
    limits: Sequence[LimitSpec], reason: str, author: str, rolled_back_to: int | None,
) -> None:  # fmt: skip
    await store.run(
        connection, "insert_quota_version", organization_id, uuid7(), quota_id, number, begins, ends,
        msgspec.to_builtins(list(limits)), reason, author, rolled_back_to,
    )  # fmt: skip


async def roll_back(
    connection: Connection, organization_id: UUID, quota_id: UUID, *, to: int, reason: str, author: str, at: datetime
) -> QuotaVersion:
    """Publish the limits of an earlier version again, as a new version from now on."""
    earlier = await get_version(connection, quota_id, to, at)
    return await publish(
        connection, organization_id, quota_id, limits=earlier.limits, reason=reason, author=author, at=at,
        rolled_back_to=to,
    )  # fmt: skip


async def versions(
    connection: Connection, quota_id: UUID, at: datetime, *, before: int | None = None, limit: int = 50
) -> list[QuotaVersion]:
    """Return versions of a quota, newest first; `at` says which is in force."""
    return await store.many(connection, QuotaVersion, "list_quota_versions", quota_id, before, limit, at)


async def get_version(connection: Connection, quota_id: UUID, number: int, at: datetime) -> QuotaVersion:
    """Return one version of a quota."""
    found = await store.many(connection, QuotaVersion, "quota_version", quota_id, number, at)
    if not found:
        raise UnknownVersion
    return found[0]


async def difference(connection: Connection, quota_id: UUID, first: int, second: int, at: datetime) -> QuotaDifference:
    """Say what differs between two versions, limit by limit."""
    before, after = (
        await get_version(connection, quota_id, first, at),
        await get_version(connection, quota_id, second, at),
    )
    return QuotaDifference(first, second, _changes(before.limits, after.limits))


def _changes(before: Sequence[LimitSpec], after: Sequence[LimitSpec]) -> list[LimitChange]:
    """Return what differs, limit by limit; fields that are equal are left out of those that changed."""
    olds = {spec.name: msgspec.to_builtins(spec) for spec in before}
    news = {spec.name: msgspec.to_builtins(spec) for spec in after}
    changes: list[LimitChange] = []
    for name in sorted({*olds, *news}):
        old, new = olds.get(name), news.get(name)
        if old is None or new is None:
            changes.append(LimitChange(name, "added" if old is None else "removed", old or {}, new or {}))
        elif old != new:
            fields = [field for field in sorted({*old, *new}) if old.get(field) != new.get(field)]
            changes.append(
                LimitChange(
                    name,
                    "changed",
                    {field: old[field] for field in fields if field in old},
                    {field: new[field] for field in fields if field in new},
                )
            )
    return changes


def available_of(state: BucketState, now_us: int) -> int:
    """Return what a bucket can give at an instant, from its packed state."""
    method = METHODS[state.method - 1]
    if method in {"token_bucket", "leaky_bucket"}:
        rate = state.whole + state.part / state.denominator
        return min(state.capacity - state.leased, state.level + int(max(0, now_us - state.at) * rate))
    if method == "fixed_window" and now_us >= state.ends:
        return state.capacity
    return state.capacity - state.level


def fill_of(state: BucketState, now_us: int) -> float:
    """Return which part of its capacity a bucket can give."""
    return max(0.0, min(1.0, available_of(state, now_us) / state.capacity))


async def refusals(
    connection: Connection, begins: datetime, ends: datetime, limit_id: UUID | None, bucket: str | None, most: int
) -> list[Refusal]:
    """Return who was refused by which limit from one instant to another, the most refused first. Minutes count whole."""
    found = await store.rows(connection, "list_refusals", begins, ends, limit_id, bucket, most)
    return [
        Refusal(
            row["bucket"], row["limit_id"], row["limit_name"], row["scope"], row["subject"], row["dimension"], row["kind"],
            row["key_id"] if row["key_id"].int else None, row["application"], row["calls"], row["retry_after_ms"],
            row["last_at"],
        )
        for row in found
    ]  # fmt: skip


def bucket_status(limit: Limit, bucket: str, state: BucketState, now_us: int) -> BucketStatus:
    """Say how a bucket stands at an instant, from its packed state."""
    capacity, method = state.capacity, METHODS[state.method - 1]
    available, fill = available_of(state, now_us), fill_of(state, now_us)
    health: BucketHealth = "critical" if fill < CRITICAL_BELOW else "warning" if fill < WARNING_BELOW else "healthy"
    share = None
    if limit.share is not None and limit.rate is not None:
        share = ShareStatus(
            (state.whole + state.part / state.denominator) * 1e6, 1e6 * limit.rate.numerator / limit.rate.denominator
        )
    return BucketStatus(
        bucket, limit.name, limit.scope, bucket.partition(":")[2] or limit.subject or "", limit.dimension, method, capacity,
        available, state.held, state.shadowed, limit.scale, round(fill, 4), health, share,
    )  # fmt: skip
