"""A process of its own that sends records to its own ingest and prints what was acknowledged, until it is killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import UUID

from prometheus_client import CollectorRegistry

from nexus.contracts.calls import ApiCall
from nexus.contracts.prices import PriceBook
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.dataplane.ingest.record_type import Caller
from nexus.dataplane.ingest.service import Ingest
from nexus.dataplane.snapshots import PriceTable, Snapshots
from nexus.kit.ids import uuid7
from nexus.platform.db import Database, DatabaseUrls
from nexus.platform.settings import Settings


async def main(url: str, folder: str, organization_id: str) -> None:
    """Send with four senders for ever."""
    database = await Database.connect(DatabaseUrls(service=url, system=url, writer=url), application_name="child")
    snapshots = Snapshots(database)
    snapshots.prices = PriceTable(1, PriceBook.from_documents([]))
    snapshots.is_loaded = True
    ingest = Ingest(
        database=database,
        settings=Settings(data_dir=Path(folder), ingest_commit_timeout_ms=1_000),
        snapshots=snapshots,
        metrics=IngestMetrics(CollectorRegistry()),
    )
    await ingest.start()
    caller = Caller(UUID(organization_id), "USD")

    async def sender(number: int) -> None:
        count = 0
        while True:
            calls = [ApiCall(id=str(uuid7()), provider="x", status_code=200) for _ in range(4)]
            calls.append(ApiCall(id=f"{sys.argv[4]}-{number}-{count}", provider="x", status_code=200))
            receipt = await ingest.submit(caller, calls)
            assert receipt.accepted == 5
            names = " ".join(str(call.id) for call in calls)
            sys.stdout.write(f"acknowledged {receipt.durability} {names}\n")
            sys.stdout.flush()
            count += 1

    await asyncio.gather(*(sender(number) for number in range(4)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
