"""Random records, and an independent account of them: plain Python over plain dictionaries, no rollups, no SQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import msgspec
from hypothesis import strategies as st

from nexus.contracts.calls import CALL_COLUMNS
from nexus.contracts.limit_sets import DescribedLimit, LimitSet
from nexus.dataplane import store as dataplane_store
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.identity import microseconds
from nexus.dataplane.ingest.limit_sets import LIMIT_SET, row_of
from nexus.kit.ids import uuid7, uuid7_time
from nexus.metering import service, store
from nexus.metering.types import Filter, Question
from nexus.platform.db import Database

Record = dict[str, Any]
TOKENS = [name for name in CALL_COLUMNS if name.endswith("_tokens")]
KEYS = [UUID(int=number) for number in (7, 8)]


def record(at: datetime, *, call_id: UUID | None = None, **values: Any) -> Record:
    """Make a record of a call; what is not given is plain."""
    made = call_id or uuid7(at)
    key_at = uuid7_time(made)
    row: Record = dict.fromkeys(CALL_COLUMNS)
    row |= dict.fromkeys(TOKENS, 0)
    row |= {
        "id": made,
        "is_opaque": key_at is None,
        "key_at": key_at or at,
        "occurred_at": at,
        "received_at": max(at, datetime(2026, 3, 1, tzinfo=UTC)),
        "provider": "openai",
        "endpoint": "",
        "method": "POST",
        "status_code": 200,
        "request_bytes": 0,
        "response_bytes": 0,
        "model": "",
        "region": "",
        "application": "",
        "user_ref": "",
        "currency": "USD",
        "price_source": "none",
    }
    return row | values


def records(
    start: datetime, end: datetime, *, opaque: bool = True, max_size: int = 40
) -> st.SearchStrategy[list[Record]]:
    """Random records in a range; some are each other's copies, with other timestamps too."""
    span = int((end - start) / timedelta(microseconds=1))

    def build(values: dict[str, Any]) -> Record:
        at = start + timedelta(microseconds=values.pop("offset"))
        kind = values.pop("kind")
        # A UUIDv7 may carry another time than the call has: late and wrong clocks.
        made = uuid4() if kind == "opaque" else uuid7(at + timedelta(days=values.pop("drift")))
        values.pop("drift", None)
        return record(at, call_id=made, **values)

    one = st.fixed_dictionaries(
        {
            "offset": st.integers(0, span - 1),
            "kind": st.sampled_from(["v7", "opaque"] if opaque else ["v7"]),
            "drift": st.sampled_from([0, 0, 0, -40, 3]),
            "provider": st.sampled_from(["openai", "exa"]),
            "model": st.sampled_from(["", "m1", "m2"]),
            "endpoint": st.sampled_from(["", "/v1/a", "/v1/b"]),
            "method": st.sampled_from(["GET", "POST"]),
            "region": st.sampled_from(["", "eu"]),
            "status_code": st.sampled_from([200, 200, 404, 500, 0]),
            "key_id": st.sampled_from([None, *KEYS]),
            "application": st.sampled_from(["", "app"]),
            "user_ref": st.sampled_from(["", "ada", 'quote"(,) us\x1fer', "bob"]),
            "currency": st.sampled_from(["USD", "USD", "EUR"]),
            "cost_nanos": st.none() | st.integers(0, 10**16),
            "response_time_us": st.none() | st.integers(0, 3_000_000_000),
            "request_bytes": st.integers(0, 2**43),
            "response_bytes": st.integers(0, 2**20),
            "input_tokens": st.integers(0, 10**9),
            "output_tokens": st.integers(0, 10**5),
            "reasoning_tokens": st.integers(0, 9),
            # What a limit refused was never made: it is in no figure.
            "refused_by": st.sampled_from([None, None, None, None, "plan"]),
            "tags": st.none() | st.dictionaries(st.sampled_from(["team", "feature"]), st.sampled_from(["x", "y", ""])),
        }
    ).map(build)
    return st.lists(one, min_size=1, max_size=max_size)


async def store_batch(database: Database, organization_id: UUID, batch: Sequence[Record]) -> list[int]:
    """Store records as the writer does; returns the ordinals of duplicates."""
    return await store_mixed(database, [(organization_id, row) for row in batch])


async def store_mixed(database: Database, batch: Sequence[tuple[UUID, Record]]) -> list[int]:
    """Store records of several organizations in one batch."""
    rows = [row | {"organization_id": owner, "ordinal": index} for index, (owner, row) in enumerate(batch)]
    organizations = sorted({owner for owner, _ in batch})
    async with database.as_writer(organizations) as connection:
        for month in sorted({row["key_at"].replace(day=1, hour=0, minute=0, second=0, microsecond=0) for row in rows}):
            await connection.execute("SELECT platform.ensure_partition_v1('metering.calls', $1)", month)
    async with database.as_writer(organizations) as connection:
        await connection.execute("SELECT metering.stage_calls_v1()")
        await connection.execute(
            "INSERT INTO pg_temp.staged_calls"
            " SELECT * FROM jsonb_populate_recordset(NULL::pg_temp.staged_calls, $1::jsonb)",
            msgspec.to_builtins(rows),
        )
        found: list[int] = await connection.fetchval("SELECT metering.store_calls_v1()")
        return found


async def store_limit_set(
    database: Database, organization_id: UUID, at: datetime, *, writing_for: UUID | None = None
) -> LimitSet:
    """Store a set of two limits for the month of an instant, as the writer of an organization."""
    made = LimitSet.of(
        organization_id,
        [
            DescribedLimit(f"o:{organization_id}", "plan", "organization", "requests", 1, 0),
            DescribedLimit("a:shop", "spend", "application", "money", 1000, 1),
        ],
    )
    stream = rows.copy_stream(
        [row_of(made, microseconds(at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)))],
        len(LIMIT_SET.columns),
    )
    async with database.as_writer([writing_for or organization_id]) as connection:
        await dataplane_store.store_records(
            connection,
            stream,
            LIMIT_SET.columns,
            staging=LIMIT_SET.staging,
            stage=LIMIT_SET.stage,
            store=LIMIT_SET.store,
        )
    return made


async def fold(database: Database, rows: int = 1_000_000) -> int:
    """Fold the journal, or a part of it."""
    async with database.as_system() as connection:
        return await store.fold(connection, rows)


async def ask(database: Database, organization_id: UUID, question: Question) -> dict[str, Any]:
    """Ask a question as the service does."""
    async with database.tenant(organization_id, readonly=True, snapshot=True) as connection:
        answer = service.series if question.interval else service.summary
        return dict(await answer(connection, organization_id, question))


def unique(rows: Iterable[Record]) -> list[Record]:
    """Keep the first record of each id: the rule of exactly once."""
    seen: dict[UUID, Record] = {}
    for row in rows:
        seen.setdefault(row["id"], row)
    return list(seen.values())


def _dimension(row: Record, name: str) -> Any:
    if name.startswith("tag:"):
        return (row["tags"] or {}).get(name[4:])
    column = {"key": "key_id", "user": "user_ref"}.get(name, name)
    value = row[column]
    return str(value) if name == "key" and value else (None if value == "" and not name.startswith("tag") else value)


def _plain(nanos: int) -> str:
    text = f"{Decimal(nanos).scaleb(-9):f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def account(
    rows: Iterable[Record],
    question: Question,
    *,
    currency: str = "USD",
    point_of: Callable[[datetime], str] | None = None,
) -> tuple[dict[tuple[Any, ...], dict[str, Any]], dict[str, Any]]:
    """Count what a question asks for; latencies are left as the sorted list under `times`."""
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for row in rows:
        if row["refused_by"] or not question.start <= row["occurred_at"] < question.end:
            continue
        if any(_dimension(row, item.dimension) not in _shown(item) for item in question.filters):
            continue
        tags = [name for name in question.dimensions if name.startswith("tag:")]
        if any(name[4:] not in (row["tags"] or {}) for name in tags):
            continue
        values = tuple(None if (v := _dimension(row, name)) == "" else v for name in question.group_by)
        at = (point_of(row["occurred_at"]),) if point_of else ()
        groups[at + values].append(row)
    everything = [row for group in groups.values() for row in group]
    by_currency = "currency" in question.group_by
    return {
        key: _metrics(group, group[0]["currency"] if by_currency else currency) for key, group in groups.items()
    }, _metrics(everything, currency)


def _shown(item: Filter) -> list[Any]:
    if item.dimension.startswith("tag:"):
        return list(item.values)
    return [str(value) if isinstance(value, UUID) else (None if value == "" else value) for value in item.values]


def _metrics(rows: Sequence[Record], currency: str) -> dict[str, Any]:
    costs: dict[str, int] = defaultdict(int)
    for row in rows:
        if row["cost_nanos"] is not None:
            costs[row["currency"]] += row["cost_nanos"]
    found: dict[str, Any] = {
        "requests": len(rows),
        "errors": sum(row["status_code"] >= 400 or row["status_code"] == 0 for row in rows),
        "unpriced": sum(row["cost_nanos"] is None for row in rows),
        "cost": None if rows and all(row["cost_nanos"] is None for row in rows) else _plain(costs.pop(currency, 0)),
        "bytes_request": sum(row["request_bytes"] for row in rows),
        "bytes_response": sum(row["response_bytes"] for row in rows),
        "times": sorted(row["response_time_us"] for row in rows if row["response_time_us"] is not None),
        "distinct_users": len({row["user_ref"] for row in rows} - {""}),
        "distinct_endpoints": len({(r["provider"], r["method"], r["endpoint"]) for r in rows if r["endpoint"]}),
    }
    found["error_rate"] = found["errors"] / len(rows) if rows else 0.0
    found |= {f"tokens_{name.removesuffix('_tokens')}": sum(row[name] for row in rows) for name in TOKENS}
    if costs:
        found["cost_other"] = {name: _plain(nanos) for name, nanos in sorted(costs.items())}
    return found


def assert_same(found: dict[str, Any], expected: dict[str, Any], *, exact: bool = False) -> None:
    """Compare the metrics of a group with the account; percentiles within the proven bound."""
    expected = dict(expected)
    times = expected.pop("times")
    for name, value in expected.items():
        if name.startswith("distinct") and found[name] is None:
            continue
        assert found[name] == value, name
    assert ("cost_other" in found) == ("cost_other" in expected)
    for name, q in (("latency_p50_ms", 0.5), ("latency_p95_ms", 0.95), ("latency_p99_ms", 0.99)):
        if not times:
            assert found[name] is None
            continue
        truth = times[max(0, -int(-(q * len(times) - 1e-9) // 1) - 1)] / 1000
        bound = 0.0006 if exact else truth / 21 + 0.0006
        assert abs(found[name] - truth) <= bound, name
    if times:
        assert abs(found["latency_avg_ms"] - sum(times) / len(times) / 1000) < 0.001
    else:
        assert found["latency_avg_ms"] is None


def keyed(answer: dict[str, Any]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return an answer's groups by their dimensions, a series' by point first."""
    if "points" in answer:
        return {(row["at"], *(row[name] for name in answer["group_by"])): row for row in answer["points"]}
    return {tuple(row[name] for name in answer["group_by"]): row for row in answer["groups"]}


def assert_answers(answer: dict[str, Any], expected: tuple[dict[Any, Any], dict[str, Any]], **how: Any) -> None:
    """Compare a whole answer with the account."""
    groups, total = expected
    found = keyed(answer)
    if answer["group_by"] or "points" in answer:
        assert set(found) == set(groups)
        for key, row in found.items():
            assert_same(row, groups[key], **how)
    if "total" in answer:
        assert_same(answer["total"], total, **how)
