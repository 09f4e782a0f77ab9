"""A data directory as the first start finds it once everything that takes its time is made: cluster, schema and catalog.

Who is the first administrator, what organization and key there are, each node still makes for itself.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from nexus.catalog.service import ship_catalog
from nexus.entry.all_in_one import AllInOne
from nexus.platform.db import Actor, DatabaseUrls, open_database
from nexus.platform.db.setup import migrate_database
from nexus.platform.settings import Settings


async def prepare(data_dir: Path) -> None:
    """Make what the first start makes before its administrator, by the product's own steps."""
    settings = Settings.from_environment({"NEXUS_DATA_DIR": str(data_dir)})
    (data_dir / "run").mkdir(parents=True)
    node = AllInOne(settings)
    try:
        await node.start_postgres()
        await migrate_database(DatabaseUrls.from_settings(settings).owner)
        async with open_database(settings) as database, database.as_system(Actor(label="first start")) as connection:
            await ship_catalog(connection)
    finally:
        await node.supervisor.stop()
        node.close()
    for name in ("run", "log"):
        shutil.rmtree(data_dir / name)


def copy(prepared: Path, data_dir: Path) -> None:
    """Copy a prepared data directory, owners and modes included."""
    subprocess.run(["cp", "-a", str(prepared), str(data_dir)], check=True)
