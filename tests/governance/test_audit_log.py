"""The audit log is searched page by page, exported whole, and shown to nobody who may not see it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import Any
from uuid import UUID

import httpx
import pytest

from nexus.kit.ids import uuid7
from nexus.platform.db import Actor, Database
from nexus.platform.web import encode_cursor
from tests.conftest import TestOrganization, make_organization
from tests.governance.conftest import key_of

LOG = "/api/governance/audit-log"
ADA, BOB = uuid7(), uuid7()


async def act(database: Database, owner: UUID, actor: Actor, *actions: tuple[str, str]) -> None:
    """Write actions into the log, one transaction for each."""
    for action, row_id in actions:
        async with database.tenant(owner, actor) as connection:
            await connection.execute("SELECT platform.record_action_v1($1, $2, '{}')", action, row_id)


@pytest.fixture
async def auditor(database: Database, organization: TestOrganization, http: httpx.AsyncClient) -> httpx.AsyncClient:
    """Somebody who may search and export, in an organization where Ada and Bob did something."""
    key = await key_of(database, organization.id, "audit:read", "audit:export")
    http.headers["authorization"] = f"Bearer {key}"
    ada, bob = Actor(user_id=ADA, label="ada", request_id="r-1"), Actor(user_id=BOB, label="bob", request_id="r-2")
    await act(database, organization.id, ada, ("opened", "1"), ("closed", "1"), ("opened", "2"))
    await act(database, organization.id, bob, ("opened", "3"), ("=cmd|' /C calc'!A0", "@4"))
    return http


async def lines(client: httpx.AsyncClient, **parameters: Any) -> list[dict[str, Any]]:
    """Return all lines that a search finds, page by page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        answer = await client.get(LOG, params=parameters | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


async def test_lines_come_newest_first_and_once_on_pages_of_any_size(auditor: httpx.AsyncClient) -> None:
    whole = await lines(auditor)

    assert [item["row_id"] for item in whole if item["table_name"] is None] == ["@4", "3", "2", "1", "1"]
    assert [item["occurred_at"] for item in whole] == sorted((item["occurred_at"] for item in whole), reverse=True)
    for limit in (1, 2, 3, 500):
        assert await lines(auditor, limit=limit) == whole


async def test_lines_of_one_instant_are_paged_by_id(
    auditor: httpx.AsyncClient, database: Database, organization: TestOrganization
) -> None:
    async with database.as_system() as connection:
        await connection.execute(
            "INSERT INTO platform.audit_log (organization_id, occurred_at, action)"
            " SELECT $1, date_trunc('hour', now()), 'at once' FROM generate_series(1, 9)",
            organization.id,
        )

    found = await lines(auditor, action="at once", limit=2)

    assert len({item["id"] for item in found}) == len(found) == 9


@pytest.mark.parametrize(
    ("narrowed", "expected"),
    [
        ({"action": "opened"}, ["3", "2", "1"]),
        ({"row_id": "1"}, ["1", "1"]),
        ({"actor_user_id": str(BOB)}, ["@4", "3"]),
        ({"request_id": "r-1"}, ["2", "1", "1"]),
        ({"actor": "BO"}, ["@4", "3"]),
        ({"actor": "%"}, []),
        ({"actor": "ada", "action": "closed"}, ["1"]),
        ({"request_id": "r-1", "action": "opened", "row_id": "2"}, ["2"]),
        ({"table_name": "metering.calls"}, []),
        ({"action": "OPENED"}, []),
    ],
)
async def test_a_search_narrows_by_what_it_names(
    auditor: httpx.AsyncClient, narrowed: dict[str, str], expected: list[str]
) -> None:
    assert [item["row_id"] for item in await lines(auditor, **narrowed)] == expected


async def test_rows_are_found_by_table_and_a_range_is_half_open(auditor: httpx.AsyncClient) -> None:
    keys = await lines(auditor, table_name="identity.access_keys")
    times = [item["occurred_at"] for item in await lines(auditor, action="opened")]

    assert [item["action"] for item in keys] == ["insert"] and keys[0]["new_row"]["key_hash"] == "[masked]"
    newest, middle, oldest = times
    between = await lines(auditor, action="opened", **{"from": oldest, "to": newest})
    assert [item["occurred_at"] for item in between] == [middle, oldest]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"from": "2026-01-01T00:00:00"}, "from"),
        ({"to": "yesterday"}, "to"),
        ({"actor_user_id": "ada"}, "actor_user_id"),
        ({"action": "a\x00b"}, "action"),
        ({"actor": "a\x00b"}, "actor"),
        ({"cursor": "nonsense"}, "cursor"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(
    auditor: httpx.AsyncClient, parameters: dict[str, str], field: str
) -> None:
    answer = await auditor.get(LOG, params=parameters)

    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert field in [fault["field"] for fault in answer.json()["errors"]]


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00"])
async def test_the_ends_of_time_are_no_failure(auditor: httpx.AsyncClient, at: str) -> None:
    for name in ("from", "to"):
        answer = await auditor.get(LOG, params={name: at})
        assert answer.status_code in {200, 400, 422}, answer.text


async def test_another_organizations_lines_are_in_no_page_and_no_export(
    auditor: httpx.AsyncClient, database: Database, http: httpx.AsyncClient
) -> None:
    stranger = await make_organization(database, "globex")
    await act(database, stranger.id, Actor(user_id=ADA, label="stranger", request_id="r-1"), ("opened", "theirs"))
    key = await key_of(database, stranger.id, "audit:read", "audit:export")

    for search in ({}, {"request_id": "r-1"}, {"actor_user_id": str(ADA)}, {"row_id": "theirs"}):
        assert all(item["row_id"] != "theirs" for item in await lines(auditor, **search))
    assert "theirs" not in (await auditor.get(f"{LOG}/export")).text
    # A cursor of one organization opens nothing in the other.
    cursor = (await auditor.get(LOG, params={"limit": 1})).json()["next_cursor"]
    answer = await http.get(LOG, params={"cursor": cursor}, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert not {"1", "2", "3", "@4"} & {item["row_id"] for item in answer.json()["items"]}


async def test_an_export_is_narrowed_as_a_search_is(auditor: httpx.AsyncClient) -> None:
    answer = await auditor.get(f"{LOG}/export", params={"actor": "Ada", "row_id": "1"})

    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["actor_label"], row["action"], row["row_id"]) for row in rows] == [
        ("ada", "closed", "1"), ("ada", "opened", "1"),
    ]  # fmt: skip


async def test_the_export_holds_every_line_runs_no_formula_and_is_written_down(
    auditor: httpx.AsyncClient, database: Database, organization: TestOrganization
) -> None:
    async with database.tenant(organization.id) as connection:
        await connection.execute(
            "SELECT platform.record_action_v1('many', n::text, '{}') FROM generate_series(1, 1100) AS n"
        )
    before = await lines(auditor, limit=500)

    answer = await auditor.get(f"{LOG}/export")

    assert (
        answer.headers["content-type"].startswith("text/csv") and "attachment" in answer.headers["content-disposition"]
    )
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    # The export's own line is the newest.
    assert rows[0]["action"] == "audit_log_export" and [row["id"] for row in rows[1:]] == [
        item["id"] for item in before
    ]
    assert max(Counter(row["id"] for row in rows).values()) == 1 and len(rows) > 1100
    assert not [cell for row in rows for cell in row.values() if cell[:1] in {"=", "+", "-", "@"}]
    (written,) = await lines(auditor, action="audit_log_export")
    assert written["actor_label"] and written["actor_key_id"]
    assert await lines(auditor, action="many", limit=500) == [item for item in before if item["action"] == "many"]


async def test_an_export_narrows_as_a_search_does(auditor: httpx.AsyncClient) -> None:
    answer = await auditor.get(f"{LOG}/export", params={"action": "opened"})

    assert [row["row_id"] for row in csv.DictReader(io.StringIO(answer.text))] == ["3", "2", "1"]


@pytest.mark.parametrize(
    ("scopes", "path", "status"),
    [
        (["audit:read"], LOG, 200),
        (["audit:export"], LOG, 403),
        (["audit:read"], f"{LOG}/export", 403),
        (["audit:export"], f"{LOG}/export", 200),
        (["metrics:read", "events:write"], LOG, 403),
        ([], LOG, 401),
        ([], f"{LOG}/export", 401),
    ],
)
async def test_each_way_in_needs_its_own_permission(
    http: httpx.AsyncClient,
    database: Database,
    organization: TestOrganization,
    scopes: list[str],
    path: str,
    status: int,
) -> None:
    key = await key_of(database, organization.id, *scopes) if scopes else None

    answer = await http.get(path, headers={"authorization": f"Bearer {key}"} if key else {})

    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.json()["errors"][0]["field"] == "permission"


@pytest.mark.parametrize(
    "instant", ["2026-01-31T12:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "yesterday", 5, None]
)
async def test_a_cursor_made_by_hand_is_a_fault_of_the_caller(auditor: httpx.AsyncClient, instant: object) -> None:
    refused = await auditor.get(LOG, params={"cursor": encode_cursor(instant, UUID(int=5))})

    assert refused.status_code == 422, refused.text
    assert refused.json()["type"] == "urn:nexus:problem:invalid_cursor"
    assert [fault["field"] for fault in refused.json()["errors"]] == ["cursor"]
