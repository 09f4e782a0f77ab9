"""Settings, reading and deletion of bodies: who may, what is told where there is nothing, and that it goes in time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from nexus.contracts.bodies import StoredBody, body_context, is_sampled, pack, unpack
from nexus.dataplane import store as dataplane_store
from nexus.entry.control_plane import ControlPlane
from nexus.kit.clock import FixedClock
from nexus.kit.ids import uuid7, uuid7_time
from nexus.metering import body_jobs
from nexus.metering.body_jobs import delete_old_bodies, drop_body_days
from nexus.platform.db import Database
from nexus.platform.sealing import Sealer
from nexus.platform.settings import Settings
from nexus.platform.web import WebState
from tests.conftest import TestOrganization, make_organization
from tests.metering.conftest import NOW, Api, make_key
from tests.metering.records import record, store_batch

SECRET_KEY = "a key for these tests and long enough"
SEALER = Sealer([SECRET_KEY])
ON = {"is_on": True}


@pytest.fixture
async def http(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    app = ControlPlane(WebState(database, Settings.from_environment({"NEXUS_SECRET_KEY": SECRET_KEY}), FixedClock(NOW)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


async def put(api: Api, settings: dict[str, Any]) -> httpx.Response:
    return await api.http.put(
        "/api/metering/body-settings", json=settings, headers={"authorization": f"Bearer {api.key}"}
    )


async def purge(api: Api) -> httpx.Response:
    return await api.http.delete("/api/metering/bodies", headers={"authorization": f"Bearer {api.key}"})


def body(organization_id: UUID, call_id: UUID, side: str, text: str, sealer: Sealer = SEALER) -> StoredBody:
    key_at = uuid7_time(call_id)
    assert key_at is not None
    sealed = sealer.seal(pack(text), body_context(organization_id, call_id, side))
    return StoredBody(
        organization_id, key_at, call_id, side, "text", "application/json", len(text), False, {"card": 1}, sealed
    )


async def keep(database: Database, *rows: StoredBody) -> None:
    async with database.as_writer([row.organization_id for row in rows]) as connection:
        await dataplane_store.store_call_bodies(connection, rows)


async def called(
    database: Database, organization_id: UUID, at: datetime, *, is_kept: bool = False, **fields: Any
) -> UUID:
    """Store a call of the gateway, and its bodies if they are kept."""
    call_id = fields.pop("call_id", None) or uuid7(at)
    made = record(at, call_id=call_id, **{"metadata": {"gateway": {"attempt": 1}}, "status_code": 200, **fields})
    await store_batch(database, organization_id, [made])
    if is_kept:
        await keep(database, *(body(organization_id, call_id, side, f"the {side}") for side in ("request", "response")))
    return call_id


async def audited(admin: asyncpg.Connection, action: str) -> list[asyncpg.Record]:
    return list(await admin.fetch("SELECT * FROM platform.audit_log WHERE action = $1", action))


async def test_settings_begin_turned_off_and_are_changed_as_a_whole(
    api: Api, admin_connection: asyncpg.Connection
) -> None:
    before = (await api.get("body-settings")).json()
    assert before["is_on"] is False and before["on_since"] is None
    assert (before["share"], before["max_body_bytes"], before["keep_days"]) == (1.0, 65536, 7)
    assert before["masks"] == ["email", "phone", "card", "iban", "ip"]

    changed = await put(api, {**ON, "share": 0.1, "masks": ["ip"], "fields": ["ssn"], "words": ["Projekt Blau"]})

    assert changed.status_code == 200, changed.text
    assert changed.json() == (await api.get("body-settings")).json()
    assert changed.json() == before | {
        "is_on": True, "share": 0.1, "masks": ["ip"], "fields": ["ssn"], "words": ["Projekt Blau"],
        "on_since": "2026-04-03T12:00:00Z", "changed_at": "2026-04-03T12:00:00Z",
    }  # fmt: skip
    assert (await put(api, {})).json()["is_on"] is False
    log = await audited(admin_connection, "insert")
    lines = [line for line in log if line["table_name"] == "metering.body_settings"]
    assert len(lines) == 1 and "Blau" not in str(dict(lines[0])) and "ssn" in str(dict(lines[0]))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"share": 0}, "share"),
        ({"share": 1.5}, "share"),
        ({"max_body_bytes": 5}, "max_body_bytes"),
        ({"keep_days": 91}, "keep_days"),
        ({"masks": ["secret"]}, "masks"),
        ({"masks": ["ip", "ip"]}, "masks"),
        ({"fields": ["a", "A"]}, "fields"),
        ({"words": ["ab"]}, "words"),
        ({"words": ["   "]}, "words"),
        ({"words": ["a\u0000b"]}, "words"),
        ({"providers": []}, "providers"),
        ({"providers": ["No"]}, "providers"),
        ({"patterns": ["(a+)+$"]}, "patterns"),
    ],
)
async def test_settings_that_cannot_be_are_refused_by_name(api: Api, wrong: dict[str, Any], named: str) -> None:
    answer = await put(api, ON | wrong)

    assert answer.status_code in {400, 422} and named in answer.text
    assert (await api.get("body-settings")).json()["is_on"] is False


async def test_each_thing_asks_for_its_own_permission(
    database: Database, http: httpx.AsyncClient, organization: TestOrganization
) -> None:
    call_id = await called(database, organization.id, NOW - timedelta(hours=1), is_kept=True)
    for scope in ("bodies:read", "bodies:manage", "metrics:read"):
        api = Api(http, await make_key(database, organization.id, [scope]))
        answers = [
            await api.get(f"calls/{call_id}/bodies"),
            await api.get("body-settings"),
            await put(api, {}),
            await purge(api),
        ]
        allowed = [answer.status_code < 300 for answer in answers]
        assert (
            allowed
            == {
                "bodies:read": [True, False, False, False],
                "bodies:manage": [False, True, True, True],
                "metrics:read": [False] * 4,
            }[scope]
        )


async def test_reading_shows_both_sides_and_is_written_down(
    database: Database, api: Api, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    call_id = await called(database, organization.id, NOW - timedelta(hours=1), is_kept=True)
    await put(api, ON)

    found = (await api.get(f"calls/{call_id}/bodies")).json()

    assert found["why"] == "kept" and found["until"] == "2026-04-10T11:00:00Z"
    assert found["request"] == {
        "state": "text", "media_type": "application/json", "size_bytes": 11, "is_cut": False, "masked": {"card": 1},
        "text": "the request",
    }  # fmt: skip
    assert found["response"]["text"] == "the response"
    (line,) = await audited(admin_connection, "call_bodies_read")
    assert line["row_id"] == str(call_id) and line["organization_id"] == organization.id
    assert line["actor_key_id"] is not None


async def test_what_is_sealed_under_a_key_that_is_gone_says_so(
    database: Database, api: Api, organization: TestOrganization
) -> None:
    call_id = await called(database, organization.id, NOW - timedelta(hours=1))
    await keep(database, body(organization.id, call_id, "request", "x", Sealer(["another key that was replaced"])))

    found = (await api.get(f"calls/{call_id}/bodies")).json()

    assert (found["why"], found["request"]["state"], found["request"]["text"]) == ("kept", "sealed", None)


async def test_a_body_opens_in_its_own_row_only(
    database: Database, api: Api, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    call_id = await called(database, organization.id, NOW - timedelta(hours=1), is_kept=True)
    await admin_connection.execute(
        "UPDATE metering.call_bodies SET sealed = (SELECT sealed FROM metering.call_bodies WHERE side = 'response')"
    )

    found = (await api.get(f"calls/{call_id}/bodies")).json()

    assert found["request"]["state"] == "sealed" and found["response"]["text"] == "the response"


def id_that(at: datetime, share: float, *, is_in: bool) -> UUID:
    return next(item for item in iter(lambda: uuid7(at), None) if is_sampled(item, share) is is_in)


async def test_where_there_is_nothing_it_is_said_why(
    database: Database, api: Api, organization: TestOrganization
) -> None:
    day, share = timedelta(days=1), 0.5

    async def why(**fields: Any) -> str:
        at = fields.pop("at", NOW - day)
        call_id = await called(database, organization.id, at, call_id=id_that(at, share, is_in=True), **fields)
        answer = await api.get(f"calls/{call_id}/bodies")
        assert answer.json()["request"] is None and answer.json()["response"] is None
        return str(answer.json()["why"])

    assert await why() == "off"
    await put(api, ON | {"share": share})
    assert await why() == "off_then"
    async with database.tenant(organization.id) as connection:
        await connection.execute("UPDATE metering.body_settings SET on_since = $1", NOW - 30 * day)
    assert await why() == "not_kept"
    assert await why(at=NOW - timedelta(seconds=5)) == "on_its_way"
    assert await why(at=NOW - 8 * day) == "over_its_time"
    assert await why(at=NOW - 8 * day, is_kept=True) == "over_its_time"
    assert await why(status_code=101) == "session"
    assert await why(metadata=None) == "not_through_gateway"
    sampled_out = await called(database, organization.id, NOW - day, call_id=id_that(NOW - day, share, is_in=False))
    assert (await api.get(f"calls/{sampled_out}/bodies")).json()["why"] == "not_sampled"
    await put(api, ON | {"share": share, "only_failed": True})
    assert await why() == "not_failed" and await why(status_code=500) == "not_kept"
    await put(api, ON | {"share": share, "providers": ["nobody"]})
    assert await why() == "other_provider"
    assert (await purge(api)).status_code == 204
    assert await why(is_kept=True) == "purged"


async def test_calls_that_are_not_there_are_not_found(database: Database, api: Api) -> None:
    other = await make_organization(database, "globex")
    theirs = await called(database, other.id, NOW - timedelta(hours=1), is_kept=True)

    for call_id in (theirs, uuid7(NOW), uuid4()):
        answer = await api.get(f"calls/{call_id}/bodies")
        assert answer.status_code == 404 and answer.json()["type"].endswith("call_not_found")


async def count(database: Database, organization_id: UUID) -> int:
    async with database.as_system() as connection:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM metering.call_bodies WHERE organization_id = $1", organization_id
        )
    return found


async def test_bodies_go_when_their_organization_s_time_is_over(
    database: Database, http: httpx.AsyncClient, two_organizations: tuple[TestOrganization, TestOrganization],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(body_jobs, "BATCH", 3)
    for organization, days in zip(two_organizations, (3, 30), strict=True):
        api = Api(http, await make_key(database, organization.id, ["*"]))
        assert (await put(api, ON | {"keep_days": days})).status_code == 200
        for age in range(10):
            at = NOW - timedelta(days=age, minutes=1)
            await keep(database, *(body(organization.id, uuid7(at), side, "x") for side in ("request", "response")))
    short, long = two_organizations

    assert await delete_old_bodies(database, NOW) == 14

    assert (await count(database, short.id), await count(database, long.id)) == (6, 20)
    assert await delete_old_bodies(database, NOW) == 0
    assert await delete_old_bodies(database, NOW + timedelta(days=1)) == 2


async def test_a_purge_hides_at_once_and_deletes_one_s_own_only(
    database: Database, http: httpx.AsyncClient, two_organizations: tuple[TestOrganization, TestOrganization],
    admin_connection: asyncpg.Connection,
) -> None:  # fmt: skip
    mine, other = two_organizations
    api = Api(http, await make_key(database, mine.id, ["*"]))
    await put(api, ON)
    before = await called(database, mine.id, NOW - timedelta(minutes=1), is_kept=True)
    after = await called(database, mine.id, NOW + timedelta(minutes=1), is_kept=True)
    await called(database, other.id, NOW - timedelta(minutes=1), is_kept=True)

    assert (await purge(api)).status_code == 204

    assert (await api.get(f"calls/{before}/bodies")).json()["why"] == "purged"
    assert (await api.get(f"calls/{after}/bodies")).json()["why"] == "kept"
    assert await delete_old_bodies(database, NOW) == 2
    assert (await count(database, mine.id), await count(database, other.id)) == (2, 2)
    # Who did it is in the log, with the settings' other changes.
    lines = [
        line for line in await audited(admin_connection, "update") if line["table_name"] == "metering.body_settings"
    ]
    assert any("purged_at" in str(line["new_row"]) and line["actor_key_id"] for line in lines)


async def test_days_in_which_nothing_is_left_are_dropped(
    database: Database, api: Api, organization: TestOrganization
) -> None:
    now = datetime.now(UTC)
    await put(api, ON | {"keep_days": 10})
    for age in (4, 12, 95):
        await keep(database, body(organization.id, uuid7(now - timedelta(days=age)), "request", "x"))
    async with database.as_system() as connection:
        days = await connection.fetchval(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'metering.call_bodies'::regclass"
        )
    assert await drop_body_days(database, now) == 1

    assert await delete_old_bodies(database, now) == 1
    assert await drop_body_days(database, now) == 1
    async with database.as_system() as connection:
        left = await connection.fetchval(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'metering.call_bodies'::regclass"
        )
    assert (days - left, await count(database, organization.id)) == (2, 1)


async def test_no_login_but_the_service_s_reads_bodies_and_the_writer_not_even_its_own(
    database: Database, organization: TestOrganization
) -> None:
    await called(database, organization.id, NOW, is_kept=True)

    async with database.as_writer([organization.id]) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM metering.call_bodies")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.as_writer([uuid4()]) as connection:
            await dataplane_store.store_call_bodies(connection, [body(organization.id, uuid7(NOW), "request", "x")])


def test_a_packed_body_that_is_damaged_or_a_bomb_is_refused() -> None:
    from backports import zstd

    assert unpack(pack("ä" * 1000)) == "ä" * 1000
    for wrong in (b"", b"no zstd", pack("abc")[:-2], zstd.compress(b"0" * 100_000_000)):
        with pytest.raises(ValueError):
            unpack(wrong)
