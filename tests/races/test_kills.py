"""kill -9 of each process and of all, and a PostgreSQL that stands still, under load of four senders."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from tests.races.node import Node, Senders, assert_exactly_once, is_alive, until


@pytest.fixture
async def node(tmp_path: Path, prepared: Path) -> AsyncIterator[Node]:
    # Records go to the spool after one second rather than ten, so that the test need not wait.
    node = Node(tmp_path / "node", environment={"NEXUS_INGEST_COMMIT_TIMEOUT_MS": "1000"}, prepared=prepared)
    node.start()
    await node.wait_ready()
    yield node
    node.sweep()


async def test_every_acknowledged_record_is_there_once_whatever_is_killed(node: Node) -> None:
    async with Senders(node) as senders:
        await senders.progress()
        for role in ("web", "worker", "redis", "postgres"):
            await node.killed_and_replaced(role)
            await senders.progress()
        others = await node.kill_supervisor()
        await until(lambda: not any(is_alive(pid) for pid in others), "what a killed supervisor left has ended")
        node.start()
        await node.wait_ready()
        await senders.progress()
        await node.kill_everything()
        node.start()
        await node.wait_ready()
        await senders.progress()

    await assert_exactly_once(node, senders)
    pids = [entry.pid for entry in node.processes()]
    assert await node.stop() == 0
    assert not [pid for pid in pids if is_alive(pid)]
    assert not node.processes_file.exists()


async def test_senders_are_acknowledged_while_postgres_stands_still(node: Node) -> None:
    async with Senders(node) as senders:
        await senders.progress()
        frozen = node.postgres_processes()
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        try:
            await senders.progress(durability="spooled")
            found = await until(node.health, "readiness is answered")
        finally:
            for process in frozen:
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    process.send_signal(signal.SIGCONT)
        await senders.progress(durability="committed")

    assert found["status"] == "degraded"
    assert "postgres" in found["degraded"]
    assert set(senders.acknowledged.values()) == {"committed", "spooled"}
    await assert_exactly_once(node, senders)
