"""The worker: all background work of the slices, in one process. Several of them, on several machines, are safe."""

from __future__ import annotations

from nexus.admission.jobs import periodic as admission_jobs
from nexus.dashboards.jobs import PERIODIC as DASHBOARDS_JOBS
from nexus.identity.jobs import PERIODIC as IDENTITY_JOBS
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.metering.body_jobs import PERIODIC as BODY_JOBS
from nexus.metering.jobs import PERIODIC as METERING_JOBS
from nexus.platform.db import Database, DatabaseUrls
from nexus.platform.db.partitions import make_partitions
from nexus.platform.jobs import Job, PeriodicRunner
from nexus.platform.jobs.heartbeat import INTERVAL_SECONDS, heartbeat
from nexus.platform.redis import connect as connect_redis
from nexus.platform.settings import Settings

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
            *DASHBOARDS_JOBS,
            *admission_jobs(self._redis),
        ]
        self._runner = PeriodicRunner(self._database, jobs)

    def start(self) -> None:
        """Begin."""
        self._runner.start()

    async def stop(self) -> None:
        """End; what is unfinished rolls back and is done again by the next worker."""
        await self._runner.stop()
        await self._database.close()
        await self._redis.aclose()
