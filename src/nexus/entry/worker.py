"""The worker: all background work of the slices, in one process. Several of them, on several machines, are safe.

It also stores what the gateways of its own node put into their journals: work that the processes that serve are spared.
"""

from __future__ import annotations

from nexus.admission.jobs import periodic as admission_jobs
from nexus.costs.jobs import periodic as costs_jobs
from nexus.dashboards.jobs import PERIODIC as DASHBOARDS_JOBS
from nexus.dataplane.gateway.collector import Collector, duty_of
from nexus.dataplane.gateway.journal import journal_folder
from nexus.dataplane.gateway.metrics import CollectorMetrics
from nexus.dataplane.ingest.service import Ingest
from nexus.dataplane.snapshots import Snapshots
from nexus.identity.jobs import PERIODIC as IDENTITY_JOBS
from nexus.issues.jobs import PERIODIC as ISSUES_JOBS
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.mcp.jobs import PERIODIC as MCP_JOBS
from nexus.mcp.request_telemetry import REQUESTS
from nexus.metering.body_jobs import PERIODIC as BODY_JOBS
from nexus.metering.export_jobs import export_jobs
from nexus.metering.export_sources import CALLS
from nexus.metering.jobs import PERIODIC as METERING_JOBS
from nexus.metrics.jobs import PERIODIC as METRICS_JOBS
from nexus.platform.db import Database, DatabaseUrls
from nexus.platform.db.partitions import make_partitions
from nexus.platform.jobs import Job, PeriodicRunner
from nexus.platform.jobs.heartbeat import INTERVAL_SECONDS, heartbeat
from nexus.platform.redis import connect as connect_redis
from nexus.platform.settings import Settings
from nexus.storage.jobs import PERIODIC as STORAGE_JOBS

PLATFORM_JOBS: list[Job] = [("platform.make_partitions", 300, make_partitions)]


class Worker:
    """One worker process."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(
            DatabaseUrls.from_settings(settings), application_name="nexus-worker", max_size=settings.database_pool_size
        )
        self._redis = connect_redis(settings)
        alive: Job = ("platform.heartbeat", INTERVAL_SECONDS, heartbeat(self._redis, SYSTEM_CLOCK))
        jobs = [
            alive,
            *PLATFORM_JOBS,
            *IDENTITY_JOBS,
            *METERING_JOBS,
            *BODY_JOBS,
            *export_jobs(settings, [CALLS, REQUESTS]),
            *MCP_JOBS,
            *ISSUES_JOBS,
            *METRICS_JOBS,
            *STORAGE_JOBS,
            *DASHBOARDS_JOBS,
            *admission_jobs(self._redis),
            *costs_jobs(self._redis),
        ]
        self._runner = PeriodicRunner(self._database, jobs)
        # Without a sealer: records are priced here, no provider is called.
        self._snapshots = Snapshots(self._database, data_dir=settings.data_dir)
        self._ingest = Ingest(database=self._database, settings=settings, snapshots=self._snapshots, redis=self._redis)
        folder = journal_folder(settings)
        self._duty = duty_of(folder)
        self._collector = Collector(self._ingest, folder, CollectorMetrics(), is_ours=self._duty.take)

    async def start(self) -> None:
        """Begin."""
        self._runner.start()
        await self._snapshots.start()
        await self._ingest.start()
        self._collector.start()

    async def stop(self) -> None:
        """End; what is unfinished rolls back, or waits in its journal, and is done again by the next worker."""
        await self._collector.stop()
        self._duty.give_up()
        await self._ingest.stop()
        await self._snapshots.stop()
        await self._runner.stop()
        await self._database.close()
        await self._redis.aclose()
