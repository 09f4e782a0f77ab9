"""Every call is recorded once: when the client leaves, when the process is killed, while PostgreSQL is away."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from nexus.dataplane.gateway import recorder
from nexus.dataplane.gateway.collector import duty_of
from nexus.dataplane.gateway.exchange import interrupted
from nexus.dataplane.gateway.journal import Begin, End, Journal
from nexus.dataplane.gateway.recorder import Recorder
from nexus.dataplane.ingest.commit import DatabaseTroubleError
from nexus.dataplane.ingest.record_type import RecordType
from nexus.dataplane.store import Stored
from nexus.kit.ids import uuid7_text
from nexus.platform.db import Database
from tests.dataplane.decide.cases import limit
from tests.dataplane.gateway.conftest import Node
from tests.dataplane.gateway.limited import DAY, Limited


def chat(node: Node, url: str | None = None, **sandbox: Any) -> Any:
    """Arguments of a streamed chat."""
    headers = {f"x-sandbox-{name.replace('_', '-')}": str(value) for name, value in sandbox.items()}
    return {
        "url": f"{url or node.url}/gw/openai/v1/chat/completions",
        "headers": {"authorization": f"Bearer {node.key}", **headers},
        "json": {"model": "sandbox-1", "stream": True, "messages": [{"role": "user", "content": "hello"}]},
    }


async def read_events(answer: aiohttp.ClientResponse, count: int) -> None:
    for _ in range(count):
        await answer.content.readuntil(b"\n\n")


async def test_a_client_that_leaves_at_chunk_5_of_200_is_billed_what_the_provider_reports(node: Node) -> None:
    async with aiohttp.ClientSession() as client:
        answer = await client.post(**chat(node, chunks=200, chunk_ms=5, usage="input=11,output=222"))
        await read_events(answer, 5)
        answer.close()

        (row,) = await node.calls(within_seconds=10)

    assert (row["input_tokens"], row["output_tokens"]) == (11, 222)
    assert row["error_type"] == "client_left" and row["status_code"] == 200
    assert row["metadata"]["gateway"] == row["metadata"]["gateway"] | {"usage": "exact", "client_left": True}
    assert 0 < row["metadata"]["gateway"]["queue_ms"] < 60_000
    assert Decimal(row["cost"]) == Decimal("0.002242")


async def test_beyond_the_cap_what_streamed_is_estimated(node: Node) -> None:
    async with node.database.as_system() as connection:
        await connection.execute(
            "UPDATE catalog.providers SET metadata = $1 WHERE slug = 'openai'",
            {"gateway": {"drain_seconds": 0.3}},
        )
    await node.snapshots.refresh()
    async with aiohttp.ClientSession() as client:
        answer = await client.post(**chat(node, chunks=400, chunk_ms=20))
        await read_events(answer, 5)
        answer.close()

        (row,) = await node.calls(within_seconds=10)

    assert row["metadata"]["gateway"]["usage"] == "estimated" and row["error_type"] == "client_left"
    assert 5 <= row["output_tokens"] < 200 and Decimal(row["cost"]) > 0


async def test_a_client_that_leaves_before_the_first_byte_is_recorded(node: Node) -> None:
    async with aiohttp.ClientSession() as client:
        with pytest.raises(TimeoutError):
            await client.post(
                **chat(node, latency_ms=600, usage="input=3,output=4"), timeout=aiohttp.ClientTimeout(0.2)
            )

        (row,) = await node.calls(within_seconds=10)

    assert (row["input_tokens"], row["output_tokens"]) == (3, 4)


async def stored(database: Database, count: int) -> list[Any]:
    rows: list[Any] = []
    for _ in range(500):
        async with database.as_system() as connection:
            rows = await connection.fetch("SELECT * FROM metering.calls ORDER BY id")
        if len(rows) >= count:
            break
        await asyncio.sleep(0.02)
    return rows


async def test_killed_with_50_streams_open_each_is_recorded_once(node: Node, tmp_path: Path) -> None:
    told = {"urls": asdict(node.database.urls), "data_dir": str(node.data_dir)}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.dataplane.gateway.child", stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"NEXUS_TEST_CHILD": json.dumps(told)},
    )  # fmt: skip
    assert child.stdout is not None
    url = (await asyncio.wait_for(child.stdout.readline(), 60)).decode().strip()
    async with aiohttp.ClientSession() as client:
        for _ in range(5):
            async with client.post(**chat(node, url, usage="input=1,output=1")) as answer:
                await answer.read()
        answers = await asyncio.gather(*(client.post(**chat(node, url, chunks=500, chunk_ms=50)) for _ in range(50)))
        await asyncio.gather(*(read_events(answer, 2) for answer in answers))

        child.kill()
        await child.wait()
        rows = await stored(node.database, 55)
        await asyncio.sleep(0.3)
        rows = await stored(node.database, 55)
        for answer in answers:
            answer.close()

    assert len(rows) == 55
    broken = [row for row in rows if row["error_type"] == "interrupted"]
    assert len(broken) == 50 and len({row["id"] for row in rows}) == 55
    assert all(row["status_code"] == 0 and row["input_tokens"] > 0 and row["cost"] for row in broken)
    assert all(row["model"] == "sandbox-1" and row["key_id"] == node.key_id for row in rows)


async def test_a_stopped_gateway_records_what_still_ran(node: Node) -> None:
    async with aiohttp.ClientSession() as client:
        answer = await client.post(**chat(node, chunks=500, chunk_ms=50))
        await read_events(answer, 2)

        await node.gateway.stop()
        answer.close()

    (row,) = await node.calls()
    assert row["error_type"] == "interrupted" and row["metadata"]["gateway"]["usage"] == "estimated"


class AwayStore:
    """The store of ingest while PostgreSQL is away, until it is back."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.is_away = True

    async def commit(
        self, record_type: RecordType, organizations: Collection[UUID], days: Collection[int], batch: Sequence[bytes]
    ) -> Stored:
        if self.is_away:
            raise DatabaseTroubleError("away")
        return await self._inner.commit(record_type, organizations, days, batch)

    async def probe(self) -> None:
        if self.is_away:
            raise DatabaseTroubleError("away")
        await self._inner.probe()


@pytest.fixture
async def away(node: Node) -> AsyncIterator[AwayStore]:
    store = AwayStore(node.ingest._store)
    node.ingest.writer._store = store
    node.ingest.drain._store = store
    yield store
    store.is_away = False


async def test_postgresql_away_every_call_is_served_and_recorded_once_afterwards(node: Node, away: AwayStore) -> None:
    async with aiohttp.ClientSession() as client:

        async def one(number: int) -> int:
            async with client.post(**chat(node, usage=f"input={number + 1},output=1")) as answer:
                assert b"[DONE]" in await answer.read()
                return answer.status

        statuses = await asyncio.gather(*(one(number) for number in range(100)))
        away.is_away = False

        rows = await node.calls(100, within_seconds=20)

    assert set(statuses) == {200}
    assert sorted(row["input_tokens"] for row in rows) == list(range(1, 101))


async def test_postgresql_away_the_limits_that_calls_met_are_recorded_with_them(
    limited: Limited, away: AwayStore
) -> None:
    limited.have(limit(1, capacity=100, per_us=DAY))
    async with aiohttp.ClientSession() as client:
        for _ in range(3):
            async with client.post(**chat(limited.node, usage="input=5,output=1")) as answer:
                await answer.read()
    while not limited.node.ingest.spool.size_bytes():
        await asyncio.sleep(0.02)
    away.is_away = False

    for _ in range(500):
        told = [row["metadata"]["gateway"] for row in await limited.calls(3)]
        if all("limits" in item for item in told):
            break
        # Calls may come out of the spool before what they name.
        await asyncio.sleep(0.02)
    assert [[mark[1] for mark in item["limits"]] for item in told] == [["limit-1"]] * 3


def mark(node: Node) -> Begin:
    return Begin(
        uuid7_text(), node.key_id, node.organization_id, "openai", "POST", "/v1/chat/completions", "sandbox-1", "req", 10, 3,
        "checkout",
    )  # fmt: skip


def end_of(begin: Begin) -> End:
    return End(begin.id, begin.key_id, begin.organization_id, interrupted(begin), begin.application)


async def gone(path: Path) -> None:
    """Wait until a file is deleted: what it holds is stored then."""
    async with asyncio.timeout(60):
        while path.exists():
            await asyncio.sleep(0.02)


async def test_a_journal_nobody_holds_is_recorded_and_one_that_is_held_is_left(node: Node) -> None:
    held, dead = Journal(node.gateway.journal.folder), Journal(node.gateway.journal.folder)
    held.begin(mark(node))
    begun, ended = mark(node), mark(node)
    file = dead.begin(begun).file
    dead.end(dead.begin(ended), end_of(ended))
    os.write(file.descriptor, b"\xf1NXf torn")
    os.close(file.descriptor)

    rows = await node.calls(2, within_seconds=60)
    await gone(file.path)

    assert {str(row["id"]) for row in rows} == {begun.id, ended.id}
    assert {row["application"] for row in rows} == {"checkout"}
    held.close()


async def test_a_record_in_the_journal_and_in_the_table_counts_once(node: Node) -> None:
    async with aiohttp.ClientSession() as client, client.post(**chat(node)) as answer:
        await answer.read()
    (row,) = await node.calls()
    dead = Journal(node.gateway.journal.folder)
    begun = mark(node)
    again = Begin(str(row["id"]), *[getattr(begun, name) for name in begun.__struct_fields__[1:]])
    file = dead.begin(again).file
    os.close(file.descriptor)
    await gone(file.path)

    (same,) = await node.calls()
    assert same["error_type"] is None and same["output_tokens"] == row["output_tokens"]


async def test_who_has_the_duty_collects_and_others_do_when_it_ends_or_stands_still(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = duty_of(node.gateway.journal.folder)
    assert worker.take()
    async with aiohttp.ClientSession() as client:
        async with client.post(**chat(node)) as answer:
            await answer.read()
        await until_handed_over(node, 1)
        assert await stored_now(node.database) == 0

        worker.give_up()
        await node.calls(1)

        assert worker.take()
        async with client.post(**chat(node)) as answer:
            await answer.read()
        await until_handed_over(node, 1)
        monkeypatch.setattr(recorder, "_PATIENCE_SECONDS", 0)
        await node.calls(2)
    worker.give_up()


async def until_handed_over(node: Node, count: int) -> None:
    """Wait until records stand in files that anybody may take."""
    async with asyncio.timeout(60):
        while node.gateway.journal.has_records or node.gateway.journal.waiting()[0] < count:
            await asyncio.sleep(0.02)


async def stored_now(database: Database) -> int:
    async with database.as_system() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM metering.calls")
    return count


async def test_a_call_whose_key_is_gone_before_it_is_stored_keeps_its_attribution(node: Node) -> None:
    async with node.database.as_system() as connection:
        await connection.execute("UPDATE identity.access_keys SET application = 'checkout' WHERE id = $1", node.key_id)
    await node.snapshots.refresh()
    worker = duty_of(node.gateway.journal.folder)
    assert worker.take()
    async with aiohttp.ClientSession() as client, client.post(**chat(node)) as answer:
        await answer.read()
    async with node.database.as_system() as connection:
        await connection.execute("UPDATE identity.access_keys SET revoked_at = now() WHERE id = $1", node.key_id)
    await node.snapshots.refresh()
    assert not node.snapshots.keys.keys
    worker.give_up()

    (row,) = await node.calls()
    assert (row["key_id"], row["application"]) == (node.key_id, "checkout")


@pytest.mark.parametrize("refusing", ["begin", "end"])
async def test_a_journal_that_cannot_be_written_does_not_stop_calls(
    limited: Limited, monkeypatch: pytest.MonkeyPatch, refusing: str
) -> None:
    node = limited.node
    limited.have(limit(1, capacity=100, per_us=DAY))

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(node.gateway.journal, refusing, refuse)
    async with aiohttp.ClientSession() as client, client.post(**chat(node)) as answer:
        assert answer.status == 200
        await answer.read()

    (row,) = await limited.calls()
    assert [mark[1] for mark in row["metadata"]["gateway"]["limits"]] == ["limit-1"]


async def test_too_many_finished_calls_refuse_new_ones(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "is_full", True)
    async with aiohttp.ClientSession() as client, client.post(**chat(node)) as answer:
        assert (answer.status, answer.headers["x-nexus-error"]) == (503, "records_wait")
        assert "retry-after" in answer.headers
