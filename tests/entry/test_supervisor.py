"""Which processes are started again when they end, and which have done their work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nexus.entry import supervisor as module
from nexus.entry.supervisor import Program, StartFailed, Supervisor
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


def lives() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


async def test_process_that_lives_is_waited_for_and_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TELL_SECONDS", 0.0)
    supervisor = Supervisor(tmp_path / "processes.json")

    with capture_logs() as lines:

        async def ready() -> bool:
            return len([line for line in lines if line["event"] == "not ready yet"]) >= 3

        await supervisor.add(Program("slow", lives, ready=ready))
    await supervisor.stop()

    assert {line["program"] for line in lines if line["event"] == "not ready yet"} == {"slow"}


async def test_process_that_lives_and_is_never_ready_is_given_up(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    supervisor = Supervisor(tmp_path / "processes.json")

    with pytest.raises(StartFailed, match="stuck did not become ready within 0 seconds"):
        await supervisor.add(Program("stuck", lives, ready=never, ready_within_seconds=0.0))

    await supervisor.stop()
