"""`nexus server` and `nexus worker`: the parts apart, supervised, against databases that run elsewhere.

checking --(database is safe)--> serving
    |------(database is away)--> serving from snapshots, records into the spool; checked as soon as it answers
    +------(database would not keep tenants apart)--> refused
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from pathlib import Path

import asyncpg
import structlog

from nexus.entry import lifeline
from nexus.entry.all_in_one import AllInOne, check_port
from nexus.entry.leftovers import end_leftovers
from nexus.entry.supervisor import Program
from nexus.kit.errors import NexusError
from nexus.platform.db import DatabaseUrls, open_database
from nexus.platform.db.checks import refuse_unsafe
from nexus.platform.settings import Settings
from nexus.platform.telemetry import configure_logging, forget_dead_metrics, metrics_folder

_CHECK_AGAIN_SECONDS = 1.0
_AWAY = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError, asyncpg.InterfaceError)
_log = structlog.get_logger("nexus.production")


def serve(settings: Settings) -> None:
    """Serve with web processes until told to stop; refuses a database that would not keep tenants apart."""
    _run(settings, ["web"] * settings.workers)


def work(settings: Settings) -> None:
    """Do background work in a process that is kept running, until told to stop."""
    _run(settings, ["worker"])


def _run(settings: Settings, roles: list[str]) -> None:
    configure_logging(settings, role="supervisor")
    DatabaseUrls.from_settings(settings)  # a missing URL is said now, by name
    for folder in (settings.data_dir, settings.data_dir / "run"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o711)
    metrics_folder(settings).mkdir(exist_ok=True, mode=0o700)
    forget_dead_metrics(settings, live_only=False)
    processes_file = settings.data_dir / "run" / f"{roles[0]}-processes.json"
    asyncio.run(end_leftovers(processes_file))
    if "web" in roles:
        check_port(settings)
    asyncio.run(_supervise(settings, roles, processes_file))


async def _supervise(settings: Settings, roles: Iterable[str], processes_file: Path) -> None:
    stopping = asyncio.Event()
    node = AllInOne(settings, processes_file=processes_file)
    refusal: NexusError | None = None
    checking: asyncio.Task[None] | None = None

    def stop() -> None:
        if stopping.is_set():
            node.supervisor.hurry()
        stopping.set()

    async def check_when_back() -> None:
        nonlocal refusal
        while True:
            await asyncio.sleep(_CHECK_AGAIN_SECONDS)
            try:
                await _check(settings)
            except _AWAY:
                continue
            except NexusError as error:
                refusal = error
                stopping.set()
            return

    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(sign, stop)
    lifeline.watch(loop, stop)
    try:
        await _check(settings)
    except _AWAY as error:
        _log.warning("PostgreSQL does not answer; it is checked when it does", error=type(error).__name__)
        checking = asyncio.create_task(check_when_back())
    try:
        for role in roles:
            start = node.web if role == "web" else node.worker
            await node.supervisor.add(Program(role, start, stop_within_seconds=30))
        await stopping.wait()
    finally:
        if checking is not None:
            checking.cancel()
        await node.supervisor.stop()
        node.close()
    if refusal is not None:
        raise refusal


async def _check(settings: Settings) -> None:
    async with open_database(settings) as database:
        await refuse_unsafe(database)
