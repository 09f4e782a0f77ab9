"""`make up` on a fresh clone in an empty folder, stopped, and started again on the same data.

What is cloned is what is committed. It installs from the package registries that pip and npm are configured for.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.races.node import ROOT, Node, is_alive, until

FIRST_WITHIN_SECONDS = 600.0
SECOND_WITHIN_SECONDS = 60.0


class Clone(Node):
    """A node that `make up` starts in a clone."""

    folder: Path

    def variables(self) -> dict[str, str]:
        # Nothing of the environment that runs this test may help.
        outer = ("MAKE", "MFLAGS", "VIRTUAL_ENV", "PYTHON", "PYTEST")
        kept = {name: value for name, value in super().variables().items() if not name.startswith(outer)}
        own = str(Path(sys.executable).parent)
        return {**kept, "PATH": os.pathsep.join(part for part in kept["PATH"].split(os.pathsep) if part != own)}

    def start(self, **options: Any) -> None:
        with self.log.open("ab") as log, self.output.open("ab") as output:
            self.process = subprocess.Popen(
                ["make", "up"],
                cwd=self.folder,
                env=self.variables(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
                **options,
            )

    async def interrupt(self) -> float:
        """Press Ctrl-C; returns the seconds until all had ended."""
        assert self.process is not None
        began = time.monotonic()
        os.killpg(self.process.pid, signal.SIGINT)
        await asyncio.to_thread(self.process.wait, 90)
        return time.monotonic() - began


@pytest.fixture
def registry(tmp_path: Path) -> None:
    needed = next(line for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--dest"]
    asked = subprocess.run(
        [*command, str(tmp_path / "asked"), needed.split()[0]], capture_output=True, text=True, timeout=120
    )
    if asked.returncode != 0:
        pytest.skip(
            "pip reaches no package registry, from which `make up` on a fresh clone installs: configure one "
            f"(pip config, PIP_INDEX_URL) and run it again; pip says: {asked.stderr.strip().splitlines()[-1:]}"
        )


@pytest.fixture
def clone(tmp_path: Path, registry: None) -> Iterator[Clone]:
    folder = tmp_path / "nexus"
    cloned = subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], capture_output=True, text=True)
    if cloned.returncode != 0:
        pytest.skip(f"this is no git repository that can be cloned: {cloned.stderr.strip()}")
    node = Clone(tmp_path / "data")
    node.folder = folder
    yield node
    node.sweep()
    shutil.rmtree(folder)


async def test_make_up_on_a_fresh_clone_answers_and_starts_again(clone: Clone) -> None:
    async def seconds_until_ready(within_seconds: float) -> float:
        began = time.monotonic()
        clone.start()
        await until(clone.is_ready, "it is ready", within_seconds=within_seconds)
        return time.monotonic() - began

    first = await seconds_until_ready(FIRST_WITHIN_SECONDS)
    made = clone.first_start()
    async with aiohttp.ClientSession(clone.url) as client:
        headers = {"authorization": f"Bearer {made['access_key']}"}
        async with client.post(
            "/v1/events", json=[{"id": "a", "provider": "x", "status_code": 200}], headers=headers
        ) as answer:
            assert answer.status == 200
        async with client.get("/") as answer:
            page = await answer.text()
    pids = [entry.pid for entry in clone.processes()]
    stopped = await clone.interrupt()
    left = [pid for pid in pids if is_alive(pid)]
    second = await seconds_until_ready(SECOND_WITHIN_SECONDS)
    counted = await clone.counted()
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=clone.folder, capture_output=True, text=True)
    pids = [entry.pid for entry in clone.processes()]
    await clone.interrupt()

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=clone.folder, capture_output=True, text=True)
    print(
        f"commit {commit.stdout.strip()}: `make up` was ready after {first:.1f} s, stopped within {stopped:.1f} s, "
        f"and ready again after {second:.1f} s"
    )
    assert "<script" in page and "is not built" not in page
    assert left == []
    assert counted == 1
    assert clone.first_start() == made
    assert changed.stdout == ""
    assert [pid for pid in pids if is_alive(pid)] == []
    assert not clone.processes_file.exists()
