"""Which processes are started again when they end, and which have done their work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nexus.entry.supervisor import Program, Supervisor
from tests.races.node import until


@pytest.mark.parametrize(
    ("code", "may_end", "starts_again"), [(0, True, False), (0, False, True), (1, True, True), (1, False, True)]
)
async def test_process_that_ends_is_started_again_unless_its_work_is_done(
    tmp_path: Path, code: int, may_end: bool, starts_again: bool
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def popen() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"]))
        return started[-1]

    supervisor = Supervisor(tmp_path / "processes.json")
    await supervisor.add(Program("one", popen, may_end=may_end))
    (watcher,) = supervisor._watchers
    try:
        await until(lambda: len(started) > 1 or watcher.done(), "it is started again, or left alone")
    finally:
        await supervisor.stop()

    assert (len(started) > 1) == starts_again
