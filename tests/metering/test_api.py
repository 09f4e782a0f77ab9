"""The questions over HTTP: answers, pages, exports that equal them, refusals that name the field."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pyarrow.parquet as pq
import pytest

from nexus.kit.ids import uuid7
from nexus.metering import service
from nexus.metering.routes import ExportSlots
from nexus.platform.db import Database
from nexus.platform.web import encode_cursor
from tests.conftest import TestOrganization
from tests.metering.conftest import NOW, Api, make_key
from tests.metering.records import KEYS, fold, record, store_batch, store_limit_set

START = NOW - timedelta(hours=5)
RANGE = {"from_": START.isoformat(), "to": NOW.isoformat()}


@pytest.fixture
async def calls(database: Database, organization: TestOrganization) -> list[dict[str, Any]]:
    rows = [
        record(
            START + timedelta(minutes=11 * number, microseconds=number),
            provider=["openai", "exa"][number % 2],
            model=["", '=HYPERLINK("http://x")', "gpt"][number % 3],
            endpoint="/v1/a" if number % 4 else "",
            status_code=[200, 500][number % 5 == 0],
            user_ref=["ada", "+bob"][number % 2],
            key_id=KEYS[0] if number % 2 else None,
            cost_nanos=None if number % 7 == 0 else number * 1_000_000_007,
            response_time_us=None if number % 6 == 0 else number * 12_345,
            input_tokens=number,
            tags={"team": "x"} if number % 2 else None,
            metadata={"deep": [1, {"a": "ü"}]} if number == 3 else None,
            error_message="@boom" if number == 5 else None,
            ip_address="192.0.2.7" if number == 4 else None,
            currency="EUR" if number == 8 else "USD",
        )
        for number in range(25)
    ]
    await store_batch(database, organization.id, rows[:20])
    await fold(database)
    await store_batch(database, organization.id, rows[20:])
    return rows


async def test_a_summary_has_groups_and_a_total(api: Api, calls: list[dict[str, Any]]) -> None:
    answer = await api.get("summary", **RANGE, group_by="provider,model")

    body = answer.json()
    assert answer.status_code == 200, answer.text
    assert body["total"]["requests"] == 25 == sum(group["requests"] for group in body["groups"])
    assert body["latency_error_bound"] == 0.0477 and body["currency"] == "USD"
    costs = sum(row["cost_nanos"] or 0 for row in calls if row["currency"] == "USD")
    assert Decimal(body["total"]["cost"]) == Decimal(costs).scaleb(-9)
    assert body["total"]["cost_other"] == {"EUR": "8.000000056"}
    assert body["total"]["unpriced"] == 4 and body["total"]["distinct_users"] == 2
    assert {group["model"] for group in body["groups"]} == {None, "gpt", '=HYPERLINK("http://x")'}
    assert all("at" not in group and isinstance(group["cost"], str) for group in body["groups"])


async def test_the_default_range_is_the_last_day(api: Api, calls: list[dict[str, Any]]) -> None:
    body = (await api.get("summary")).json()

    assert body["from"] == "2026-04-02T12:00:00Z" and body["to"] == "2026-04-03T12:00:00Z"
    assert body["total"]["requests"] == 25 and body["groups"] == []


async def test_filters_take_several_values_tags_and_nothing(api: Api, calls: list[dict[str, Any]]) -> None:
    some = (await api.get("summary", **RANGE, status_code=["500", "404"])).json()["total"]["requests"]
    tagged = (await api.get("summary", **RANGE, tag__team="x")).json()["total"]["requests"]
    keyless = (await api.get("summary", **RANGE, key="")).json()["total"]["requests"]
    named = (await api.get("summary", **RANGE, key=str(KEYS[0]))).json()["total"]["requests"]

    assert (some, tagged, keyless, named) == (5, 12, 13, 12)


async def test_a_series_has_points_where_there_are_calls(api: Api, calls: list[dict[str, Any]]) -> None:
    body = (await api.get("series", **RANGE, interval="1h", group_by="provider")).json()

    assert [point["at"] for point in body["points"] if point["provider"] == "exa"] == [
        f"2026-04-03T{hour:02}:00:00Z" for hour in range(7, 12)
    ]
    assert sum(point["requests"] for point in body["points"]) == 25
    assert "distinct_users" not in body["points"][0]
    asked = (await api.get("series", **RANGE, interval="1d", metrics="distinct_users,requests")).json()
    assert asked["points"] == [{"at": "2026-04-03T00:00:00Z", "requests": 25, "distinct_users": 2}]


@pytest.mark.parametrize("exact", ["false", "true"])
async def test_a_metric_asked_for_alone_is_the_one_of_the_whole_answer(
    api: Api, calls: list[dict[str, Any]], exact: str
) -> None:
    whole = (await api.get("summary", **RANGE, group_by="provider", exact=exact)).json()["groups"]

    for name in whole[0].keys() - {"provider"}:
        alone = (await api.get("summary", **RANGE, group_by="provider", exact=exact, metrics=name)).json()["groups"]
        assert [group.get(name) for group in alone] == [group.get(name) for group in whole], name
    assert any(group["latency_p95_ms"] for group in whole)


async def test_calls_come_newest_first_page_by_page(api: Api, calls: list[dict[str, Any]]) -> None:
    found: list[dict[str, Any]] = []
    cursor = None
    pages = 0
    while True:
        page = (await api.get("calls", **RANGE, limit="10", **({"cursor": cursor} if cursor else {}))).json()
        found += page["items"]
        pages += 1
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert pages == 3
    assert [item["id"] for item in found] == [str(row["id"]) for row in reversed(calls)]
    one = found[25 - 1 - 3]
    assert one["metadata"] == {"deep": [1, {"a": "ü"}]} and one["cost"] == "3.000000021" and one["priced"] is True
    assert found[25 - 1 - 4]["ip_address"] == "192.0.2.7"
    assert found[-1]["cost"] is None and found[-1]["priced"] is False
    assert found[25 - 1 - 3]["response_time_ms"] == 37.035


@pytest.mark.parametrize("sort", ["timestamp", "response_time_ms", "cost", "tokens"])
@pytest.mark.parametrize("sign", ["", "-"])
async def test_calls_are_sorted_by_a_column_page_by_page(
    api: Api, calls: list[dict[str, Any]], database: Database, organization: TestOrganization, sort: str, sign: str
) -> None:
    # Equal values in two places.
    again = [
        record(START + timedelta(minutes=250, seconds=n), input_tokens=5, cost_nanos=5, response_time_us=7)
        for n in range(3)
    ]
    await store_batch(database, organization.id, again)

    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await api.get("calls", **RANGE, limit="5", sort=sign + sort, cursor=cursor)).json()
        found += page["items"]
        cursor = page["next_cursor"] or ""
        if not cursor:
            break

    def value(item: dict[str, Any]) -> Decimal | None:
        if sort == "tokens":
            return Decimal(sum((item["tokens"] or {}).get(name, 0) for name in ("input", "output")))
        return None if item[sort] is None else Decimal(str(item[sort]))

    newest = (await api.get("calls", **RANGE, limit="500")).json()["items"]
    if sort == "timestamp":
        wanted = newest if sign else newest[::-1]
    else:
        known = [item for item in newest if value(item) is not None]
        # Sorting keeps the order of equals: newest first, whichever way the values go.
        wanted = sorted(known, key=lambda item: (value(item) or 0) * (-1 if sign else 1))
        wanted += [item for item in newest if value(item) is None]
    assert len(found) == 28
    assert [item["id"] for item in found] == [item["id"] for item in wanted]


async def test_calls_of_one_instant_are_paged_by_id(
    api: Api, database: Database, organization: TestOrganization
) -> None:
    rows = [record(START, call_id=uuid7(START)) for _ in range(7)]
    await store_batch(database, organization.id, rows)

    first = (await api.get("calls", **RANGE, limit="4")).json()
    second = (await api.get("calls", **RANGE, limit="4", cursor=first["next_cursor"])).json()

    ids = [item["id"] for item in first["items"] + second["items"]]
    assert len(set(ids)) == 7 and ids == sorted(ids, reverse=True)


async def test_only_failed_or_unpriced_calls(api: Api, calls: list[dict[str, Any]]) -> None:
    failed = (await api.get("calls", **RANGE, errors="true")).json()["items"]
    unpriced = (await api.get("calls", **RANGE, unpriced="1", user="ada")).json()["items"]

    assert {item["status_code"] for item in failed} == {500} and len(failed) == 5
    assert len(unpriced) == 2 and all(item["cost"] is None and item["user"] == "ada" for item in unpriced)


async def test_what_a_limit_refused_is_listed_and_filtered_and_no_figure_counts_it(
    api: Api, database: Database, organization: TestOrganization, calls: list[dict[str, Any]]
) -> None:
    before = (await api.get("summary", **RANGE, group_by="status_code")).json()
    at = START + timedelta(minutes=30)
    await store_batch(
        database, organization.id, [record(at, status_code=429, cost_nanos=0, refused_by="plan", user_ref="ada")]
    )

    async def listed(**asked: str) -> list[str | None]:
        return [item["refused_by"] for item in (await api.get("calls", **RANGE, **asked)).json()["items"]]

    assert await listed(refused="true") == ["plan"] and len(await listed()) == 26
    assert await listed(refused="false") == [None] * 25 and await listed(errors="true") == [None] * 5
    folded = [(await api.get("summary", **RANGE, group_by="status_code")).json()["groups"]]
    await fold(database)
    folded.append((await api.get("summary", **RANGE, group_by="status_code")).json()["groups"])
    assert folded == [before["groups"]] * 2


@pytest.mark.parametrize("question", ["summary", "series"])
async def test_exported_figures_equal_the_answers(api: Api, calls: list[dict[str, Any]], question: str) -> None:
    how = {**RANGE, "group_by": "provider,model", **({"interval": "15m"} if question == "series" else {})}

    answered = (await api.get(question, **how)).json()
    rows = answered["points" if question == "series" else "groups"]
    text = await api.get(question, **how, headers={"accept": "text/csv"})
    table = pq.read_table(io.BytesIO((await api.get(question, **how, format="parquet")).content))

    assert text.headers["content-type"].startswith("text/csv")
    assert "attachment" in text.headers["content-disposition"]
    cells = list(csv.DictReader(io.StringIO(text.text)))
    assert len(cells) == len(rows) == table.num_rows > 3
    for row, cell, stored in zip(rows, cells, table.to_pylist(), strict=True):
        for name in ("requests", "errors", "tokens_input", "bytes_request", "unpriced"):
            assert int(cell[name]) == row[name] == stored[name]
        costs = [
            None if value in {None, ""} else Decimal(value) for value in (cell["cost"], row["cost"], stored["cost"])
        ]
        assert costs[0] == costs[1] == costs[2] and (costs[0] is None) == (row["unpriced"] == row["requests"])
        assert (float(cell["latency_p95_ms"]) if cell["latency_p95_ms"] else None) == row["latency_p95_ms"]
        assert stored["latency_p95_ms"] == row["latency_p95_ms"] and stored["model"] == row["model"]
        if question == "series":
            assert cell["at"] == row["at"] == stored["at"].isoformat().replace("+00:00", "Z")


async def test_exported_calls_are_all_calls_and_no_cell_is_run(api: Api, calls: list[dict[str, Any]]) -> None:
    text = await api.get("calls", **RANGE, format="csv")
    parquet = await api.get("calls", **RANGE, headers={"accept": "application/vnd.apache.parquet"})

    cells = list(csv.DictReader(io.StringIO(text.text)))
    table = pq.read_table(io.BytesIO(parquet.content)).to_pylist()
    assert [cell["id"] for cell in cells] == [item["id"] for item in table] == [str(c["id"]) for c in reversed(calls)]
    assert {cell["model"] for cell in cells} == {"", "gpt", '\'=HYPERLINK("http://x")'}
    assert {cell["user"] for cell in cells} == {"ada", "'+bob"} and "'@boom" in {
        cell["error_message"] for cell in cells
    }
    assert {item["model"] for item in table} == {"", "gpt", '=HYPERLINK("http://x")'}
    total = sum(row["cost_nanos"] or 0 for row in calls)
    assert sum(item["cost"] or 0 for item in table) == Decimal(total).scaleb(-9)
    assert sum(Decimal(cell["cost"]) for cell in cells if cell["cost"]) == Decimal(total).scaleb(-9)
    assert table[-4]["timestamp"] == calls[3]["occurred_at"]


async def test_calls_show_the_limits_they_name_and_nothing_of_a_set_that_is_not_theirs(
    http: httpx.AsyncClient, database: Database, two_organizations: tuple[TestOrganization, TestOrganization]
) -> None:
    mine, other = two_organizations
    own, foreign = [await store_limit_set(database, owner.id, START) for owner in two_organizations]

    def naming(limit_set_id: Any) -> dict[str, Any]:
        return {
            "gateway": {"limit_set": {"id": limit_set_id, "charged": [1, 70], "settled": [1, 7], "left": [9, None]}}
        }

    forged = [naming(foreign.id), naming(str(KEYS[0])), naming(7), {"gateway": {"limit_set": [own.id]}}]
    rows = [
        record(START + timedelta(minutes=number), metadata=metadata, request_id="asked")
        for number, metadata in enumerate([naming(own.id), *forged])
    ]
    await store_batch(database, mine.id, rows)
    client = Api(http, await make_key(database, mine.id, ["*"]))

    listed = (await client.get("calls", **RANGE)).json()["items"][::-1]
    alone = [(await client.get(f"calls/{row['id']}")).json() for row in rows]
    exported = (await client.get("calls", **RANGE, format="csv")).text
    table = pq.read_table(io.BytesIO((await client.get("calls", **RANGE, format="parquet")).content)).to_pylist()

    marks = [
        [f"o:{mine.id}", "plan", "organization", "requests", 1, 1, 1, 9, False],
        ["a:shop", "spend", "application", "money", 1000, 70, 7, None, False],
    ]
    expected = [{"gateway": {"limits": marks}}, *forged]
    assert [item["metadata"] for item in listed] == expected
    assert [item["metadata"] for item in alone] == expected
    assert [item["metadata"] for item in alone[0]["attempts"]] == expected
    cells = [json.loads(cell["metadata"]) for cell in csv.DictReader(io.StringIO(exported))]
    assert cells[::-1] == [json.loads(item["metadata"]) for item in table][::-1] == expected
    assert str(other.id) not in exported


async def test_exports_leave_connections_for_others(
    api: Api, calls: list[dict[str, Any]], http: httpx.AsyncClient
) -> None:
    state = http._transport.app.state  # type: ignore[attr-defined]
    slots = ExportSlots(1)
    state.put(slots)

    async with slots:
        refused = await api.get("calls", **RANGE, format="csv")
    taken = await api.get("calls", **RANGE, format="csv")

    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
    assert taken.status_code == 200 and not slots.locked()


async def test_too_many_groups_are_refused(
    api: Api, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_ROWS", 5)

    assert (await api.get("summary", **RANGE, group_by="provider")).status_code == 200
    refused = await api.get("summary", **RANGE, group_by="provider,model")
    assert refused.status_code == 422 and refused.json()["type"].endswith("too_many_groups")


async def test_exports_need_a_permission_of_their_own(reader: Api, calls: list[dict[str, Any]]) -> None:
    for path in ("summary", "calls"):
        assert (await reader.get(path, **RANGE)).status_code == 200
        refused = await reader.get(path, **RANGE, format="csv")
        assert refused.status_code == 403 and "metrics:export" in refused.text


@pytest.mark.parametrize(
    ("path", "parameters", "fields"),
    [
        ("summary", {"from_": "yesterday"}, ["from"]),
        ("summary", {"from_": "2026-01-01T00:00:00"}, ["from"]),
        ("summary", {"from_": "9999-12-31T23:59:59-23:00"}, ["from"]),
        ("summary", {"from_": "2026-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z"}, ["to"]),
        (
            "summary",
            {"group_by": "provider,colour", "exact": "perhaps", "status_code": "teapot"},
            ["group_by", "exact", "status_code"],
        ),
        ("summary", {"key": "nx_abc"}, ["key"]),
        ("summary", {"colour": "red"}, ["colour"]),
        ("summary", {"provider": "a\x00b"}, ["provider"]),
        ("summary", {"tag__" + "x" * 65: "x"}, ["tag:" + "x" * 65]),
        ("summary", {"format": "xml"}, ["format"]),
        ("summary", {"metrics": "beauty"}, ["metrics"]),
        ("series", {}, ["interval"]),
        ("series", {"interval": "2h"}, ["interval"]),
        ("series", {"interval": "1h", "tz": "Mars/Olympus"}, ["tz"]),
        ("series", {"interval": "1h", "tz": "../../etc/passwd"}, ["tz"]),
        ("series", {"interval": "1m", "from_": "2026-01-01T00:00:00Z"}, ["interval"]),
        ("summary", {"from_": "2026-01-01T00:00:00Z", "group_by": "user,endpoint"}, ["group_by"]),
        ("summary", {"from_": "2026-01-01T00:00:00Z", "exact": "true"}, ["exact"]),
        ("calls", {"limit": "0"}, ["limit"]),
        ("calls", {"limit": "9" * 40}, ["limit"]),
        ("calls", {"cursor": "nonsense"}, ["cursor"]),
        ("calls", {"cursor": "WyJhIiwgImIiXQ"}, ["cursor"]),
        ("calls", {"sort": "provider"}, ["sort"]),
        ("calls", {"sort": "cost", "cursor": encode_cursor(NOW, uuid7(NOW))}, ["cursor"]),
        ("calls", {"sort": "cost", "cursor": encode_cursor(NOW, uuid7(NOW), "1e400")}, ["cursor"]),
        ("calls", {"sort": "-tokens", "cursor": encode_cursor(NOW, uuid7(NOW), "NaN")}, ["cursor"]),
    ],
)  # fmt: skip
async def test_refusals_name_the_field(api: Api, path: str, parameters: dict[str, str], fields: list[str]) -> None:
    answer = await api.get(path, **parameters)

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert [item["field"] for item in answer.json()["errors"]] == fields


async def test_without_permission_or_key_nothing_is_told(
    api: Api, http: Any, database: Database, organization: TestOrganization
) -> None:
    other = Api(http, await make_key(database, organization.id, ["events:write"]))

    assert (await other.get("summary")).status_code == 403
    assert (await http.get("/api/metering/summary")).status_code == 401


async def test_another_organizations_calls_are_in_no_answer_and_no_export(
    database: Database, http: Any, two_organizations: tuple[TestOrganization, TestOrganization]
) -> None:
    mine, other = two_organizations
    at = datetime(2026, 4, 3, 10, tzinfo=UTC)
    await store_batch(database, other.id, [record(at, provider="secret", tags={"team": "s"}) for _ in range(3)])
    await store_batch(database, mine.id, [record(at, provider="mine")])
    client = Api(http, await make_key(database, mine.id, ["*"]))

    for path, how in (
        ("summary", {"group_by": "provider"}), ("summary", {"group_by": "provider", "exact": "true"}),
        ("series", {"group_by": "provider", "interval": "1h"}), ("calls", {}), ("calls", {"format": "csv"}),
        ("summary", {"format": "csv", "group_by": "provider"}),
    ):  # fmt: skip
        answer = await client.get(path, **how)
        assert answer.status_code == 200 and "mine" in answer.text and "secret" not in answer.text, path


async def test_a_group_of_which_no_cost_is_known_has_none(
    api: Api, database: Database, organization: TestOrganization
) -> None:
    rows = [
        record(START, provider="a", cost_nanos=None), record(START, provider="a", cost_nanos=None),
        record(START, provider="b", cost_nanos=None), record(START, provider="b", cost_nanos=5),
        record(START, provider="c", cost_nanos=0), record(START, provider="d", cost_nanos=7, currency="EUR"),
    ]  # fmt: skip
    await store_batch(database, organization.id, rows)
    expected = {"a": None, "b": "0.000000005", "c": "0", "d": "0"}

    for path, name, more in (("summary", "groups", {}), ("series", "points", {"interval": "1h"})):
        answer = await api.get(path, **RANGE, group_by="provider", metrics="cost", **more)
        assert {group["provider"]: group["cost"] for group in answer.json()[name]} == expected
    table = csv.DictReader(io.StringIO((await api.get("summary", **RANGE, group_by="provider", format="csv")).text))
    assert {row["provider"]: row["cost"] or None for row in table} == expected
    content = (await api.get("summary", **RANGE, group_by="provider", format="parquet")).content
    exported = {row["provider"]: row["cost"] for row in pq.read_table(io.BytesIO(content)).to_pylist()}
    assert {name: None if cost is None else Decimal(cost) for name, cost in exported.items()} == {
        name: None if cost is None else Decimal(cost) for name, cost in expected.items()
    }
    # No calls at all cost nothing, and that is known.
    nothing = (await api.get("summary", from_="2026-01-01T00:00:00Z", to="2026-01-02T00:00:00Z")).json()
    assert nothing["total"]["cost"] == "0"


async def test_a_call_is_shown_with_the_other_attempts_of_its_request(
    http: httpx.AsyncClient, database: Database, two_organizations: tuple[TestOrganization, TestOrganization]
) -> None:
    mine, other = two_organizations
    tries = [
        record(START + timedelta(seconds=number), provider=provider, status_code=status, request_id="asked",
               metadata={"gateway": {"attempt": number + 1}})
        for number, (provider, status) in enumerate([("openai", 429), ("openai", 503), ("groq", 200)])
    ]  # fmt: skip
    foreign = record(START, request_id="asked", provider="foreign")
    single = record(START + timedelta(minutes=1))
    await store_batch(database, mine.id, [*tries, single, record(START, request_id="another")])
    await store_batch(database, other.id, [foreign])
    client = Api(http, await make_key(database, mine.id, ["metrics:read"]))

    for one in tries:
        found = (await client.get(f"calls/{one['id']}")).json()
        assert (found["id"], found["provider"]) == (str(one["id"]), one["provider"])
        assert [item["id"] for item in found["attempts"]] == [str(item["id"]) for item in tries]
    alone = (await client.get(f"calls/{single['id']}")).json()
    assert [item["id"] for item in alone["attempts"]] == [str(single["id"])]
    listed = (await client.get("calls", **RANGE, request_id="asked")).json()
    assert [item["id"] for item in listed["items"]] == [str(item["id"]) for item in reversed(tries)]
    for unknown in (foreign["id"], uuid7(START)):
        answer = await client.get(f"calls/{unknown}")
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (404, "call_not_found"), answer.text


async def test_a_call_whose_id_carries_no_time_is_found_by_its_timestamp(
    api: Api, database: Database, organization: TestOrganization
) -> None:
    at = START + timedelta(microseconds=123_457)
    call = record(at, call_id=UUID("0b9e2f64-3c52-4e5e-8a53-1b6f1d7a9c11"))
    await store_batch(database, organization.id, [call])

    listed = (await api.get("calls", **RANGE)).json()["items"]
    found = await api.get(f"calls/{call['id']}", at=listed[0]["timestamp"])
    without = await api.get(f"calls/{call['id']}")
    unreadable = await api.get(f"calls/{call['id']}", at="yesterday")

    assert found.status_code == 200 and found.json()["id"] == str(call["id"])
    assert (without.status_code, unreadable.status_code) == (404, 422)
    assert unreadable.json()["errors"][0]["field"] == "at"


async def test_the_attempts_of_a_request_are_found_by_their_index(
    database: Database, organization: TestOrganization
) -> None:
    rows = [record(START + timedelta(seconds=number), request_id=f"request {number // 2}") for number in range(2_000)]
    await store_batch(database, organization.id, rows)
    async with database.as_system() as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        plan = await connection.fetch(
            "EXPLAIN SELECT id FROM metering.calls WHERE organization_id = $1 AND request_id = $2",
            organization.id,
            "request 7",
        )

    assert any("request_id" in line[0] and "Index" in line[0] for line in plan), plan
