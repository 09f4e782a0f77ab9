"""What a probe is told of a process that serves by old tables."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.tables import LimitSnapshots
from nexus.dataplane.freshness import Freshness
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.dataplane.ingest.service import Ingest
from nexus.dataplane.snapshots import Snapshots
from nexus.entry.health import HealthChecks
from nexus.platform.db import Database
from nexus.platform.settings import Settings


async def test_a_process_whose_tables_are_old_is_degraded_and_says_which(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    redis = Redis.from_url(redis_url)
    now = [100.0]
    snapshots = Snapshots(database, freshness=Freshness(["keys", "prices"], monotonic=lambda: now[0]))
    limits = LimitSnapshots(database, freshness=Freshness(["limits"], monotonic=lambda: now[0]))
    ingest = Ingest(
        database=database,
        settings=Settings(data_dir=tmp_path),
        snapshots=snapshots,
        metrics=IngestMetrics(CollectorRegistry()),
    )
    await snapshots.refresh()
    await limits.refresh()
    await ingest.start()
    admission = Admission(redis, lambda: limits.table)

    fresh = await HealthChecks(database, redis, ingest, limits, admission).readiness()
    now[0] += 11
    await snapshots.refresh()
    old_limits = await HealthChecks(database, redis, ingest, limits, admission).readiness()
    now[0] += 11
    all_old = await HealthChecks(database, redis, ingest, limits, admission).readiness()
    await ingest.stop()
    await redis.aclose()

    assert fresh.parts["snapshot"].status == "up"
    assert (old_limits.status, old_limits.parts["snapshot"].status) == ("degraded", "down")
    assert old_limits.parts["snapshot"].detail.startswith("limits not refreshed for 11 s")
    assert [part.split(" ")[0] for part in all_old.parts["snapshot"].detail.split("; ")] == ["keys", "prices", "limits"]
    assert "snapshot" in all_old.degraded and all_old.status == "degraded", "it goes on serving, so it is no 503"
