"""A gateway process that a test can kill: `python -m tests.dataplane.gateway.child`, told what it needs by the environment."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from nexus.dataplane.gateway.asgi import GatewayApp
from nexus.dataplane.gateway.service import Gateway
from nexus.dataplane.ingest.service import Ingest
from nexus.dataplane.snapshots import Snapshots
from nexus.platform.db import Database, DatabaseUrls
from nexus.platform.sealing import Sealer
from tests.dataplane.gateway.conftest import SECRET_KEY, served, settings_for


async def main() -> None:
    """Serve until killed; prints the address first."""
    told = json.loads(os.environ["NEXUS_TEST_CHILD"])
    database = Database(DatabaseUrls(**told["urls"]), application_name="nexus-child")
    settings = settings_for(Path(told["data_dir"]))
    snapshots = Snapshots(database, data_dir=settings.data_dir, sealer=Sealer([SECRET_KEY]))
    ingest = Ingest(database=database, settings=settings, snapshots=snapshots)
    gateway = Gateway(ingest=ingest, settings=settings)
    await snapshots.start()
    await ingest.start()
    await gateway.start()
    async with served(GatewayApp(gateway)) as url:
        sys.stdout.write(url + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
