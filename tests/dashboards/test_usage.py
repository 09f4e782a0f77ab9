"""Product analytics: counted per day and page, nothing but closed words, nobody named, off by a setting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest

from nexus.dashboards import jobs, usage
from nexus.entry.control_plane import ControlPlane
from nexus.identity import service
from nexus.identity.types import FirstStart
from nexus.kit.clock import FixedClock
from nexus.kit.ids import uuid7
from nexus.platform.db import Database
from nexus.platform.db.configuration import set_configuration
from nexus.platform.settings import Settings
from nexus.platform.web import WebState

PASSWORD = "correct horse battery"
PATH = "/api/dashboards/usage"


@pytest.fixture
async def first(database: Database) -> FirstStart:
    async with database.as_system() as connection:
        made = await service.first_start(connection, at=datetime.now(UTC), email="ada@example.com", password=PASSWORD)
    assert made is not None
    return made


@pytest.fixture
async def client(database: Database, first: FirstStart) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings.from_environment({"NEXUS_SECRET_KEY": "a key for tests, long enough to be one"})
    app = ControlPlane(WebState(database, settings, FixedClock(datetime.now(UTC))))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://testserver",  # type: ignore[arg-type]
    ) as made:
        answer = await made.post("/api/identity/sign-in", json={"email": "ada@example.com", "password": PASSWORD})
        assert answer.status_code == 200
        yield made


def event(name: str = "page_viewed", page: str = "overview", duration_ms: int = 0) -> dict[str, object]:
    return {"event": name, "page": page, "duration_ms": duration_ms}


async def test_events_add_up_per_day_and_page(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        sent = await client.post(
            PATH, json={"events": [event(duration_ms=100), event(duration_ms=50), event("exported", "costs")]}
        )
        assert sent.status_code == 204, sent.text

    found = (await client.get(PATH)).json()

    today = datetime.now(UTC).date().isoformat()
    assert found["is_enabled"] is True
    assert found["days"] == [
        {"day": today, "event": "page_viewed", "page": "overview", "events": 4, "visitors": 1, "duration_ms": 300},
        {"day": today, "event": "exported", "page": "costs", "events": 2, "visitors": 1, "duration_ms": 0},
    ]


async def test_what_was_made_comes_from_the_audit_log(client: httpx.AsyncClient) -> None:
    for name in ("a", "b"):
        await client.post("/api/identity/access-keys", json={"name": name, "scopes": ["metrics:read"]})

    made = (await client.get(PATH)).json()["made"]

    # One key is the first start's.
    assert {item["what"]: item["made"] for item in made}["identity.access_keys"] == 3


@pytest.mark.parametrize(
    "body",
    [
        {"events": [event("typed ada@example.com")]}, {"events": [event(page="/calls/0199")]}, {"events": []},
        {"events": [event() | {"email": "ada@example.com"}]}, {"events": [event(duration_ms=-1)]},
        {"events": [event()] * 201},
    ],
)  # fmt: skip
async def test_only_closed_words_are_taken(client: httpx.AsyncClient, body: object) -> None:
    assert (await client.post(PATH, json=body)).status_code == 422


async def test_nobody_is_named(client: httpx.AsyncClient, admin_connection: asyncpg.Connection) -> None:
    await client.post(PATH, json={"events": [event()]})
    me = (await client.get("/api/identity/me")).json()["user"]

    row = await admin_connection.fetchrow("SELECT * FROM dashboards.usage_days")

    assert me["id"].replace("-", "") not in bytes(row["visitor"]).hex()
    assert set(row.keys()) == {"organization_id", "day_at", "event", "page", "visitor", "events", "duration_ms"}


def test_a_visitor_is_another_next_month_elsewhere_and_under_another_key() -> None:
    organization, person, at = uuid7(), uuid7(), datetime(2026, 4, 30, 23, tzinfo=UTC)
    known = usage.visitor_of("k", organization, person, at)

    assert known == usage.visitor_of("k", organization, person, at - timedelta(days=20))
    others = [
        usage.visitor_of("k", organization, person, at + timedelta(hours=2)),
        usage.visitor_of("k", uuid7(), person, at),
        usage.visitor_of("k", organization, uuid7(), at),
        usage.visitor_of("other", organization, person, at),
    ]
    assert len({known, *others}) == 5


async def test_off_by_a_setting(
    client: httpx.AsyncClient, database: Database, admin_connection: asyncpg.Connection
) -> None:
    async with database.as_system() as connection:
        await set_configuration(connection, "analytics.enabled", False)

    sent = await client.post(PATH, json={"events": [event()]})

    assert sent.status_code == 204
    assert await admin_connection.fetchval("SELECT count(*) FROM dashboards.usage_days") == 0
    assert (await client.get(PATH)).json() == {"is_enabled": False, "days": [], "made": []}


async def test_the_use_by_programs_is_not_counted(client: httpx.AsyncClient, first: FirstStart) -> None:
    client.cookies.clear()

    answer = await client.post(
        PATH, json={"events": [event()]}, headers={"authorization": f"Bearer {first.access_key}"}
    )

    assert answer.status_code == 403


async def test_one_organization_s_use_is_not_another_s(client: httpx.AsyncClient) -> None:
    await client.post("/api/identity/organizations", json={"name": "Globex", "slug": "globex"})
    await client.post(PATH, json={"events": [event()]})

    other = (await client.get(PATH, headers={"x-nexus-organization": "globex"})).json()

    assert other["days"] == []


async def test_months_past_their_time_are_dropped(
    client: httpx.AsyncClient, first: FirstStart, database: Database, owner_connection: asyncpg.Connection
) -> None:
    old = datetime.now(UTC) - timedelta(days=430)
    await client.post(PATH, json={"events": [event()]})
    async with database.as_system() as connection:
        await connection.execute("SELECT platform.ensure_partition_v1('dashboards.usage_days', $1)", old)
    async with database.tenant(first.organization_id) as connection:
        await connection.execute(
            "INSERT INTO dashboards.usage_days VALUES ($1, $2, 'exported', 'costs', $3, 1, 0)",
            first.organization_id, old, b"v" * 16,
        )  # fmt: skip

    dropped = [await jobs.forget_old_usage(database) for _ in range(2)]

    assert dropped == [1, 0]
    left = (await client.get(PATH, params={"days": 365})).json()["days"]
    assert [item["event"] for item in left] == ["page_viewed"]
