"""The node that is measured: the whole product, as `nexus up` starts it, in a folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import psutil

from nexus.demo.setting_up import Api
from nexus.platform.db import Database, DatabaseUrls
from nexus.platform.db.embedded import EmbeddedPostgres

KEY = "nx_" + "benchmark" * 5


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Node:
    """One `nexus up`; everything it stores goes with its folder."""

    def __init__(self, data_dir: Path, log: Path, *, workers: int) -> None:
        self.data_dir = data_dir
        self._log = log
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")} | {
            "NEXUS_DATA_DIR": str(self.data_dir),
            "NEXUS_PORT": str(self.port),
            "NEXUS_WORKERS": str(self._workers),
            "NEXUS_BOOTSTRAP_KEY": KEY,
            "NEXUS_LOG_LEVEL": "warning",
            "NEXUS_GATEWAY_ALLOW": "127.0.0.0/8",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nexus", "up"], env=environment, stdout=log, stderr=log
            )
        for _ in range(1200):
            if self._process.poll() is not None:
                raise RuntimeError(f"the node ended: {self._log.read_text()[-2000:]}")
            if await asyncio.to_thread(self._is_ready):
                return
            await asyncio.sleep(0.1)
        raise RuntimeError("the node did not become ready in two minutes")

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    async def admin(self) -> asyncpg.Connection[Any]:
        """Connect as superuser: the baseline is what PostgreSQL does without any of our rules."""
        return await asyncpg.connect(self._url("postgres"), statement_cache_size=0)

    async def database(self) -> Database:
        """Connect as the product does."""
        urls = DatabaseUrls(
            service=self._url("nexus_service"), writer=self._url("nexus_writer"), system=self._url("nexus_system")
        )
        return await Database.connect(urls, application_name="bench", max_size=2)

    async def add_credential(self, provider: str, base_url: str) -> None:
        """Keep what the node sends to a provider, which here is a sandbox."""
        body = {"provider": provider, "name": "bench", "secret": "sk-bench", "base_url": base_url}
        await self.post("/api/identity/provider-credentials", body)
        await asyncio.sleep(1.5)

    async def add_limited_organization(self, provider: str, base_url: str, limits: list[dict[str, object]]) -> str:
        """Make an organization whose calls to a provider meet limits, as a whole and for each key; returns its key."""
        return await asyncio.to_thread(self._add_limited_organization, provider, base_url, limits)

    def _add_limited_organization(self, provider: str, base_url: str, limits: list[dict[str, object]]) -> str:
        api, name = Api(self.url), "limited"
        first = msgspec.json.decode((self.data_dir / "first-start.json").read_bytes())
        api.sign_in(first["admin_email"], first["admin_password"])
        api.call("POST", "/api/identity/organizations", {"name": name, "slug": name})
        made = api.call(
            "POST", "/api/identity/access-keys", {"name": "bench", "scopes": ["gateway:call"]}, organization=name
        )
        credential = {"provider": provider, "name": "bench", "secret": "sk-bench", "base_url": base_url}
        api.call("POST", "/api/identity/provider-credentials", credential, organization=name)
        for scope in ("organization", "key"):
            quota = {"name": f"bench-{scope}", "scope": scope, "limits": limits, "reason": "to be measured"}
            api.call("POST", "/api/admission/quotas", quota, organization=name)
        return str(made["key"])

    async def post(self, path: str, body: dict[str, object]) -> None:
        """Make something over HTTP, as the first key may."""
        asked = urllib.request.Request(
            f"{self.url}{path}",
            data=msgspec.json.encode(body),
            headers={"authorization": f"Bearer {KEY}", "content-type": "application/json"},
        )
        with await asyncio.to_thread(urllib.request.urlopen, asked, timeout=10) as answer:
            if answer.status != 201:
                raise RuntimeError(f"{path} was not taken: {answer.status}")

    def web_processes(self) -> list[psutil.Process]:
        """Return the node's web processes."""
        if self._process is None:
            raise RuntimeError("the node does not run")
        children = psutil.Process(self._process.pid).children(recursive=True)
        return [child for child in children if _last_word(child) == "web"]

    def others_seconds(self) -> float:
        """Return the processor time that the node's other processes took: worker, PostgreSQL, Redis, supervisor."""
        if self._process is None:
            raise RuntimeError("the node does not run")
        supervisor = psutil.Process(self._process.pid)
        web = {process.pid for process in self.web_processes()}
        total = 0.0
        for process in (supervisor, *supervisor.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.pid not in web:
                    times = process.cpu_times()
                    total += float(times.user + times.system)
        return total

    def web_process(self) -> psutil.Process:
        """Return the node's first web process."""
        return self.web_processes()[0]

    def _url(self, role: str) -> str:
        return EmbeddedPostgres(self.data_dir).url(role, "nexus")

    def stop(self) -> None:
        """Stop it cleanly."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)


def _last_word(process: psutil.Process) -> str:
    """Return the last word of a process's command line; nothing of one that has ended."""
    try:
        return (process.cmdline() or [""])[-1]
    except psutil.Error:
        return ""
