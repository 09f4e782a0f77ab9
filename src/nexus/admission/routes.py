"""`/api/admission`: clusters, applications, operation costs, quotas and their versions, buckets and token transactions."""

from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import msgspec
from litestar import Request, Router, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from nexus.admission import buckets, service, store
from nexus.admission.capacity.routes import HANDLERS as SHARED_CAPACITIES
from nexus.admission.provider_limit_routes import HANDLERS as PROVIDER_LIMITS
from nexus.admission.types import (
    Application,
    BucketStatus,
    Cluster,
    CostRule,
    OperationType,
    Quota,
    QuotaDifference,
    QuotaPreview,
    QuotaVersion,
    Refusal,
    TokenTransaction,
)
from nexus.admission.view_routes import HANDLERS as VIEWS
from nexus.admission.view_routes import limits_in_force
from nexus.contracts.limit_specs import LimitSpec
from nexus.contracts.limits import LimitTable, ScopeKind
from nexus.dataplane.decide.headers import decimal_operations
from nexus.identity.guards import actor_of, organization_of, requires
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.platform.web import Page, check_limit, decode_cursor, id_of, page_of, web_state

AnyRequest = Request[Any, Any, Any]
Listed = TypeVar("Listed", Cluster, Application, OperationType, CostRule)
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._\-]{0,62}$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]
Short = Annotated[str, msgspec.Meta(max_length=100, pattern=r"^[^\x00]*$")]
Url = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^https?://[^\x00\s]+$")]
Address = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[^\x00]+$")]
Factor = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,6}(\.[0-9]{1,4})?$")]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]


class ClusterNew(msgspec.Struct, forbid_unknown_fields=True):
    """A cluster to add."""

    name: Name
    region: Short = ""
    endpoint: Address | None = None
    max_capacity: Count = 0
    health_check_url: Url | None = None


class ClusterChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to change of a cluster; what is left out stays."""

    region: Short | None = None
    endpoint: Address | None = None
    max_capacity: Count | None = None
    health_status: Literal["healthy", "degraded", "unhealthy", "unknown"] | None = None
    health_check_url: Url | None = None


class ApplicationNew(msgspec.Struct, forbid_unknown_fields=True):
    """An application to add; access keys are tied to it by its name."""

    name: Text
    cluster_id: UUID | None = None
    metadata: dict[Short, Short] = {}


class ApplicationChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to change of an application; what is left out stays."""

    cluster_id: UUID | None = None
    metadata: dict[Short, Short] | None = None
    is_active: bool | None = None


class OperationTypeNew(msgspec.Struct, forbid_unknown_fields=True):
    """An operation type of the organization's own."""

    name: Name
    category: Text
    c_base: Factor = "0"
    unit_quantum: Annotated[int, msgspec.Meta(ge=1, le=2**40)] = 1
    c_bw: Factor = "0"
    whole_quanta: bool = False
    description: Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^[^\x00]*$")] = ""


class CostRuleNew(msgspec.Struct, forbid_unknown_fields=True):
    """Another charge for one application, for a time."""

    application_id: UUID
    operation: Name
    c_base: Factor | None = None
    c_bw: Factor | None = None
    valid_from: Instant | None = None
    valid_to: Instant | None = None


class OperationQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """An operation to compute the charge of."""

    operation: Name
    size_bytes: Count = 0
    application: Short = ""


class OperationCharge(msgspec.Struct):
    """What it is charged, exactly, rounded up to a micro-operation, and by which costs."""

    operations: str
    micro_operations: int
    bytes: int
    c_base: str
    unit_quantum: int
    c_bw: str
    whole_quanta: bool


class QuotaNew(msgspec.Struct, forbid_unknown_fields=True):
    """A quota with its first version. Without a subject each cluster, application, key … is limited by itself."""

    name: Name
    scope: ScopeKind
    limits: list[LimitSpec]
    reason: Reason
    subject: Address | None = None
    valid_from: Instant | None = None
    valid_to: Instant | None = None
    provider: Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[^\x00]+$")] | None = None
    """Of models: as called at this provider; without it, wherever they are called."""


class VersionNew(msgspec.Struct, forbid_unknown_fields=True):
    """A version to publish, now or from an instant to come; an empty list of limits lifts the quota."""

    limits: list[LimitSpec]
    reason: Reason
    valid_from: Instant | None = None
    valid_to: Instant | None = None


class PreviewQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """A version somebody thinks of publishing."""

    limits: list[LimitSpec]
    quota_id: UUID | None = None
    """Left out: a quota that is to be made."""
    valid_from: Instant | None = None
    valid_to: Instant | None = None


class RollBack(msgspec.Struct, forbid_unknown_fields=True):
    """Which version's limits are to hold again."""

    version: Annotated[int, msgspec.Meta(ge=1, le=10**6)]
    reason: Reason


def _table(request: AnyRequest) -> LimitTable:
    return limits_in_force(request).table()


def check_bucket(bucket: str | None) -> None:
    """Refuse what can be no bucket's name."""
    if bucket is not None and ("\x00" in bucket or len(bucket) > 600):
        raise InvalidRequest("bucket: there is no such name", faults=[FieldFault("bucket", "see the list of buckets")])


def _decimal(exact: Fraction) -> str:
    """Write a cost as it was given: costs have four decimals."""
    return format(Decimal(exact.numerator) / exact.denominator, "f")


async def _listed(request: AnyRequest, kind: type[Listed], query: str, cursor: str | None, limit: int) -> Page[Listed]:
    check_limit(limit)
    after = id_of(cursor)
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await store.many(db, kind, query, None, after, limit + 1)
    return page_of(found, limit, lambda item: (item.id,))


@get("/clusters", guards=[requires("application:read")])
async def list_clusters(
    request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = 50
) -> Page[Cluster]:
    """List clusters."""
    return await _listed(request, Cluster, "list_clusters", cursor, limit)


@post("/clusters", guards=[requires("application:create")])
async def create_cluster(request: AnyRequest, data: JSONBody[ClusterNew]) -> Cluster:
    """Add a cluster."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        return await service.create_cluster(db, organization_id, msgspec.structs.asdict(data))


@patch("/clusters/{cluster_id:uuid}", guards=[requires("application:update")])
async def update_cluster(request: AnyRequest, cluster_id: FromPath[UUID], data: JSONBody[ClusterChange]) -> Cluster:
    """Change a cluster."""
    async with web_state(request).database.tenant(organization_of(request), actor_of(request)) as db:
        return await service.update_cluster(db, cluster_id, msgspec.structs.asdict(data))


@get("/applications", guards=[requires("application:read")])
async def list_applications(
    request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = 50
) -> Page[Application]:
    """List applications."""
    return await _listed(request, Application, "list_applications", cursor, limit)


@post("/applications", guards=[requires("application:create")])
async def create_application(request: AnyRequest, data: JSONBody[ApplicationNew]) -> Application:
    """Add an application."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        return await service.create_application(db, organization_id, msgspec.structs.asdict(data))


@patch("/applications/{application_id:uuid}", guards=[requires("application:update")])
async def update_application(
    request: AnyRequest, application_id: FromPath[UUID], data: JSONBody[ApplicationChange]
) -> Application:
    """Change an application."""
    async with web_state(request).database.tenant(organization_of(request), actor_of(request)) as db:
        return await service.update_application(db, application_id, msgspec.structs.asdict(data))


@get("/operation-types", guards=[requires("quota:read")])
async def list_operation_types(
    request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = 50
) -> Page[OperationType]:
    """List operation types: the shipped nine and the organization's own."""
    return await _listed(request, OperationType, "list_operation_types", cursor, limit)


@post("/operation-types", guards=[requires("quota:create")])
async def create_operation_type(request: AnyRequest, data: JSONBody[OperationTypeNew]) -> OperationType:
    """Add an operation type."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        return await service.create_operation_type(db, organization_id, msgspec.structs.asdict(data))


@post("/operation-types/charge", guards=[requires("quota:read")], status_code=200)
async def compute_charge(request: AnyRequest, data: JSONBody[OperationQuestion]) -> OperationCharge:
    """Compute what an operation is charged, by the costs in force."""
    cost = service.known_cost(_table(request).operation(organization_of(request), data.application, data.operation))
    micro = cost.micro(data.size_bytes)
    return OperationCharge(
        decimal_operations(micro), micro, data.size_bytes, _decimal(cost.base), cost.quantum, _decimal(cost.bandwidth),
        cost.whole_quanta,
    )  # fmt: skip


@get("/cost-rules", guards=[requires("quota:read")])
async def list_cost_rules(
    request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = 50
) -> Page[CostRule]:
    """List applications' own charges."""
    return await _listed(request, CostRule, "list_cost_rules", cursor, limit)


@post("/cost-rules", guards=[requires("quota:create")])
async def create_cost_rule(request: AnyRequest, data: JSONBody[CostRuleNew]) -> CostRule:
    """Charge one application differently, for a time."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        return await service.create_cost_rule(db, organization_id, msgspec.structs.asdict(data))


@get("/quotas", guards=[requires("quota:read")])
async def list_quotas(
    request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = 50
) -> Page[Quota]:
    """List quotas with the version in force."""
    check_limit(limit)
    after, state = id_of(cursor), web_state(request)
    async with state.database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await service.list_quotas(db, after, limit + 1, state.clock.now())
    return page_of(found, limit, lambda item: (item.id,))


@post("/quotas", guards=[requires("quota:create")])
async def create_quota(request: AnyRequest, data: JSONBody[QuotaNew]) -> Quota:
    """Make a quota with its first version."""
    state, organization_id, actor = web_state(request), organization_of(request), actor_of(request)
    async with state.database.tenant(organization_id, actor) as db:
        return await service.create_quota(
            db, organization_id, author=actor.label, at=state.clock.now(),
            **{name: getattr(data, name) for name in data.__struct_fields__},
        )  # fmt: skip


@post("/quotas/preview", guards=[requires("quota:read")], status_code=200)
async def preview_version(request: AnyRequest, data: JSONBody[PreviewQuestion]) -> QuotaPreview:
    """Say what publishing a version would change, or what is wrong with it; stores nothing."""
    state = web_state(request)
    async with state.database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        return await service.preview(
            db, data.quota_id, limits=data.limits, at=state.clock.now(), valid_from=data.valid_from,
            valid_to=data.valid_to,
        )  # fmt: skip


@get("/quotas/{quota_id:uuid}", guards=[requires("quota:read")])
async def read_quota(request: AnyRequest, quota_id: FromPath[UUID]) -> Quota:
    """Show a quota."""
    state = web_state(request)
    async with state.database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        return await service.get_quota(db, quota_id, state.clock.now())


@get("/quotas/{quota_id:uuid}/versions", guards=[requires("quota:read")])
async def list_versions(
    request: AnyRequest, quota_id: FromPath[UUID], cursor: FromQuery[str | None] = None, limit: FromQuery[int] = 50
) -> Page[QuotaVersion]:
    """List a quota's versions, newest first."""
    check_limit(limit)
    before = decode_cursor(cursor, tuple[Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]])[0] if cursor else None
    state = web_state(request)
    async with state.database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        await service.get_quota(db, quota_id, state.clock.now())
        found = await service.versions(db, quota_id, state.clock.now(), before=before, limit=limit + 1)
    return page_of(found, limit, lambda item: (item.version,))


@post("/quotas/{quota_id:uuid}/versions", guards=[requires("quota:update")])
async def publish_version(request: AnyRequest, quota_id: FromPath[UUID], data: JSONBody[VersionNew]) -> QuotaVersion:
    """Publish a version; in force in every process within a second of its beginning."""
    state, organization_id, actor = web_state(request), organization_of(request), actor_of(request)
    async with state.database.tenant(organization_id, actor) as db:
        return await service.publish(
            db, organization_id, quota_id, limits=data.limits, reason=data.reason, author=actor.label,
            at=state.clock.now(), valid_from=data.valid_from, valid_to=data.valid_to,
        )  # fmt: skip


@post("/quotas/{quota_id:uuid}/roll-back", guards=[requires("quota:update")])
async def roll_back(request: AnyRequest, quota_id: FromPath[UUID], data: JSONBody[RollBack]) -> QuotaVersion:
    """Publish an earlier version's limits again."""
    state, organization_id, actor = web_state(request), organization_of(request), actor_of(request)
    async with state.database.tenant(organization_id, actor) as db:
        return await service.roll_back(
            db, organization_id, quota_id, to=data.version, reason=data.reason, author=actor.label, at=state.clock.now()
        )


@get("/quotas/{quota_id:uuid}/difference", guards=[requires("quota:read")])
async def show_difference(
    request: AnyRequest, quota_id: FromPath[UUID], first: FromQuery[int], second: FromQuery[int]
) -> QuotaDifference:
    """Show what differs between two versions, limit by limit."""
    for field, number in (("first", first), ("second", second)):
        if not 1 <= number < 2**31:
            raise InvalidRequest(f"{field}: give a version", faults=[FieldFault(field, "give a version's number")])
    state = web_state(request)
    async with state.database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        return await service.difference(db, quota_id, first, second, state.clock.now())


@get("/buckets", guards=[requires("quota:read")])
async def list_buckets(
    request: AnyRequest,
    status: FromQuery[Literal["healthy", "warning", "critical"] | None] = None,
    limit: FromQuery[int] = 50,
) -> list[BucketStatus]:
    """Show how the organization's buckets stand now, the emptiest first; those that are full may be missing."""
    check_limit(limit)
    found = await buckets.standing(web_state(request).redis, _table(request), organization_of(request))
    return [item for item in found if status is None or item.status == status][:limit]


@get("/refusals", guards=[requires("quota:read")])
async def list_refusals(
    request: AnyRequest,
    begins: Annotated[datetime | None, QueryParameter(name="from")] = None,
    ends: Annotated[datetime | None, QueryParameter(name="to")] = None,
    limit_id: FromQuery[UUID | None] = None,
    bucket: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
) -> list[Refusal]:
    """Show who was refused by which limit, the most refused first; without a range, in the last hour."""
    check_limit(limit)
    check_bucket(bucket)
    state = web_state(request)
    ends = ends or state.clock.now()
    begins = begins or ends - timedelta(hours=1)
    for field, at in (("from", begins), ("to", ends)):
        if at.tzinfo is None:
            raise InvalidRequest(f"{field}: give an instant with its zone", faults=[FieldFault(field, "give its zone")])
    async with state.database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        return await service.refusals(db, begins, ends, limit_id, bucket, limit)


@get("/token-transactions", guards=[requires("quota:read")])
async def list_transactions(
    request: AnyRequest,
    bucket: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
) -> Page[TokenTransaction]:
    """List token transactions, newest first."""
    check_limit(limit)
    check_bucket(bucket)
    before: tuple[Any, Any, Any] = (None, None, None)
    if cursor is not None:
        bigint = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
        small = Annotated[int, msgspec.Meta(ge=0, le=2**15 - 1)]
        before = decode_cursor(cursor, tuple[Instant, bigint, small])
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await store.many(db, TokenTransaction, "list_transactions", bucket, *before, limit + 1)
    return page_of(found, limit, lambda item: (item.at, item.sequence, item.leg))


router = Router(
    "/api/admission",
    route_handlers=[
        list_clusters, create_cluster, update_cluster, list_applications, create_application, update_application,
        list_operation_types, create_operation_type, compute_charge, list_cost_rules, create_cost_rule, list_quotas,
        create_quota, preview_version, read_quota, list_versions, publish_version, roll_back, show_difference, list_buckets,
        list_transactions, list_refusals, *VIEWS, *PROVIDER_LIMITS,
        *SHARED_CAPACITIES,
    ],
    tags=["admission"],
)  # fmt: skip
