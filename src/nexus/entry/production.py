"""`nexus server`: web processes alone, supervised, against databases that run elsewhere."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal

from nexus.entry import lifeline
from nexus.entry.all_in_one import AllInOne, check_port
from nexus.entry.supervisor import Program
from nexus.platform.db import open_database
from nexus.platform.db.checks import refuse_unsafe
from nexus.platform.settings import Settings
from nexus.platform.telemetry import configure_logging, metrics_folder


def serve(settings: Settings) -> None:
    """Serve until told to stop; refuses to start on a database that would not keep tenants apart."""
    configure_logging(settings, role="supervisor")
    check_port(settings)
    for folder in (settings.data_dir, settings.data_dir / "run"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o711)
    shutil.rmtree(metrics_folder(settings), ignore_errors=True)
    metrics_folder(settings).mkdir(mode=0o700)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    async with open_database(settings) as database:
        await refuse_unsafe(database)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stopping.set)
    if lifeline.VARIABLE in os.environ:
        lifeline.watch(loop, stopping.set)
    node = AllInOne(settings)
    try:
        for _ in range(settings.workers):
            await node.supervisor.add(Program("web", node.web))
        await stopping.wait()
    finally:
        await node.supervisor.stop()
