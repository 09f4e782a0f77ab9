"""LiteLLM's proxy beside ours: its newest release from the package index, in an environment of its own, without a database.

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
litellm_settings:
  telemetry: false
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
async def serving(installed: Installed, upstream: str, folder: Path) -> AsyncIterator[str]:
    """Serve one model of an upstream with one worker; gives the base URL."""
    port = free_port()
    config = folder / "litellm.yaml"
    config.write_text(_CONFIG.format(upstream=upstream))
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    # Its prices from the package: else it asks the net for them first.
    environment |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "PYTHONUNBUFFERED": "1"}
    # Without a key of its own it looks no key up, which is to its advantage here.
    environment |= {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(installed.python), str(installed.python.parent / "litellm"), "--config", str(config),
                "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1",
            ],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 20)
        except subprocess.TimeoutExpired:
            process.kill()
