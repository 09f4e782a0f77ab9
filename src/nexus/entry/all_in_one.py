"""`nexus up`: everything on one machine, in order, and kept running.

lock -> PostgreSQL (embedded unless its URL is set) -> roles, migrations, catalog, first start
     -> Redis (likewise) -> worker -> web processes -> sandbox and demo, where they are asked for
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from rich.console import Console

from nexus.demo.traffic import Amount
from nexus.entry import lifeline
from nexus.entry.first_start import FILE, FirstStartFile, make_first_start
from nexus.entry.leftovers import MODULE, end_leftovers
from nexus.entry.processes import SANDBOX_HOST
from nexus.entry.supervisor import Program, StartFailed, Supervisor
from nexus.kit.errors import NexusError, Unavailable
from nexus.platform.db import DatabaseUrls, open_database
from nexus.platform.db.checks import refuse_unsafe
from nexus.platform.db.embedded import EmbeddedPostgres
from nexus.platform.db.setup import initialise_database, migrate_database
from nexus.platform.redis.embedded import EmbeddedRedis
from nexus.platform.settings import Settings
from nexus.platform.telemetry import (
    METRICS_FOLDER,
    clear_metrics,
    configure_logging,
    forget_dead_metrics,
    metrics_folder,
)

_out = Console(highlight=False, soft_wrap=True)
_log = structlog.get_logger("nexus.up")
PROCESSES_FILE = "processes.json"


class AlreadyRunning(Unavailable):
    """Another `nexus up` runs on this data directory."""

    code = "already_running"


class PortTaken(Unavailable):
    """The port is taken."""

    code = "port_taken"


@contextlib.contextmanager
def _lock(run_dir: Path) -> Iterator[None]:
    path = run_dir / "up.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise AlreadyRunning(
                f"`nexus up` runs on {run_dir.parent} already (process {file.read().strip() or 'unknown'}): "
                "stop it, or set another NEXUS_DATA_DIR and NEXUS_PORT"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        # Not handed on to children: whoever survives a killed supervisor must not hold its lock.
        os.set_inheritable(file.fileno(), False)
        yield


def check_port(settings: Settings) -> None:
    """Raise `PortTaken` unless the port is free. Our processes share it, so it is asked for without sharing."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise PortTaken(
                f"{settings.host}:{settings.port} cannot be used ({error.strerror}): set NEXUS_PORT or NEXUS_HOST"
            ) from None


def _is_ready(url: str) -> bool:
    # What the standard library can ask itself: to load a client of HTTP takes this process longer than anything else.
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=3)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (HTTPException, OSError):
        return False
    finally:
        connection.close()


def sandbox_port(settings: Settings) -> int:
    """Return the port of the demo's sandbox: the one beside Nexus's."""
    return settings.port + 1 if settings.port < 65_535 else settings.port - 1


class AllInOne:
    """One node: supervisor of everything it starts."""

    def __init__(self, settings: Settings, *, processes_file: Path | None = None, demo: Amount | None = None) -> None:
        self.settings = settings
        self._demo = demo
        self.supervisor = Supervisor(processes_file or settings.data_dir / "run" / PROCESSES_FILE)
        # Only this process holds the writing end: its death is the end of file the children watch for.
        self._lifeline, self._lifeline_held = os.pipe()

    def _child_environment(self) -> dict[str, str]:
        allowed = [self.settings.gateway_allow] if self.settings.gateway_allow else []
        if self._demo is not None:
            allowed.append(f"{SANDBOX_HOST}:{sandbox_port(self.settings)}")
        return {
            **os.environ,
            "NEXUS_GATEWAY_ALLOW": ",".join(allowed),
            "NEXUS_DATA_DIR": str(self.settings.data_dir),
            METRICS_FOLDER: str(metrics_folder(self.settings)),
            lifeline.VARIABLE: str(self._lifeline),
        }

    def _popen(self, role: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", MODULE, role, *arguments],
            stdin=subprocess.DEVNULL,
            env=self._child_environment(),
            pass_fds=[self._lifeline],
            preexec_fn=lifeline.die_with_parent(signal.SIGTERM),  # noqa: PLW1509
        )

    def web(self) -> subprocess.Popen[bytes]:
        """Start a web process."""
        forget_dead_metrics(self.settings, live_only=True)
        return self._popen("web")

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a worker."""
        return self._popen("worker")

    async def start_demo(self, amount: Amount) -> None:
        """Start the sandbox and the demo. They need a Nexus that answers, so they come last and are stopped first."""
        port = str(sandbox_port(self.settings))
        await self.supervisor.add(Program("sandbox", lambda: self._popen("sandbox", port)))
        await self.supervisor.add(
            Program(
                "demo",
                lambda: self._popen("demo", str(amount.days), str(amount.volume), port),
                may_end=True,
                # Six applications each wait a while for the receipt of what they have just sent.
                stop_within_seconds=40,
            )
        )

    def _log_file(self, name: str) -> Any:
        folder = self.settings.data_dir / "log"
        folder.mkdir(exist_ok=True, mode=0o700)
        path = folder / f"{name}.log"
        if path.exists() and path.stat().st_size > 20 * 2**20:
            path.replace(path.with_suffix(".log.old"))
        return path.open("ab")

    async def start_postgres(self) -> None:
        """Start the embedded PostgreSQL, and make roles and database in it."""
        postgres = EmbeddedPostgres(self.settings.data_dir)
        await asyncio.to_thread(postgres.prepare)

        async def before() -> None:
            if await asyncio.to_thread(postgres.stop_leftover):
                _log.warning("stopped a PostgreSQL left over from a killed supervisor")

        await self.supervisor.add(
            Program(
                "postgres",
                lambda: postgres.popen(
                    log=self._log_file("postgres"), preexec_fn=lifeline.die_with_parent(signal.SIGINT)
                ),
                before=before,
                ready=postgres.is_ready,
                stop_signal=signal.SIGINT,
                force_signal=signal.SIGQUIT,
                stop_within_seconds=60,
            )
        )
        report = await initialise_database(self.settings, admin_url=postgres.url())
        for warning in report.warnings:
            _log.warning(warning)

    async def start_redis(self) -> None:
        """Start the embedded Redis."""
        redis = EmbeddedRedis(self.settings.data_dir)
        await asyncio.to_thread(redis.prepare)

        async def before() -> None:
            await asyncio.to_thread(redis.stop_leftover)

        async def ready() -> bool:
            return await asyncio.to_thread(redis.is_ready)

        await self.supervisor.add(
            Program(
                "redis",
                lambda: redis.popen(log=self._log_file("redis"), preexec_fn=lifeline.die_with_parent(signal.SIGTERM)),
                before=before,
                ready=ready,
            )
        )

    async def _web_is_ready(self) -> bool:
        return await asyncio.to_thread(_is_ready, self.settings.local_url)

    async def start(self) -> FirstStartFile | None:
        """Bring everything up; returns what the first start made, if this was it."""
        first: FirstStartFile | None = None
        if self.settings.embeds_postgres:
            await self.start_postgres()
        elif self.settings.admin_url is not None:
            await initialise_database(self.settings)
        urls = DatabaseUrls.from_settings(self.settings)
        if urls.owner is not None:
            await migrate_database(urls.owner)
        async with open_database(self.settings) as database:
            await refuse_unsafe(database)
        first = await make_first_start(self.settings)
        if self.settings.embeds_redis:
            await self.start_redis()
        await self.supervisor.add(Program("worker", self.worker))
        for number in range(self.settings.workers):
            last = number == self.settings.workers - 1
            ready = self._web_is_ready if last else None
            await self.supervisor.add(Program("web", self.web, ready=ready, stop_within_seconds=30))
        return first

    async def run(self) -> None:
        """Run until Ctrl-C or SIGTERM; a second one ends by force what is still being stopped."""
        stopping = asyncio.Event()

        def stop() -> None:
            if stopping.is_set():
                self.supervisor.hurry()
            stopping.set()

        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(sign, stop)
        starting = asyncio.create_task(self.start())
        waiting = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                _welcome(self.settings, starting.result())
                if self._demo is not None:
                    await self.start_demo(self._demo)
                await waiting
        finally:
            waiting.cancel()
            starting.cancel()
            await asyncio.wait({starting})
            _out.print("stopping …")
            await self.supervisor.stop()
            self.close()

    def close(self) -> None:
        """Let go of the pipe; children that still run end."""
        os.close(self._lifeline_held)
        os.close(self._lifeline)


def _welcome(settings: Settings, first: FirstStartFile | None) -> None:
    _out.print(f"\nNexus is up: [bold]{settings.url}[/]\n")
    if first is not None:
        _out.print("  This is the first start. These are shown once:", markup=False)
        _out.print(f"  e-mail      {first.admin_email}", markup=False)
        _out.print(f"  password    {first.admin_password}", markup=False)
        _out.print(f"  access key  {first.access_key}", markup=False)
        _out.print(f"  (also in {settings.data_dir / FILE}, which only you can read)\n", markup=False)
    _out.print("Ctrl-C stops it.", markup=False)


def up(settings: Settings, demo: Amount | None = None) -> None:
    """Run everything in this terminal until it is told to stop; with the demo's traffic, if its amount is given."""
    configure_logging(settings, role="supervisor")
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    run_dir = settings.data_dir / "run"
    run_dir.mkdir(exist_ok=True, mode=0o711)
    with _lock(run_dir):
        asyncio.run(end_leftovers(run_dir / PROCESSES_FILE))
        check_port(settings)
        if demo is not None:
            check_port(replace(settings, host=SANDBOX_HOST, port=sandbox_port(settings)))
        clear_metrics(settings)
        try:
            asyncio.run(AllInOne(settings, demo=demo).run())
        except StartFailed as error:
            raise NotStarted(f"{error}; see {settings.data_dir / 'log'}, and run `nexus doctor`") from error


class NotStarted(NexusError):
    """Nexus could not be started."""

    code = "not_started"
    status = 503
