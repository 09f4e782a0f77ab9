"""Starts processes in order, starts again what dies, stops all in reverse.

    starting --> running --> died --(pause)--> starting
        |           |
        |        stopping --> stopped
        +--(dies again and again, or is not ready in time)--> StartFailed

A process that dies is started again after a pause, which doubles up to five seconds; ten quiet seconds forgive. Only a
process that never once became ready ends the supervisor: what ran before is never given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import structlog

_log = structlog.get_logger("nexus.supervisor")
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_FORGIVEN_AFTER_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_TELL_SECONDS = 30.0
"""How often a process that is waited for is told of."""
_ATTEMPTS = 8
"""Starts of a process that never became ready. PostgreSQL needs some while memory of a killed one is still attached."""


class ProcessEntry(msgspec.Struct, frozen=True):
    """One line of `processes.json`."""

    role: str
    pid: int
    started_at: datetime


@dataclass
class Program:
    """One process to keep running."""

    role: str
    popen: Callable[[], subprocess.Popen[bytes]]
    before: Callable[[], Awaitable[None]] | None = None
    """What must be true before it is started: left-overs gone, folders made."""
    ready: Callable[[], Awaitable[bool]] | None = None
    """Tells whether it answers; None: it is ready when it runs."""
    ready_within_seconds: float = 600.0
    """Only a process that lives and does nothing is given up by the clock: a busy machine is slow, and slow is not dead."""
    stop_signal: int = signal.SIGTERM
    force_signal: int = signal.SIGKILL
    stop_within_seconds: float = 20.0
    may_end: bool = False
    """Whether it has done its work when it ends with code 0; any other process is to run until it is stopped."""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC), init=False)

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None


class StartFailed(Exception):
    """A process did not become ready."""


class Supervisor:
    """Keeps programs running until `stop`."""

    def __init__(self, processes_file: Path) -> None:
        self._processes_file = processes_file
        self._programs: list[Program] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._stopping = False
        self._hurrying = False

    async def add(self, program: Program) -> None:
        """Start a program, wait until it is ready, then watch over it. `StartFailed` if it does not come up."""
        self._programs.append(program)
        await self._launch(program)
        began = time.monotonic()
        deadline, tell_at = began + program.ready_within_seconds, began + _TELL_SECONDS
        pause, attempts = _FIRST_PAUSE_SECONDS, 1
        while program.ready is not None and not await program.ready():
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{program.role} did not become ready within {program.ready_within_seconds:.0f} seconds"
                )
            if not program.is_running:
                if attempts >= _ATTEMPTS:
                    raise StartFailed(f"{program.role} ended {attempts} times before it was ready")
                _log.warning(
                    "died before it was ready, starting again",
                    program=program.role,
                    code=program.process.returncode if program.process else None,
                    pause_seconds=pause,
                )
                await asyncio.sleep(pause)
                pause, attempts = pause * 2, attempts + 1
                await self._launch(program)
            if time.monotonic() > tell_at:
                _log.warning("not ready yet", program=program.role, waited_seconds=round(time.monotonic() - began))
                tell_at += _TELL_SECONDS
            await asyncio.sleep(_LOOK_SECONDS)
        self._watchers.append(asyncio.create_task(self._watch(program), name=f"watch {program.role}"))

    async def _launch(self, program: Program) -> None:
        if program.before is not None:
            await program.before()
        program.process = program.popen()
        program.started_at = datetime.now(UTC)
        self._write()
        _log.info("started", program=program.role, child=program.process.pid)

    async def _watch(self, program: Program) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            while program.is_running:  # noqa: ASYNC110  # a child has no event
                await asyncio.sleep(_LOOK_SECONDS)
            if self._stopping or (program.may_end and program.process is not None and program.process.returncode == 0):
                return
            if time.monotonic() - began > _FORGIVEN_AFTER_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            _log.warning(
                "died, starting again",
                program=program.role,
                code=program.process.returncode if program.process else None,
                pause_seconds=pause,
            )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            try:
                await self._launch(program)
            except Exception as error:  # noqa: BLE001  # the supervisor outlives whatever keeps a child from starting
                program.process = None
                _log.error("cannot be started", program=program.role, error=str(error))

    def _write(self) -> None:
        entries = [
            ProcessEntry(program.role, program.process.pid, program.started_at)
            for program in self._programs
            if program.process is not None
        ]
        entries.insert(0, ProcessEntry("supervisor", os.getpid(), _STARTED_AT))
        draft = self._processes_file.with_suffix(".new")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(entries)))
        draft.replace(self._processes_file)

    def hurry(self) -> None:
        """End what is still being stopped by force: the person at the terminal asked twice."""
        self._hurrying = True

    async def stop(self) -> None:
        """Stop everything, the last started first, each within its time; then by force."""
        self._stopping = True
        for watcher in self._watchers:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        # Programs of one role stop together.
        remaining = list(reversed(self._programs))
        while remaining:
            role = remaining[0].role
            group = [program for program in remaining if program.role == role]
            remaining = [program for program in remaining if program.role != role]
            await asyncio.gather(*(self._end(program) for program in group))
        self._processes_file.unlink(missing_ok=True)

    async def _end(self, program: Program) -> None:
        process = program.process
        if process is None or process.poll() is not None:
            return
        process.send_signal(program.stop_signal)
        deadline = time.monotonic() + program.stop_within_seconds
        while process.poll() is None and time.monotonic() < deadline and not self._hurrying:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS / 2)
        if process.poll() is None:
            _log.warning("stopped by force", program=program.role)
            process.send_signal(program.force_signal)
            try:
                await asyncio.to_thread(process.wait, 5)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)


_STARTED_AT = datetime.now(UTC)


def read_processes(path: Path) -> list[ProcessEntry]:
    """Return the processes a supervisor wrote down; empty when none runs."""
    try:
        found: Any = msgspec.json.decode(path.read_bytes(), type=list[ProcessEntry])
    except (FileNotFoundError, msgspec.DecodeError):
        return []
    return list(found)
