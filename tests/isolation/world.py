"""Two organizations filled with everything the product lets them have, and how to tell the other's data by sight.

The product fills what it has an API for. A table that nobody fills gets a made-up row for each organization, so that a
new table is covered the day it is made.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx

from nexus.entry.api import Application
from nexus.issues import jobs as issues_jobs
from nexus.kit.ids import uuid7
from nexus.mcp import jobs as mcp_jobs
from nexus.metering import jobs, store
from nexus.metrics import jobs as metrics_jobs
from nexus.platform.db import Database
from nexus.platform.db.partitions import make_partitions
from nexus.storage import jobs as storage_jobs
from tests.application import ADMIN, PASSWORD, client_of, sign_in
from tests.isolation.inspection import Relation, relations

MINE, OTHER = "acme", "globex"
UUIDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass
class Tenant:
    """One organization, and what its people and programs come in with."""

    id: UUID
    slug: str
    key: str
    marks: frozenset[str] = frozenset()
    """Ids that occur in this organization's rows and in nobody else's, and its slug, which all its texts hold."""
    counts: dict[str, int] = field(default_factory=dict)
    """Rows by table."""
    things: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By schema: ids of some rows of each table, and of the people: what a path can name."""

    @property
    def email(self) -> str:
        """The owner's address."""
        return f"owner@{self.slug}.example"

    @property
    def bearer(self) -> dict[str, str]:
        """The header of a key that may do everything."""
        return {"authorization": f"Bearer {self.key}"}


@dataclass
class World:
    """Both organizations in one database."""

    mine: Tenant
    other: Tenant


def found_in(text: str, marks: frozenset[str]) -> set[str]:
    """Return the marks that a text holds."""
    held = {item.lower() for item in UUIDS.findall(text)} & marks
    lowered = text.lower()
    return held | {mark for mark in (MINE, OTHER) if mark in marks and mark in lowered}


def _price(slug: str, amount: str) -> dict[str, Any]:
    return {
        "provider": "openai", "model": f"{slug}-model", "components": [{"unit": "input", "amount": amount, "per": 1000}],
        "valid_from": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def events(slug: str, at: datetime) -> list[dict[str, Any]]:
    """Return records of calls: with and without price, with and without time in the id, all bearing the slug."""
    common = {"application": f"{slug}-shop", "user": f"owner@{slug}.example", "end_user": f"{slug}-visitor"}
    made = []
    for number in range(12):
        then = at - timedelta(minutes=number * 7)
        made.append(
            {
                "id": str(uuid7(then)) if number % 2 else f"{slug}-{uuid4()}",
                "timestamp": then.isoformat(),
                "provider": "openai" if number % 3 else f"{slug}-provider",
                "model": f"{slug}-model" if number % 2 else f"{slug}-unknown",
                "endpoint": f"/{slug}/chat",
                "method": "POST",
                "status_code": 500 if number % 5 == 0 else 200,
                "response_time_ms": 10 + number,
                "tokens": {"input": 100 + number, "output": 10},
                "tags": {"team": f"{slug}-team"},
                "metadata": {"note": f"{slug} note"},
                "error_message": f"{slug} failed",
                "session_id": f"{slug}-session",
                "request_id": f"{slug}-request",
                **common,
            }
        )
    for number in range(6):
        then = at - timedelta(minutes=number * 9)
        made.append(
            {
                "type": "tool_call",
                "id": str(uuid7(then)) if number % 2 else f"{slug}-{uuid4()}",
                "timestamp": then.isoformat(),
                "server": f"{slug}-server",
                "tool": f"{slug}-tool-{number % 3}",
                "outcome": ("ok", "tool_error", "protocol_error")[number % 3],
                "duration_ms": 5 + number,
                "parameters": {"query": f"{slug} query"},
                "response": {"text": f"{slug} answer"},
                "error_message": f"{slug} tool failed",
                "client_name": f"{slug}-client",
                "session_id": f"{slug}-session",
                "trace_id": f"{slug}-trace",
                **common,
            }
        )
        made.append(
            {
                "type": "mcp_request",
                "id": str(uuid7(then)),
                "method": "tools/call",
                "target": f"{slug}-tool",
                "outcome": "ok" if number % 2 else "protocol_error",
                "server": f"{slug}-server",
                "status_code": 200 if number % 2 else 400,
                "duration_ms": number,
                "request_body": {"note": f"{slug} body"},
                "path": f"/{slug}/mcp",
                **common,
            }
        )
        made.append(
            {
                "type": "error",
                "id": str(uuid7(then)) if number % 2 else f"{slug}-error-{uuid4()}",
                "message": f"{slug} broke in way {'abc'[number % 3]}",
                "stack_trace": f"Error\n    at {slug}Function (/{slug}/app.js:{number}:1)",
                "context": {"note": f"{slug} context"},
                "service": f"{slug}-service",
                "environment": f"{slug}-environment",
                "category": f"{slug}-category",
                "trace_id": f"{slug}-trace",
                **common,
            }
        )
        made.append(
            {
                "type": "metric",
                "name": f"{slug}.latency",
                "kind": "histogram",
                "timestamp": then.isoformat(),
                "unit": f"{{{slug}}}",
                "description": f"{slug} latency",
                "buckets": {"bounds": [0.5, 1.0], "counts": [number, 1, 2]},
                "labels": {f"{slug}.route": f"/{slug}"},
                "service": f"{slug}-service",
                "instance": f"{slug}-instance-{number}",
                "environment": f"{slug}-environment",
            }
        )
        made.append(
            {
                "type": "storage",
                "id": str(uuid7(then)) if number % 2 else f"{slug}-storage-{uuid4()}",
                "application": f"{slug}-shop",
                "cluster": f"{slug}-cluster",
                "operation": f"{slug}-operation",
                "read_ops": 100 + number,
                "bytes_read": 4096,
                "window_seconds": 1,
                "avg_latency_ms": 2,
                "metadata": {"note": f"{slug} storage"},
            }
        )
    return made


async def _ok(answer: httpx.Response) -> Any:
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else None


async def _fill(application: Application, admin: httpx.AsyncClient, slug: str) -> Tenant:
    made = await _ok(
        await admin.post("/api/identity/organizations", json={"name": f"{slug} inc", "slug": slug, "plan": "pro"})
    )
    here = {"x-nexus-organization": slug}
    person = {"email": f"owner@{slug}.example", "password": PASSWORD, "name": f"{slug} owner", "role": "owner"}
    await _ok(await admin.post("/api/identity/users", json=person, headers=here))
    async with client_of(application) as owner:
        await sign_in(owner, person["email"])
        identity = "/api/identity"
        # Nobody grants what they do not hold: the widest key of an organization has its owner's permissions.
        scopes = (await _ok(await owner.get(f"{identity}/me")))["permissions"]
        whole = await _ok(await owner.post(f"{identity}/access-keys", json={"name": f"{slug} key", "scopes": scopes}))
        tenant = Tenant(UUID(made["id"]), slug, whole["key"])
        change = {
            "billing_email": f"bills@{slug}.example",
            "reporting_zone": "Asia/Kathmandu",
            "settings": {"note": slug},
        }
        await _ok(await owner.patch(f"{identity}/organization", json=change))
        helper = {"email": f"helper@{slug}.example", "password": PASSWORD, "name": f"{slug} helper", "role": "viewer"}
        member = await _ok(await owner.post(f"{identity}/users", json=helper))
        await _ok(
            await owner.post(f"{identity}/invitations", json={"email": f"guest@{slug}.example", "role": "viewer"})
        )
        role = {"name": f"{slug}-role", "permissions": ["metrics:read"], "description": f"{slug} role"}
        role_id = (await _ok(await owner.post(f"{identity}/roles", json=role)))["id"]
        await _ok(await owner.post(f"{identity}/members/{member['user_id']}/roles", json={"role_id": role_id}))
        spare = {"name": f"{slug} spare", "scopes": ["metrics:read"], "application": f"{slug}-shop"}
        spare_id = (await _ok(await owner.post(f"{identity}/access-keys", json=spare)))["access_key"]["id"]
        await _ok(await owner.post(f"{identity}/access-keys/{spare_id}/rotate", json={"overlap_seconds": 60}))
        await owner.post(f"{identity}/sign-in", json={"email": helper["email"], "password": f"wrong {slug}"})
        await sign_in(owner, person["email"])
        for amount in ("1.25", "2.50"):
            await _ok(
                await owner.post(
                    "/api/catalog/prices",
                    json=_price(slug, amount)
                    | {"method": "POST"}
                    | ({} if amount == "1.25" else {"region": f"{slug}-region"}),
                )
            )
        # A price makes the provider that it is of: one that only this organization has.
        own = _price(slug, "3") | {"provider": f"{slug}-provider", "model": f"{slug}-own"}
        await _ok(await owner.post("/api/catalog/prices", json=own))
        way = {"alias": f"{slug}-fast", "provider": f"{slug}-provider", "model": f"{slug}-own"}
        await _ok(await owner.post("/api/catalog/model-routes", json=way))
        wanted = {"words": [f"{slug} word"], "fields": [f"{slug}_field"]}
        await _ok(await owner.put("/api/metering/body-settings", json=wanted))
        credential = {"provider": "openai", "name": f"{slug} account", "secret": f"sk-{slug}-0123456789abcdef"}
        await _ok(await owner.post(f"{identity}/provider-credentials", json=credential))
        await application.snapshots.refresh()
        sent = await owner.post("/v1/events", json=events(slug, datetime.now(UTC)), headers=tenant.bearer)
        assert sent.status_code == 200 and sent.json()["stored"] == 42, sent.text
        order = {"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z", "provider": f"{slug}-provider"}
        await _ok(await owner.post("/api/metering/repricings", json=order))
        await _ok(await owner.get("/api/governance/audit-log/export"))
        admission = "/api/admission"
        cluster = await _ok(await owner.post(f"{admission}/clusters", json={"name": f"{slug}-cluster", "region": slug}))
        shop = {"name": f"{slug}-shop", "cluster_id": cluster["id"], "metadata": {"note": slug}}
        application_id = (await _ok(await owner.post(f"{admission}/applications", json=shop)))["id"]
        operation = {"name": f"{slug}-scan", "category": slug, "c_base": "2"}
        await _ok(await owner.post(f"{admission}/operation-types", json=operation))
        rule = {"application_id": application_id, "operation": operation["name"], "c_base": "1"}
        await _ok(await owner.post(f"{admission}/cost-rules", json=rule))
        limit = {"name": f"{slug}-calls", "dimension": "requests", "rate": "1000"}
        quota = {
            "name": f"{slug}-quota",
            "scope": "application",
            "subject": shop["name"],
            "limits": [limit],
            "reason": slug,
        }
        await _ok(await owner.post(f"{admission}/quotas", json=quota))
        borrowing = {"name": f"{slug}-borrows", "lends_from": "own_future", "application_id": application_id}
        await _ok(await owner.post(f"{admission}/borrowing-rules", json=borrowing))
        await application.limits.refresh()
        parties = (await owner.get(f"{admission}/loans/parties")).json()
        bucket = next(item["bucket"] for item in parties if item["limit"] == limit["name"])
        loan = {"borrower": bucket, "units": 2, "reason": slug}
        await _ok(await owner.post(f"{admission}/loans", json=loan))
        budget = {
            "name": f"{slug}-budget",
            "amount": "100",
            "reason": slug,
            "scope": "application",
            "subject": shop["name"],
        }
        await _ok(await owner.post("/api/costs/budgets", json=budget))
        rates = {"content": "date,base,quote,rate\n2026-11-06,EUR,USD,1.085", "source": f"{slug} bank"}
        await _ok(await owner.post("/api/costs/exchange-rates", json=rates))
    return tenant


async def _background(database: Database) -> None:
    await make_partitions(database)
    async with database.as_system() as connection:
        while await store.fold(connection, 100_000):
            pass
    folds = (mcp_jobs.fold, issues_jobs.fold, metrics_jobs.fold, storage_jobs.fold)
    while any([await fold(database) for fold in folds]):
        pass
    await jobs.rebuild_changed_days(database)
    await jobs.reprice(database)


_ONE_OF_A_FEW = {"account": "liquid", "severity": "warning"}
"""Columns that are read as one of a few names."""


def _value(column: str, kind: str, tenant: Tenant) -> Any:
    """Make up a value of a type; texts bear the slug, so that they are known by sight."""
    if column == "organization_id":
        return str(tenant.id)
    if kind.endswith("[]"):
        return []
    if kind == "uuid":
        return str(uuid4())
    if kind in {"jsonb", "json"}:
        return {"note": tenant.slug}
    if kind.startswith(("timestamp", "date")):
        return datetime.now(UTC).isoformat()
    if kind == "boolean":
        return True
    if kind == "inet":
        return "192.0.2.1"
    if kind == "bytea":
        return "\\x" + tenant.slug.encode().hex()
    if column in _ONE_OF_A_FEW:
        return _ONE_OF_A_FEW[column]
    if kind in {"text", "character varying"}:
        return f"{tenant.slug}-{column}"
    if kind.startswith(("smallint", "integer", "bigint", "numeric", "real", "double")):
        return 1
    return None


async def _make_up(admin: asyncpg.Connection, relation: Relation, tenant: Tenant) -> None:
    """Insert one row as nobody in particular: without triggers, foreign keys and checks, which only the product can meet."""
    checks = await admin.fetch(
        "SELECT conname FROM pg_constraint WHERE conrelid = $1::oid AND contype = 'c' AND conparentid = 0", relation.oid
    )
    for row in checks:
        await admin.execute(f'ALTER TABLE {relation.name} DROP CONSTRAINT "{row["conname"]}"')
    columns = [column for column in relation.columns if not column.is_generated]
    values = {column.name: _value(column.name, column.type, tenant) for column in columns}
    # What no value is known for is left to its default.
    names = ", ".join(f'"{column.name}"' for column in columns if values[column.name] is not None)
    async with admin.transaction():
        await admin.execute("SET LOCAL session_replication_role = replica")
        await admin.execute(
            f"INSERT INTO {relation.name} ({names}) SELECT {names} FROM jsonb_populate_record(NULL::{relation.name}, $1)",
            json.dumps({name: value for name, value in values.items() if value is not None}),
        )


async def _hold(admin: asyncpg.Connection, tenant: Tenant) -> None:
    """Let a call be held under the organization's name, which is what its hold is found by."""
    await admin.execute(
        """
        INSERT INTO admission.token_transactions
        SELECT $1::uuid, now(), 1, 0, 'charge', $2, $2 || '-bucket', now(), true, 0, 0, -1, 99, 0, 0, 1, 0
        """,
        tenant.id, tenant.slug,
    )  # fmt: skip


async def _ids_of(admin: asyncpg.Connection, tables: list[Relation], condition: str, *arguments: Any) -> set[str]:
    found: set[str] = set()
    for table in tables:
        rows = await admin.fetch(
            f"SELECT to_jsonb(t)::text AS row FROM {table.name} AS t WHERE {condition}", *arguments
        )
        for row in rows:
            found.update(item.lower() for item in UUIDS.findall(row["row"]))
    return found


async def _things_of(admin: asyncpg.Connection, tables: list[Relation], tenant: Tenant) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {"identity": {str(tenant.id): None}}
    for table in tables:
        for column in table.columns:
            if column.type == "uuid" and column.name in {"id", "user_id"}:
                query = f"SELECT {column.name}::text AS id FROM {table.name} WHERE organization_id = $1 LIMIT 3"
                ids = {row["id"]: None for row in await admin.fetch(query, tenant.id) if row["id"]}
                found.setdefault(table.name.split(".")[0], {}).update(ids)
    return {schema: tuple(ids) for schema, ids in found.items()}


async def build(application: Application, database: Database, admin: asyncpg.Connection) -> World:
    """Fill two organizations and learn to tell them apart."""
    async with client_of(application) as root:
        await sign_in(root, ADMIN)
        world = World(await _fill(application, root, MINE), await _fill(application, root, OTHER))
    await _background(database)
    for tenant in (world.mine, world.other):
        await _hold(admin, tenant)
    async with client_of(application) as root:
        # Some records wait in the journal, as they do at any moment.
        for tenant in (world.mine, world.other):
            sent = await root.post("/v1/events", json=events(tenant.slug, datetime.now(UTC)), headers=tenant.bearer)
            assert sent.status_code == 200, sent.text
    tables = [item for item in await relations(admin) if item.is_tenant and not item.is_partition and item.is_table]
    for table in tables:
        for tenant in (world.mine, world.other):
            query = f"SELECT count(*) FROM {table.name} WHERE organization_id = $1"
            if await admin.fetchval(query, tenant.id) == 0:
                await _make_up(admin, table, tenant)
            tenant.counts[table.name] = await admin.fetchval(query, tenant.id)
    ids = {
        tenant.slug: await _ids_of(admin, tables, "organization_id = $1", tenant.id) | {str(tenant.id)}
        for tenant in (world.mine, world.other)
    }
    for tenant in (world.mine, world.other):
        tenant.things = await _things_of(admin, tables, tenant)
    shared = await _ids_of(
        admin, tables, "organization_id IS NULL OR organization_id <> ALL ($1)", [world.mine.id, world.other.id]
    )
    for tenant, neighbour in ((world.mine, world.other), (world.other, world.mine)):
        tenant.marks = frozenset(ids[tenant.slug] - ids[neighbour.slug] - shared | {tenant.slug})
    return world


async def fingerprint(admin: asyncpg.Connection, tenant: Tenant) -> dict[str, str]:
    """Return a digest of all rows of an organization, by table."""
    found = {}
    for table in await relations(admin):
        if table.is_table and not table.is_partition and (table.is_tenant or table.name == "identity.organizations"):
            column = "organization_id" if table.is_tenant else "id"
            found[table.name] = await admin.fetchval(
                f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table.name} AS t WHERE {column} = $1",
                tenant.id,
            )
    return found
