"""`nexus doctor`: says what is wrong and how to mend it, and lists every setting."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.markup import escape

from nexus.entry.all_in_one import PortTaken, check_port
from nexus.entry.supervisor import read_processes
from nexus.kit.errors import NexusError
from nexus.platform.db import DatabaseUrls, open_database
from nexus.platform.db.checks import database_faults
from nexus.platform.db.embedded import EmbeddedPostgres, wheel_binaries
from nexus.platform.db.migrate import state as migration_state
from nexus.platform.redis import connect as connect_redis
from nexus.platform.redis.embedded import redis_binary
from nexus.platform.settings import SETTINGS, InvalidSettings, Settings
from nexus.platform.terminal import open_console, print_table

Status = Literal["ok", "note", "wrong"]
_MARKS = {"ok": "[green]ok   [/]", "note": "[yellow]note [/]", "wrong": "[red]wrong[/]"}
_LOW_DISK_BYTES = 2 * 2**30
_out = open_console()


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and how to mend it."""

    subject: str
    status: Status
    text: str
    remedy: str = ""


def doctor() -> int:
    """Say what is wrong and how to mend it; exit code 1 when something is."""
    try:
        settings = Settings.from_environment()
    except InvalidSettings as error:
        for fault in error.faults:
            _out.print(f"{_MARKS['wrong']} {fault.field}: {escape(fault.message)}")
        return 1
    findings = asyncio.run(examine(settings))
    for item in findings:
        remedy = f"\n        -> {item.remedy}" if item.remedy else ""
        _out.print(f"{_MARKS[item.status]} {item.subject}: {escape(item.text + remedy)}")
    _print_settings(settings)
    return 1 if any(item.status == "wrong" for item in findings) else 0


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything; one thing that is broken does not hide the next."""
    findings = [_python(), *_data_dir(settings), *_engines(settings)]
    running = _running(settings)
    findings.append(running)
    if running.status == "ok":
        findings += await _database(settings)
        findings += await _guard("Redis", lambda: _redis(settings))
    elif settings.embeds_postgres:
        findings.append(_port(settings))
    else:
        findings += [_port(settings), *await _database(settings)]
    return findings


async def _guard(subject: str, look: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    try:
        return await look()
    except NexusError as error:
        return [Finding(subject, "wrong", error.detail)]
    except Exception as error:  # noqa: BLE001  # a doctor reports whatever it meets
        return [Finding(subject, "wrong", f"{type(error).__name__}: {error}", "see the logs in the data directory")]


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < (3, 11):  # noqa: UP036  # somebody may have forced the installation
        return Finding("Python", "wrong", text, "use Python 3.11 or newer")  # type: ignore[unreachable]
    return Finding("Python", "ok", text)


def _data_dir(settings: Settings) -> list[Finding]:
    path = settings.data_dir
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        return [
            Finding("data directory", "wrong", f"{path} cannot be written", "set NEXUS_DATA_DIR to a folder of yours")
        ]
    free = shutil.disk_usage(nearest).free
    text = f"{path}, {free / 2**30:.1f} GiB free"
    findings = [
        Finding("data directory", "ok", text)
        if free > _LOW_DISK_BYTES
        else Finding("data directory", "wrong", text, "make room, or set NEXUS_DATA_DIR to another disk")
    ]
    for name in ("secrets.json", "first-start.json"):
        file = path / name
        if file.exists() and file.stat().st_mode & 0o077:
            findings.append(Finding(name, "wrong", "others can read it", f"chmod 600 {file}"))
    return findings


def _engines(settings: Settings) -> list[Finding]:
    findings: list[Finding] = []
    for name, is_embedded, find in (
        ("PostgreSQL", settings.embeds_postgres, wheel_binaries),
        ("Redis", settings.embeds_redis, redis_binary),
    ):
        if not is_embedded:
            findings.append(Finding(name, "ok", "not embedded: its URL is set"))
            continue
        try:
            where: Path = find()
        except NexusError as error:
            findings.append(Finding(name, "wrong", error.detail))
        else:
            findings.append(Finding(name, "ok", f"embedded, from {where}"))
    return findings


def _running(settings: Settings) -> Finding:
    alive = [item for item in read_processes(settings.data_dir / "run" / "processes.json") if _is_alive(item.pid)]
    if not alive:
        left = EmbeddedPostgres(settings.data_dir).running_pid() if settings.embeds_postgres else None
        if left is not None:
            return Finding(
                "processes", "note", f"PostgreSQL runs without a supervisor (pid {left})", "`nexus up` mends it"
            )
        return Finding("processes", "note", "Nexus does not run here", "`nexus up` starts it")
    return Finding("processes", "ok", ", ".join(f"{item.role} {item.pid}" for item in alive))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _port(settings: Settings) -> Finding:
    try:
        check_port(settings)
    except PortTaken as error:
        return Finding("port", "wrong", error.detail)
    return Finding("port", "ok", f"{settings.host}:{settings.port} is free")


async def _database(settings: Settings) -> list[Finding]:
    async def look() -> list[Finding]:
        findings: list[Finding] = []
        urls = DatabaseUrls.from_settings(settings)
        if urls.owner is not None:
            now = await asyncio.to_thread(migration_state, urls.owner)
            findings.append(
                Finding("schema", "ok", f"at revision {now.current}, the newest")
                if now.is_current
                else Finding("schema", "wrong", f"at {now.current or 'nothing'}, not {now.head}", "`nexus db migrate`")
            )
        async with open_database(settings) as database:
            faults = await database_faults(database)
            pool = await database.pool("system")
            skew = await pool.fetchval("SELECT extract(epoch FROM clock_timestamp() - $1::timestamptz)", _now())
        findings += [Finding("database", "wrong", fault.what, fault.remedy) for fault in faults]
        if not faults:
            findings.append(Finding("database", "ok", "reachable, and keeps tenants apart"))
        if abs(float(skew)) > 2:
            findings.append(
                Finding("clocks", "wrong", f"PostgreSQL's differs by {float(skew):.1f} s", "run NTP on both machines")
            )
        return findings

    return await _guard("database", look)


def _now() -> object:
    from nexus.kit.clock import SYSTEM_CLOCK

    return SYSTEM_CLOCK.now()


async def _redis(settings: Settings) -> list[Finding]:
    client = connect_redis(settings)
    try:
        info = await client.info("server")
        return [Finding("Redis", "ok", f"answers, version {info.get('redis_version', '?')}")]
    finally:
        await client.aclose()


def _print_settings(settings: Settings) -> None:
    rows = []
    for entry in SETTINGS:
        value = getattr(settings, entry.name)
        rows.append([entry.env, "-" if value is None else "(set)" if entry.is_secret else str(value), entry.what])
    _out.print()
    print_table(_out, ["setting", "value", "what"], rows, title="settings")
