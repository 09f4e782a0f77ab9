"""Cached reads: the same answer as the meter's, shared within an organization, gone as soon as it no longer holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from nexus.contracts.redis_keys import cache_version
from nexus.dashboards import cached
from nexus.dashboards.cached import kind_of
from nexus.dataplane.ingest.live import LivePublisher
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.entry.control_plane import ControlPlane
from nexus.kit.clock import FixedClock
from nexus.kit.ids import uuid7
from nexus.metering.types import Question
from nexus.platform.db import Database
from nexus.platform.redis.cache import Kind, ReadCache
from nexus.platform.settings import Settings
from nexus.platform.web import WebState
from tests.conftest import TestOrganization
from tests.dashboards.test_live import make_key
from tests.metering.records import record, store_batch

NOW = datetime(2026, 4, 3, 12, tzinfo=UTC)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url, socket_timeout=2)
    yield client
    await client.aclose()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


def application(database: Database, redis: Redis | None, clock: FixedClock) -> httpx.AsyncClient:
    app = ControlPlane(WebState(database, Settings.from_environment({}), clock, redis=redis))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver")  # type: ignore[arg-type]


@pytest.fixture
async def client(database: Database, redis: Redis, clock: FixedClock) -> AsyncIterator[httpx.AsyncClient]:
    async with application(database, redis, clock) as made:
        yield made


async def ask(client: httpx.AsyncClient, key: str, path: str = "summary", **parameters: str) -> httpx.Response:
    return await client.get(
        f"/api/dashboards/{path}", params=parameters or {"last": "1h"}, headers={"authorization": f"Bearer {key}"}
    )


def requests(answer: httpx.Response) -> tuple[int, str]:
    assert answer.status_code == 200, answer.text
    found: int = answer.json()["total"]["requests"]
    return found, answer.headers["x-cache"]


async def store_calls(database: Database, organization: TestOrganization, count: int) -> None:
    rows = [record(NOW - timedelta(minutes=5, microseconds=n), cost_nanos=n) for n in range(count)]
    await store_batch(database, organization.id, rows)


async def test_an_answer_is_kept_until_calls_are_stored(
    client: httpx.AsyncClient, database: Database, redis: Redis, organization: TestOrganization
) -> None:
    key, _ = await make_key(database, organization.id, ["metrics:read"])
    await store_calls(database, organization, 3)

    first, second = requests(await ask(client, key)), requests(await ask(client, key))
    await store_calls(database, organization, 2)
    publisher = LivePublisher(redis, IngestMetrics(CollectorRegistry()))
    publisher.note(organization.id, 2)
    await publisher.flush()
    third = requests(await ask(client, key))

    assert (first, second, third) == ((3, "miss"), (3, "hit"), (5, "miss"))


async def test_an_answer_is_the_meter_s_own(
    client: httpx.AsyncClient, database: Database, organization: TestOrganization
) -> None:
    key, _ = await make_key(database, organization.id, ["metrics:read"])
    await store_calls(database, organization, 4)
    asked = {"from": (NOW - timedelta(hours=1)).isoformat(), "to": NOW.isoformat(), "group_by": "provider"}

    for path, more in (("summary", {}), ("series", {"interval": "5m"})):
        for _ in range(2):
            kept = await ask(client, key, path, **asked, **more)
            own = await client.get(
                f"/api/metering/{path}", params=asked | more, headers={"authorization": f"Bearer {key}"}
            )
            assert kept.json() | {"as_of": ""} == own.json() | {"as_of": ""}


async def test_one_organization_never_reads_another_s_answer(
    client: httpx.AsyncClient, database: Database, redis: Redis,
    two_organizations: tuple[TestOrganization, TestOrganization],
) -> None:  # fmt: skip
    mine, other = two_organizations
    keys = [(await make_key(database, owner.id, ["metrics:read"]))[0] for owner in (mine, other)]
    await store_calls(database, mine, 3)

    answers = [requests(await ask(client, key)) for key in keys]
    again = [requests(await ask(client, key)) for key in keys]
    names = [name.decode() for name in await redis.keys("nexus:cache:*")]
    await ReadCache(redis).changed(mine.id)
    after = [requests(await ask(client, key))[1] for key in keys]

    assert [found[0] for found in answers] == [found[0] for found in again] == [3, 0]
    assert all(str(mine.id) in name or str(other.id) in name for name in names) and len(names) == 2
    assert after == ["miss", "hit"]


async def test_who_may_not_read_figures_reads_no_kept_ones(
    client: httpx.AsyncClient, database: Database, organization: TestOrganization
) -> None:
    reader, _ = await make_key(database, organization.id, ["metrics:read"])
    writer, _ = await make_key(database, organization.id, ["events:write"])
    await ask(client, reader)

    assert (await ask(client, writer)).status_code == 403


async def test_questions_that_differ_are_kept_apart_and_the_order_of_parameters_does_not_matter(
    client: httpx.AsyncClient, database: Database, organization: TestOrganization
) -> None:
    key, _ = await make_key(database, organization.id, ["metrics:read"])
    headers = {"authorization": f"Bearer {key}"}
    queries = (
        "last=1h&provider=a", "last=1h&provider=b", "provider=a&last=1h", "last=6h&provider=a", "last=1h&model=a",
        "last=1h&provider=a&provider=b", "last=1h&provider=b&provider=a",
    )  # fmt: skip
    seen = [
        (await client.get(f"/api/dashboards/summary?{query}", headers=headers)).headers["x-cache"] for query in queries
    ]

    assert seen == ["miss", "miss", "hit", "miss", "miss", "miss", "hit"]


async def test_an_answer_that_was_overtaken_while_it_was_computed_is_not_read(
    redis: Redis, organization: TestOrganization
) -> None:
    cache = ReadCache(redis)
    stored = 1

    async def compute() -> bytes:
        found = b"%d" % stored
        await overtake()
        return found

    async def overtake() -> None:
        nonlocal stored
        if stored == 1:
            stored = 2
            await cache.changed(organization.id)

    first = await cache.read(organization.id, Kind.DASHBOARD, b"q", compute)
    second = await cache.read(organization.id, Kind.DASHBOARD, b"q", compute)

    assert (first.content, second.content, second.is_hit) == (b"1", b"2", False)


async def test_questions_at_once_are_computed_once(redis: Redis, organization: TestOrganization) -> None:
    cache = ReadCache(redis)
    computed = 0

    async def compute() -> bytes:
        nonlocal computed
        computed += 1
        await asyncio.sleep(0)
        return b"x"

    answers = await asyncio.gather(*(cache.read(organization.id, Kind.DASHBOARD, b"q", compute) for _ in range(20)))

    assert computed == 1 and {item.content for item in answers} == {b"x"}


@pytest.mark.parametrize("kind", list(Kind))
async def test_nothing_is_kept_longer_than_promised(redis: Redis, organization: TestOrganization, kind: Kind) -> None:
    async def compute() -> bytes:
        return b"x"

    await ReadCache(redis).read(organization.id, kind, b"q", compute)
    (key,) = await redis.keys(f"nexus:cache:*:{kind.label}:*")

    assert 0 < await redis.pttl(key) <= kind.seconds * 1000
    assert kind.seconds == {
        "METRICS_REALTIME": 30, "METRICS_HOURLY": 300, "METRICS_DAILY": 1800, "PROVIDER_STATUS": 60,
        "BUDGET_STATUS": 120, "DASHBOARD": 60, "PREFERENCES": 3600,
    }[kind.name]  # fmt: skip


async def test_prices_that_change_take_answers_out_of_use(
    client: httpx.AsyncClient, database: Database, organization: TestOrganization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "PRICES_SECONDS", 0.0)
    key, _ = await make_key(database, organization.id, ["metrics:read"])
    await ask(client, key)
    kept = (await ask(client, key)).headers["x-cache"]
    async with database.as_system() as connection:
        await connection.execute("UPDATE platform.snapshot_versions SET version = version + 1 WHERE name = 'prices'")

    assert kept == "hit" and (await ask(client, key)).headers["x-cache"] == "miss"


async def test_without_redis_the_database_answers(
    database: Database, clock: FixedClock, organization: TestOrganization
) -> None:
    key, _ = await make_key(database, organization.id, ["metrics:read"])
    await store_calls(database, organization, 3)
    gone = Redis.from_url("unix:///nonexistent/redis.sock", socket_timeout=2)
    for redis in (None, gone):
        async with application(database, redis, clock) as client:
            assert [requests(await ask(client, key)) for _ in range(2)] == [(3, "miss")] * 2
    await gone.aclose()


async def test_redis_that_does_not_answer_is_left_alone_for_a_while(organization: TestOrganization) -> None:
    at = 0.0
    asked = 0

    class Silent(Redis):
        async def get(self, name: Any) -> Any:
            nonlocal asked
            asked += 1
            raise TimeoutError

    async def compute() -> bytes:
        return b"x"

    cache = ReadCache(Silent(), monotonic=lambda: at)
    for _ in range(5):
        assert (await cache.read(organization.id, Kind.DASHBOARD, b"q", compute)).content == b"x"
    during = asked
    at = 10.0
    await cache.read(organization.id, Kind.DASHBOARD, b"q", compute)

    assert (during, asked) == (1, 2)


@pytest.mark.parametrize(
    ("interval", "hours", "kind"),
    [
        (None, 1, Kind.METRICS_REALTIME), (None, 24, Kind.METRICS_HOURLY), (None, 24 * 30, Kind.METRICS_DAILY),
        ("5m", 1, Kind.METRICS_REALTIME), ("1h", 24, Kind.METRICS_HOURLY), ("1d", 24 * 30, Kind.METRICS_DAILY),
    ],
)  # fmt: skip
def test_the_lifetime_follows_the_length_of_the_points(interval: str | None, hours: int, kind: Kind) -> None:
    assert kind_of(Question(start=NOW - timedelta(hours=hours), end=NOW, interval=interval)) is kind


@pytest.mark.parametrize("query", ["last=2h", "last=1h&last=6h", "last=1h&from=2026-04-03T00:00:00Z", "unheard=1"])
async def test_faulty_questions_are_refused_with_the_field(
    client: httpx.AsyncClient, database: Database, organization: TestOrganization, query: str
) -> None:
    key, _ = await make_key(database, organization.id, ["metrics:read"])

    answer = await client.get(f"/api/dashboards/summary?{query}", headers={"authorization": f"Bearer {key}"})

    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] in {"last", "unheard"}


def test_the_version_and_the_answers_of_an_organization_are_in_one_slot() -> None:
    owner = uuid7()

    assert f"{{{owner}}}" in cache_version(owner)
