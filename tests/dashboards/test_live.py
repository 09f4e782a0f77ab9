"""The live stream announces what was stored, to the organization's own viewers, as long as they may see it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from redis.asyncio import Redis

from nexus.contracts.keys import key_hash
from nexus.contracts.redis_keys import live_channel
from nexus.dashboards import service
from nexus.dashboards.service import UNSURE_SECONDS, Announcement, LiveHub, TooManyViewers
from nexus.entry.control_plane import ControlPlane
from nexus.identity import access_keys, principals, sessions, store
from nexus.identity.authentication import COOKIE, AuthenticationMiddleware
from nexus.kit.clock import FixedClock
from nexus.kit.ids import uuid7
from nexus.platform.db import SYSTEM_ACTOR, Database
from nexus.platform.db.configuration import get_configuration
from nexus.platform.settings import Settings
from nexus.platform.web import WebState
from tests.conftest import TestOrganization

NOW = datetime(2026, 4, 3, 12, tzinfo=UTC)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url, socket_timeout=2)
    yield client
    await client.aclose()


@pytest.fixture
def app(database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> ControlPlane:
    monkeypatch.setattr(service, "CHECK_SECONDS", 0.02)
    return ControlPlane(WebState(database, Settings.from_environment({}), FixedClock(NOW), redis=redis))


async def make_key(database: Database, organization_id: UUID, scopes: list[str]) -> tuple[str, UUID]:
    async with database.as_system() as connection:
        made = await access_keys.create(connection, organization_id, name="live", scopes=scopes, at=NOW)
    return made.key, made.access_key.id


class Stream:
    """One open request to an ASGI application, read event by event."""

    def __init__(self, app: Any, key: str = "", *, cookie: str = "") -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._leave = asyncio.Event()
        self._asked = False
        way_in = (b"authorization", f"Bearer {key}".encode()) if key else (b"cookie", f"{COOKIE}={cookie}".encode())
        headers = [way_in, (b"host", b"testserver")]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/api/live",
            "raw_path": b"/api/live", "query_string": b"", "root_path": "", "scheme": "http", "headers": headers,
            "server": ("testserver", 80), "client": ("127.0.0.1", 1), "state": {},
        }  # fmt: skip
        self.task = asyncio.create_task(app(scope, self._receive, self.messages.put))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._leave.wait()
        return {"type": "http.disconnect"}

    async def start(self) -> int:
        message = await asyncio.wait_for(self.messages.get(), 10)
        return int(message["status"])

    async def event(self, name: str) -> dict[str, Any]:
        """Return the data of the next event of a name; comments and others are passed over."""
        while True:
            message = await asyncio.wait_for(self.messages.get(), 10)
            text = message.get("body", b"").decode()
            if text.startswith(f"event: {name}\n"):
                found: dict[str, Any] = json.loads(text.split("data: ", 1)[1])
                return found
            assert message.get("more_body", False), "the stream ended"

    async def close(self) -> None:
        self._leave.set()
        await asyncio.wait_for(self.task, 10)


async def publish(redis: Redis, organization_id: UUID, stored: int) -> None:
    await redis.publish(live_channel(organization_id), json.dumps({"stored": stored, "at": "2026-04-03T12:00:01Z"}))


async def stored(stream: Stream, count: int) -> None:
    """Read until so many were announced."""
    seen = 0
    while seen < count:
        seen += (await stream.event("calls"))["stored"]
    assert seen == count


async def test_viewers_hear_of_their_own_organization_only(
    app: ControlPlane, database: Database, redis: Redis, two_organizations: tuple[TestOrganization, TestOrganization]
) -> None:
    mine, other = two_organizations
    first = Stream(app, (await make_key(database, mine.id, ["metrics:read"]))[0])
    second = Stream(app, (await make_key(database, mine.id, ["*"]))[0])
    foreign = Stream(app, (await make_key(database, other.id, ["*"]))[0])
    for stream in (first, second, foreign):
        assert await stream.start() == 200
    # What comes first says that the subscription stands.
    for stream in (first, second):
        assert (await stream.event("calls"))["stored"] == 0

    while await redis.publish(live_channel(other.id), b'{"stored": 5, "at": "x"}') == 0:
        await asyncio.sleep(0)
    await publish(redis, mine.id, 2)
    await publish(redis, mine.id, 3)

    await stored(first, 5)
    await stored(second, 5)
    await stored(foreign, 5)
    assert len(await redis.pubsub_channels("nexus:live:*")) == 2
    for stream in (first, second, foreign):
        await stream.close()


async def test_a_revoked_key_ends_its_stream_and_no_other(
    app: ControlPlane, database: Database, redis: Redis, organization: TestOrganization
) -> None:
    key, key_id = await make_key(database, organization.id, ["metrics:read"])
    ended = Stream(app, key)
    staying = Stream(app, (await make_key(database, organization.id, ["metrics:read"]))[0])
    for stream in (ended, staying):
        assert await stream.start() == 200
        await stream.event("calls")

    async with database.as_system() as connection:
        await connection.execute("UPDATE identity.access_keys SET revoked_at = $2 WHERE id = $1", key_id, NOW)

    assert await ended.event("end") == {}
    assert (await asyncio.wait_for(ended.messages.get(), 10)).get("more_body", False) is False
    await ended.close()
    await publish(redis, organization.id, 4)
    await stored(staying, 4)
    await staying.close()


async def test_who_may_not_read_metrics_gets_no_stream(
    app: ControlPlane, database: Database, organization: TestOrganization
) -> None:
    stream = Stream(app, (await make_key(database, organization.id, ["events:write"]))[0])

    assert await stream.start() == 403
    await stream.task


async def allowed() -> bool:
    return True


async def version() -> int:
    return 1


def hub_of(redis: Redis | None, version_of: Callable[[], Awaitable[int]] = version) -> LiveHub:
    return LiveHub(redis, version_of, FixedClock(NOW))


async def test_a_slow_viewer_hears_the_sum(redis: Redis) -> None:
    hub = hub_of(redis)
    owner = UUID(int=3)
    watching = hub.watch(hub.viewer(owner, allowed))
    assert await anext(watching) is None
    assert await anext(watching) == Announcement(0, "2026-04-03T12:00:00Z")
    for count in (1, 2, 3):
        await publish(redis, owner, count)

    heard = 0
    while heard < 6:
        found = await anext(watching)
        heard += found.stored if found else 0
    assert heard == 6
    await watching.aclose()
    assert hub.viewers == 0


async def test_nonsense_on_the_channel_is_passed_over(redis: Redis) -> None:
    hub = hub_of(redis)
    owner = UUID(int=3)
    watching = hub.watch(hub.viewer(owner, allowed))
    await anext(watching)
    await anext(watching)
    await redis.publish(live_channel(owner), b"\xff{")
    await publish(redis, owner, 9)

    found = await anext(watching)
    assert found is not None and found.stored == 9
    await watching.aclose()


async def test_a_quiet_stream_shows_that_it_lives_and_asks_whether_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "HEARTBEAT_SECONDS", 0.01)
    answers = iter([True, True, False])

    async def may() -> bool:
        return next(answers)

    hub = hub_of(None)
    heard = [item async for item in hub.watch(hub.viewer(UUID(int=1), may))]

    # One of the answers is taken by the first look at the keys, which shows nothing unless it meets a sign of life.
    assert heard in ([None, None], [None, None, None])


async def test_a_process_holds_so_many_streams_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_VIEWERS", 1)
    hub = hub_of(None)
    watching = hub.watch(hub.viewer(UUID(int=1), allowed))
    await anext(watching)

    with pytest.raises(TooManyViewers):
        hub.viewer(UUID(int=2), allowed)
    await watching.aclose()


async def test_viewers_of_one_credential_are_asked_together_after_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "CHECK_SECONDS", 0.01)
    versions, asked = [1], []

    async def may() -> bool:
        asked.append(versions[0])
        return versions[0] < 3

    async def version_now() -> int:
        return versions[0]

    hub = hub_of(None, version_now)
    streams = [hub.watch(hub.viewer(UUID(int=1), may, credential="one")) for _ in range(20)]
    other = hub.watch(hub.viewer(UUID(int=1), allowed, credential="other"))
    for stream in [*streams, other]:
        assert await anext(stream) is None
    ends = [asyncio.create_task(anext(stream, None)) for stream in streams]
    for number in (2, 3):
        while number - 1 not in asked:
            await asyncio.sleep(0)
        versions[0] = number
    await asyncio.gather(*ends)

    assert asked == [1, 2, 3]
    assert hub.viewers == 1, "who asks by another credential stays"
    await other.aclose()


async def test_who_cannot_be_asked_about_stays_for_a_while_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "HEARTBEAT_SECONDS", 0.01)
    now, is_away = [100.0], [True]

    async def may() -> bool:
        if is_away[0]:
            raise OSError
        return True

    hub = LiveHub(None, version, FixedClock(NOW), monotonic=lambda: now[0])
    watching = hub.watch(hub.viewer(UUID(int=1), may))
    assert [await anext(watching) for _ in range(3)] == [None] * 3
    # Known again shortly before the time is over: then it begins anew.
    now[0] += UNSURE_SECONDS - 1
    is_away[0] = False
    assert [await anext(watching) for _ in range(3)] == [None] * 3
    is_away[0] = True
    now[0] += UNSURE_SECONDS - 1
    assert [await anext(watching) for _ in range(3)] == [None] * 3
    now[0] += 1

    assert await anext(watching, "ended") == "ended"
    assert hub.viewers == 0


async def test_a_fault_in_asking_ends_the_stream_and_the_looking_for_changes_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(service, "CHECK_SECONDS", 0.01)
    looked = []

    async def broken() -> bool:
        raise ZeroDivisionError

    async def broken_version() -> int:
        looked.append(1)
        raise ZeroDivisionError

    hub = hub_of(None, broken_version)
    other = hub.watch(hub.viewer(UUID(int=2), allowed))
    assert await anext(other) is None
    with pytest.raises(ZeroDivisionError):
        [item async for item in hub.watch(hub.viewer(UUID(int=1), broken))]
    before = len(looked)
    while len(looked) < before + 3:
        await anext(other)

    assert hub.viewers == 1
    await other.aclose()


async def test_streams_end_with_their_process_and_those_that_come_late_too() -> None:
    hub = hub_of(None)
    viewer = hub.viewer(UUID(int=1), allowed)
    watching = hub.watch(viewer)
    await anext(watching)
    waiting = asyncio.create_task(anext(watching, "ended"))

    hub.end()

    assert await waiting == "ended" and viewer.is_gone
    assert [item async for item in hub.watch(hub.viewer(UUID(int=1), allowed))] == [None]
    assert hub.viewers == 0


async def member_with_sessions(
    database: Database, organization_id: UUID, name: str, count: int
) -> tuple[UUID, list[str]]:
    """Make a member who may look; returns their id and the tokens of sessions of theirs."""
    user_id = uuid7()
    async with database.as_system() as connection:
        await store.insert_user(connection, user_id, f"{name}@example.com", None, "", "UTC", "en")
        await store.run(connection, "add_member", organization_id, user_id, "viewer", [], None)
        rules = await get_configuration(connection)
        opened = [await sessions.open_session(connection, user_id, SYSTEM_ACTOR, NOW, rules) for _ in range(count)]
    return user_id, [session.token for session in opened]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE identity.sessions SET revoked_at = now() WHERE user_id = $1",
        "DELETE FROM identity.memberships WHERE user_id = $1",
        "UPDATE identity.users SET is_active = false WHERE id = $1",
    ],
)
async def test_streams_of_sessions_that_hold_no_more_end_and_the_others_are_not_asked_one_by_one(
    app: ControlPlane,
    database: Database,
    redis: Redis,
    organization: TestOrganization,
    admin_connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    leaver, gone = await member_with_sessions(database, organization.id, "leaver", 2)
    _, kept = await member_with_sessions(database, organization.id, "stays", 3)
    ending, staying = ([Stream(app, cookie=token) for token in tokens] for tokens in (gone, kept))
    for stream in [*ending, *staying]:
        assert await stream.start() == 200
        await stream.event("calls")
    alone: list[Any] = []
    authenticate = AuthenticationMiddleware.authenticate_request

    async def counted(self: AuthenticationMiddleware, connection: Any) -> Any:
        alone.append(connection.cookies[COOKIE])
        return await authenticate(self, connection)

    monkeypatch.setattr(AuthenticationMiddleware, "authenticate_request", counted)
    await admin_connection.execute(change, leaver)
    # A session's own end changes no table of keys: any change of keys is the occasion to look.
    await make_key(database, organization.id, ["*"])

    for stream in ending:
        assert await stream.event("end") == {}
    assert set(alone) == set(gone)
    await publish(redis, organization.id, 7)
    for stream in staying:
        await stored(stream, 7)
    for stream in [*ending, *staying]:
        await stream.close()


async def test_one_question_tells_of_many_sessions_who_may_do_something_in_one_organization(
    database: Database, two_organizations: tuple[TestOrganization, TestOrganization]
) -> None:
    mine, other = two_organizations
    _, ours = await member_with_sessions(database, mine.id, "one", 2)
    _, theirs = await member_with_sessions(database, other.id, "two", 1)
    hashes = [key_hash(token) for token in [*ours, *theirs, "never opened"]]

    async def told(owner: UUID, permission: str, at: datetime = NOW) -> frozenset[bytes]:
        async with database.as_system(readonly=True) as connection:
            return await principals.sessions_that_may(connection, hashes, owner, permission, at)

    assert await told(mine.id, "metrics:read") == set(hashes[:2])
    assert await told(other.id, "metrics:read") == {hashes[2]}
    assert await told(mine.id, "user:create") == set(), "a viewer makes no users"
    assert await told(mine.id, "metrics:read", NOW + timedelta(days=60)) == set(), "they have expired"
