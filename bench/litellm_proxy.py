"""LiteLLM's proxy beside ours: its newest release from the package index, in an environment of its own, without a database.

It is set up as its documentation tells a person to: a `config.yaml` with a `master_key`, so that it looks a key up as we
do, started by its own command with one worker and its own defaults. It prices each call by itself. Without a database it
keeps no record of one; what comes nearest is the callback that its documentation gives for writing each call's cost to a
file. So it is measured twice, without and with that.

It is no dependency of the project: it is installed into a folder of the bench's own under the temporary folder, kept there
for the next time, and left out of the report where it cannot be.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.node import free_port

FOLDER = Path(tempfile.gettempdir()) / "nexus-bench-litellm"
_PACKAGE = "litellm[proxy]"
_INSTALL_SECONDS = 900
_CONFIG = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params:
      model: openai/gpt-4o-mini
      api_base: {upstream}/v1
      api_key: none
general_settings:
  master_key: {key}
"""
KEY = "sk-" + "benchmark" * 5
_WITH_COSTS = """
litellm_settings:
  callbacks: costs.handler
"""
_COSTS = """\
import logging

from litellm.integrations.custom_logger import CustomLogger

logging.basicConfig(filename="costs.log", level=logging.INFO, format="%(asctime)s - %(message)s")


class Costs(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        logging.info("model %s cost %s", response_obj.model, kwargs.get("response_cost"))


handler = Costs()
"""
_FROM_PIP = ("PIP_", "PATH", "HOME", "LANG", "TMPDIR", "HTTP", "http", "NO_PROXY", "no_proxy", "SSL_", "REQUESTS_")


@dataclass(frozen=True)
class Installed:
    """An environment with LiteLLM in it."""

    python: Path
    version: str


class NotInstalledError(Exception):
    """LiteLLM cannot be installed or started here; the message says why."""


def install() -> Installed:
    """Install the newest release, or bring the one that is there up to it; an older one will do where that fails."""
    python = FOLDER / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if name.startswith(_FROM_PIP)}
    trouble = ""
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True, capture_output=True, timeout=120)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", _PACKAGE]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS
        )
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
        trouble = lines[-1] if done.returncode and lines else f"pip ended with code {done.returncode}"
    except (OSError, subprocess.SubprocessError) as error:
        trouble = str(error)
    version = _version(python)
    if version is None:
        raise NotInstalledError(trouble or "it is not there after its installation")
    return Installed(python, version)


def _version(python: Path) -> str | None:
    code = "import importlib.metadata; print(importlib.metadata.version('litellm'))"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False, timeout=60)
        return done.stdout.strip() or None
    return None


@contextlib.asynccontextmanager
async def serving(
    installed: Installed, upstream: str, folder: Path, *, writes_costs: bool
) -> AsyncIterator[tuple[str, subprocess.Popen[bytes]]]:
    """Serve one model of an upstream with one worker; gives the base URL and the process."""
    port = free_port()
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(_CONFIG.format(upstream=upstream, key=KEY) + (_WITH_COSTS if writes_costs else ""))
    (folder / "costs.py").write_text(_COSTS)
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    # Its prices from the package: else it asks the net for them first.
    environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(installed.python), str(installed.python.parent / "litellm"), "--config", str(config),
                "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1",
            ],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}/v1", process
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 20)
        except subprocess.TimeoutExpired:
            process.kill()
