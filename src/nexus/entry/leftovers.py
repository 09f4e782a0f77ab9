"""What a killed supervisor left behind: its web processes and worker end by themselves (`lifeline`); this waits for them.

The embedded servers know their own left-overs by their pid files.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import structlog

from nexus.entry.supervisor import ProcessEntry, read_processes

MODULE = "nexus.entry.processes"
_SAME_START_SECONDS = 30.0
"""A process id may have been given to somebody else since: only one that started when ours did is ours."""
_log = structlog.get_logger("nexus.supervisor")


def find_leftovers(entries: Sequence[ProcessEntry]) -> list[psutil.Process]:
    """Return those of the written processes that still run and are ours."""
    found: list[psutil.Process] = []
    for entry in entries:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(entry.pid)
            is_ours = MODULE in process.cmdline()
            if is_ours and abs(process.create_time() - entry.started_at.timestamp()) < _SAME_START_SECONDS:
                found.append(process)
    return found


async def end_leftovers(processes_file: Path, *, timeout_seconds: float = 15.0) -> int:
    """Wait until processes of an earlier supervisor are gone, and end them by force if need be; returns how many."""
    left = find_leftovers(read_processes(processes_file))
    count = len(left)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + timeout_seconds
    while left and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        left = [process for process in left if _lives(process)]
    for process in left:
        _log.warning("ended a left-over process by force", child=process.pid)
        with contextlib.suppress(psutil.Error):
            process.kill()
    return count


def _lives(process: psutil.Process) -> bool:
    try:
        is_running: bool = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return is_running
    except psutil.Error:
        return False
