"""Records of several types come in by one way: each is read by its own form, stored once, spooled and drained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from nexus.contracts.bodies import BodyRule
from nexus.contracts.gateway import GatewayTable
from nexus.contracts.prices import PriceBook
from nexus.contracts.tool_calls import MAX_CONTENT_BYTES
from nexus.dataplane.ingest.commit import DatabaseTroubleError, PostgresStore
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.dataplane.ingest.record_type import Caller
from nexus.dataplane.ingest.record_types import RECORD_TYPES, ROW_TYPES
from nexus.dataplane.ingest.segments import Frame, encode_frame, encode_preamble
from nexus.dataplane.ingest.service import Ingest, Receipt
from nexus.dataplane.snapshots import PriceTable, Snapshots
from nexus.dataplane.store import QUERIES
from nexus.kit.clock import FixedClock
from nexus.kit.ids import uuid7
from nexus.platform.db import Database
from nexus.platform.settings import Settings
from tests.conftest import TestOrganization

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
API = {"provider": "openai", "status_code": 200}
TOOL = {"type": "tool_call", "tool": "search", "outcome": "ok"}


class AbsentStore(PostgresStore):
    """PostgreSQL that can be told to be away."""

    is_away = False

    async def commit(self, *arguments: Any) -> list[int]:
        if self.is_away:
            raise DatabaseTroubleError("away")
        return await super().commit(*arguments)

    async def probe(self) -> None:
        if self.is_away:
            raise DatabaseTroubleError("away")


class Node:
    """Ingest of one process, without its running parts but the writer."""

    def __init__(self, database: Database, folder: Path, organization: TestOrganization) -> None:
        self.organization = organization
        snapshots = Snapshots(database)
        snapshots.prices = PriceTable(1, PriceBook.from_documents([]))
        snapshots.is_loaded = True
        self.snapshots = snapshots
        self.registry = CollectorRegistry()
        self.store = AbsentStore(database, timeout_seconds=30)
        self.ingest = Ingest(
            database=database,
            settings=Settings(data_dir=folder),
            snapshots=snapshots,
            clock=FixedClock(NOW),
            metrics=IngestMetrics(self.registry),
            store=self.store,
        )
        self.ingest.writer.start()

    async def send(self, *records: dict[str, Any], key: str | None = None, is_lines: bool = False) -> Receipt:
        body = "\n".join(map(json.dumps, records)) if is_lines else json.dumps(records)
        caller = Caller(self.organization.id, "USD")
        return await self.ingest.take(caller, body.encode(), is_lines=is_lines, idempotency_key=key)


@pytest.fixture
async def node(tmp_path: Path, database: Database, organization: TestOrganization) -> AsyncIterator[Node]:
    made = Node(database, tmp_path, organization)
    yield made
    await made.ingest.stop()


async def counts(admin: asyncpg.Connection) -> tuple[int, int]:
    """Stored API calls and tool calls."""
    found = await admin.fetchrow(
        "SELECT (SELECT count(*) FROM metering.calls) AS calls, (SELECT count(*) FROM mcp.tool_calls) AS tool_calls"
    )
    assert found is not None
    return found["calls"], found["tool_calls"]


async def test_every_field_of_a_tool_call_arrives_masked(
    node: Node, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    key = uuid7()
    receipt = await node.send(
        TOOL
        | {
            "id": str(uuid7(NOW)), "timestamp": "2026-03-15T11:59:58Z", "outcome": "tool_error", "server": "files",
            "server_version": "1.2", "tool_version": "3", "operation": "read", "duration_ms": 12.3456,
            "memory_bytes": 2**33, "cpu_percent": 99.5,
            "parameters": {"path": "/etc", "limit": 5, "api_key": "abc123", "note": "ask ann@example.com"},
            "response": [{"text": "sk-abcdefghijklmnopqrstuvwx"}], "cache_hit": False,
            "error_type": "ToolError", "error_code": "-32000", "error_message": "token sk-abcdefghijklmnopqrstuvwx",
            "error_stack": "at x password=hunter22", "key": str(key), "application": "desk", "user": "ann",
            "end_user": "e", "client_name": "claude", "client_version": "9", "protocol_version": "2026-07-28",
            "transport": "stdio", "session_id": "s", "request_id": "7", "trace_id": "0" * 31 + "1",
            "span_id": "0" * 15 + "1", "environment": "production", "user_agent": "agent/1",
            "ip_address": "10.0.0.1", "tags": {"team": "ü"}, "metadata": {"a": [1], "secret": "x-y-z"},
        }
    )  # fmt: skip
    row = dict(await admin_connection.fetchrow("SELECT * FROM mcp.tool_calls") or {})

    assert receipt == Receipt(1, 1, 1, 0, [], "committed")
    parameters = json.loads(row["parameters"])
    assert parameters == {"path": "/etc", "limit": 5, "api_key": "[secret]", "note": "ask [email]"}
    # Of what is stored, with its keys in order: whoever has the parameters that are shown can make it.
    canonical = json.dumps(parameters, sort_keys=True, separators=(",", ":"))
    assert row["parameters_hash"] == hashlib.sha256(canonical.encode()).hexdigest()
    assert json.loads(row["response"]) == [{"text": "[secret]"}]
    assert row["response_bytes"] == len(json.dumps([{"text": "sk-abcdefghijklmnopqrstuvwx"}], separators=(",", ":")))
    assert "sk-" not in row["error_message"] and "hunter22" not in row["error_stack"]
    assert json.loads(row["metadata"]) == {"a": [1], "secret": "[secret]"}
    assert json.loads(row["tags"]) == {"team": "ü"}
    expected = {
        "organization_id": organization.id, "occurred_at": NOW - timedelta(seconds=2), "received_at": NOW,
        "server": "files", "tool": "search", "outcome": "tool_error", "principal": "ann", "client_name": "claude",
        "client_version": "9", "application": "desk", "user_ref": "ann", "key_id": key, "duration_us": 12_346,
        "memory_bytes": 2**33, "cpu_percent": 99.5, "cache_hit": False, "error_type": "ToolError",
        "error_code": "-32000", "server_version": "1.2", "tool_version": "3", "operation": "read", "end_user": "e",
        "protocol_version": "2026-07-28", "transport": "stdio", "session_id": "s", "request_id": "7",
        "trace_id": "0" * 31 + "1", "span_id": "0" * 15 + "1", "environment": "production", "user_agent": "agent/1",
    }  # fmt: skip
    assert row | expected == row


async def test_what_an_organization_wants_masked_is_masked(
    node: Node, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    rule = BodyRule(masks=frozenset(), fields=frozenset({"patient"}), words=("Bluebird",))
    node.snapshots.gateway = GatewayTable(1, bodies={organization.id: rule})
    node.ingest._forget()

    await node.send(TOOL | {"id": "a", "parameters": {"patient": "Ann", "to": "ann@example.com", "re": "Bluebird"}})
    stored = await admin_connection.fetchval("SELECT parameters FROM mcp.tool_calls")

    assert json.loads(stored) == {"patient": "[field]", "to": "ann@example.com", "re": "[word]"}


@pytest.mark.parametrize("is_lines", [False, True])
async def test_mixed_batch_is_stored_by_type_and_refused_by_index(
    node: Node, admin_connection: asyncpg.Connection, is_lines: bool
) -> None:
    records = [
        API | {"id": "a"},
        TOOL | {"id": "b"},
        TOOL | {"id": "c", "outcome": "bad"},
        API | {"id": "d", "tool": 1},
    ]

    receipt = await node.send(*records, is_lines=is_lines)

    assert (receipt.received, receipt.stored, receipt.duplicates) == (4, 2, 0)
    assert [(item.index, item.id, [fault.field for fault in item.errors]) for item in receipt.refused] == [
        (2, "c", ["outcome"]),
        (3, "d", ["tool"]),
    ]
    assert await counts(admin_connection) == (1, 1)


async def test_batch_of_records_that_all_say_their_type_is_read_at_once(
    node: Node, admin_connection: asyncpg.Connection
) -> None:
    receipt = await node.send(*(record | {"id": str(uuid7(NOW))} for record in [API | {"type": "api_call"}, TOOL] * 20))

    assert (receipt.stored, receipt.refused) == (40, [])
    assert await counts(admin_connection) == (20, 20)


async def test_tool_call_sent_again_is_a_duplicate_and_another_type_with_its_id_is_not(
    node: Node, admin_connection: asyncpg.Connection
) -> None:
    for id_ in ("same", str(uuid4()), str(uuid7(NOW))):
        first = await node.send(TOOL | {"id": id_}, TOOL | {"id": id_, "tool": "later"}, API | {"id": id_})
        again = await node.send(
            API | {"id": id_}, TOOL | {"id": id_, "timestamp": "2026-01-01T00:00:00Z"}, TOOL | {"id": f"{id_}+"}
        )

        assert (first.stored, first.duplicates) == (2, 1)
        assert (again.stored, again.duplicates) == (1, 2)
    assert await counts(admin_connection) == (3, 6)
    assert await admin_connection.fetchval("SELECT count(*) FROM mcp.tool_calls WHERE tool = 'later'") == 0


async def test_records_without_ids_are_told_apart_by_key_and_position(
    node: Node, admin_connection: asyncpg.Connection
) -> None:
    first = await node.send(API, TOOL, TOOL, key="batch")
    again = await node.send(API, TOOL, TOOL, key="batch")

    assert (first.stored, again.stored, again.duplicates) == (3, 0, 3)
    assert await counts(admin_connection) == (1, 2)


async def test_spool_takes_every_type_and_the_drain_stores_each_once(
    node: Node, admin_connection: asyncpg.Connection
) -> None:
    node.store.is_away = True
    spooled = await node.send(API | {"id": "a"}, TOOL | {"id": "b", "parameters": {"q": "x"}}, TOOL | {"id": "c"})
    await node.send(TOOL | {"id": "b"})
    await node.ingest.drain.run_once()
    assert await counts(admin_connection) == (0, 0)
    node.store.is_away = False

    assert await node.ingest.drain.run_once()

    assert (spooled.durability, spooled.accepted, spooled.stored) == ("spooled", 3, None)
    assert await counts(admin_connection) == (1, 2)
    assert node.ingest.spool.is_empty()
    assert (
        await admin_connection.fetchval("SELECT parameters ->> 'q' FROM mcp.tool_calls WHERE parameters IS NOT NULL")
        == "x"
    )


async def test_spooled_records_of_a_type_from_a_newer_release_are_kept(node: Node) -> None:
    content = encode_preamble(["ordinal", "x"], created_at_us=0, process_id=1, record_type="dream") + encode_frame(
        Frame(bytes(16), [0], [b"row"])
    )
    node.ingest.spool.folder.mkdir(parents=True)
    (node.ingest.spool.folder / "1.spool").write_bytes(content)

    await node.ingest.drain.run_once()

    (kept,) = (node.ingest.spool.folder / "quarantine").iterdir()
    assert kept.read_bytes() == content
    assert node.registry.get_sample_value("nexus_ingest_records_quarantined_total") == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tool": ""}, "tool"),
        ({"outcome": "error"}, "outcome"),
        ({"parameters": [1]}, "parameters"),
        ({"parameters": {"a": "x" * MAX_CONTENT_BYTES}}, "parameters"),
        ({"parameters": {"a": "\x00"}}, "parameters"),
        ({"response": "x" * MAX_CONTENT_BYTES}, "response"),
        ({"response": ["\x00"]}, "response"),
        ({"duration_ms": -1}, "duration_ms"),
        ({"cpu_percent": "9"}, "cpu_percent"),
        ({"key": "nx_secret"}, "key"),
        ({"ip_address": "nowhere"}, "ip_address"),
        ({"error_stack": "x" * 40_000}, "error_stack"),
        ({"status_code": 200}, "status_code"),
        ({"metadata": {"a": "x" * 20_000}}, "metadata"),
        ({"tags": {"a": 1}}, "tags.a"),
        ({"timestamp": "1980-01-01T00:00:00Z"}, "timestamp"),
    ],
)
async def test_faulty_field_of_a_tool_call_is_named(node: Node, change: dict[str, Any], field: str) -> None:
    receipt = await node.send(TOOL | {"id": "good"}, TOOL | {"id": "bad"} | change)

    assert receipt.stored == 1
    assert [(item.index, {fault.field for fault in item.errors}) for item in receipt.refused] == [(1, {field})]


def test_required_fields_of_each_type_are_those_a_record_needs_least() -> None:
    for record_type in RECORD_TYPES.values():
        required = {item.encode_name for item in msgspec.structs.fields(record_type.struct) if item.required}

        assert set(record_type.least) == required
        assert msgspec.convert(dict(record_type.least), record_type.struct)


@pytest.mark.parametrize("name", ROW_TYPES)
async def test_staging_table_has_the_columns_that_are_written(database: Database, name: str) -> None:
    record_type = ROW_TYPES[name]
    async with database.as_writer(()) as connection:
        await connection.execute(QUERIES[record_type.stage])
        found = await connection.fetch(
            "SELECT attname, typname, attnotnull FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid"
            f" WHERE attrelid = 'pg_temp.{record_type.staging}'::regclass AND attnum > 0 ORDER BY attnum"
        )

    assert [(row["attname"], row["typname"]) for row in found] == list(record_type.column_types.items())
    assert {row["attname"] for row in found if row["attnotnull"]} == record_type.not_null
    assert record_type.name == name


async def test_every_field_of_a_request_arrives_masked(
    node: Node, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    receipt = await node.send(
        {
            "type": "mcp_request", "id": str(uuid7(NOW)), "method": "resources/read", "outcome": "protocol_error",
            "server": "files", "target": "file:///a?token=x", "status_code": 404, "http_method": "post",
            "path": "/mcp?key=1", "query": {"api_key": "abc123", "page": "2"},
            "request_headers": {"Authorization": "Bearer abcdefgh", "Content-Type": "application/json"},
            "response_headers": {"Retry-After": "3", "Set-Cookie": "a"},
            "request_body": {"uri": "file:///a", "password": "hunter2"}, "response_body": {"error": {"code": -32602}},
            "duration_ms": 5.5, "queue_ms": 1, "processing_ms": 4.5, "error_type": "NotFound",
            "error_code": "-32602", "error_message": "no file for ann@example.com", "correlation_id": "c",
            "client_name": "desk", "client_version": "1", "protocol_version": "2026-07-28", "request_id": "1",
            "user": "ann", "transport": "streamable_http", "metadata": {"a": 1},
        }
    )  # fmt: skip
    row = dict(await admin_connection.fetchrow("SELECT * FROM mcp.requests") or {})

    assert receipt == Receipt(1, 1, 1, 0, [], "committed")
    expected = {
        "organization_id": organization.id, "server": "files", "method": "resources/read", "target": "file:///a",
        "outcome": "protocol_error", "status_code": 404, "principal": "ann", "client_name": "desk",
        "duration_us": 5_500, "queue_us": 1_000, "processing_us": 4_500, "http_method": "POST", "path": "/mcp",
        "error_type": "NotFound", "error_code": "-32602", "error_message": "no file for [email]",
        "correlation_id": "c", "protocol_version": "2026-07-28", "request_id": "1", "transport": "streamable_http",
        "request_bytes": len('{"uri":"file:///a","password":"hunter2"}'), "response_bytes": 25,
    }  # fmt: skip
    assert row | expected == row
    assert json.loads(row["query"]) == {"api_key": "[secret]", "page": "2"}
    assert json.loads(row["request_body"]) == {"uri": "file:///a", "password": "[secret]"}
    assert json.loads(row["request_headers"]) == {"content-type": "application/json"}
    assert json.loads(row["response_headers"]) == {"retry-after": "3"}
