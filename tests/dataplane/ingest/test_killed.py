"""kill -9 of an ingesting process, PostgreSQL there, away, and back: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from nexus.contracts.prices import PriceBook
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.dataplane.ingest.service import Ingest
from nexus.dataplane.snapshots import PriceTable, Snapshots
from nexus.kit.ids import opaque_uuid
from nexus.platform.db import Database
from nexus.platform.settings import Settings
from tests.conftest import TestOrganization
from tests.dataplane.ingest.proxies import PostgresProxy
from tests.postgres import TestServer

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def forward(postgres: TestServer, database_name: str, tmp_path: Path) -> AsyncIterator[PostgresProxy]:
    proxy = PostgresProxy(postgres.embedded.url("nexus_writer", database_name), tmp_path)
    await proxy.open()
    yield proxy
    await proxy.close()


async def _read(
    child: asyncio.subprocess.Process, acknowledged: dict[str, str], *, until: str | None, count: int
) -> None:
    """Read acknowledgements: to the end, or until `count` more of a durability came."""
    assert child.stdout is not None
    while line := (await child.stdout.readline()).decode():
        # The kill can cut the last line short; what of it is whole counts only with its end.
        if not line.endswith("\n"):
            break
        if not line.startswith("acknowledged "):
            continue
        _, durability, *names = line.split()
        acknowledged.update(dict.fromkeys(names, durability))
        count -= durability == until
        if until is not None and count <= 0:
            return


async def test_killed_process_loses_and_doubles_nothing(
    forward: PostgresProxy,
    database: Database,
    organization: TestOrganization,
    admin_connection: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    acknowledged: dict[str, str] = {}
    for round_, last in enumerate(["committed", "spooled", "committed"]):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.dataplane.ingest.child", forward.url, str(tmp_path), str(organization.id),
            str(round_), cwd=ROOT, stdout=asyncio.subprocess.PIPE, limit=2**20,
        )  # fmt: skip
        await _read(child, acknowledged, until="committed", count=20)
        if last == "spooled":
            await forward.close()
            await _read(child, acknowledged, until="spooled", count=20)
        os.kill(child.pid, signal.SIGKILL)
        await _read(child, acknowledged, until=None, count=0)
        await child.wait()
        if last == "spooled":
            await forward.open()

    snapshots = Snapshots(database)
    snapshots.prices = PriceTable(1, PriceBook.from_documents([]))
    settings, metrics = Settings(data_dir=tmp_path), IngestMetrics(CollectorRegistry())
    after = Ingest(database=database, settings=settings, snapshots=snapshots, metrics=metrics)
    while not await after.drain.run_once():
        await asyncio.sleep(0)

    found = await admin_connection.fetch("SELECT id FROM metering.calls")
    stored = [record["id"] for record in found]
    expected = {UUID(name) if len(name) == 36 else opaque_uuid(name) for name in acknowledged}
    assert set(acknowledged.values()) == {"committed", "spooled"}
    assert len(stored) == len(set(stored))
    assert expected <= set(stored)
    # Beyond what was acknowledged there is at most what was on its way when the process died.
    assert len(stored) - len(expected) <= 3 * 4 * 5 * 2
    assert after.spool.is_empty()
    assert not (tmp_path / "spool" / "quarantine").exists()
