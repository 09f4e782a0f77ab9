"""Real PostgreSQL for the tests: one server for each test process, a clone of the template database for each test.

`NEXUS_TEST_POSTGRES` names a folder of other PostgreSQL binaries; `NEXUS_TEST_POOLER=1` puts PgBouncer in transaction
mode with a pool of two between the product's logins and the server.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from nexus.platform.db.embedded import EmbeddedPostgres, as_service_user, make_reachable, own, wheel_binaries
from nexus.platform.db.pool import DatabaseUrls
from nexus.platform.db.roles import initialise
from nexus.platform.db.schema import apply_schema
from nexus.platform.db.secrets import ROLES, ensure_secrets

TEMPLATE = "nexus_template"
_numbers = itertools.count()
POOLED = 2
"""Connections to the server that a pooler has for each login and database: so many statements are under way at once."""

FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "autovacuum_naptime": "60s",
}


@dataclass
class TestServer:
    """A running server with the roles and the template database made."""

    __test__ = False

    embedded: EmbeddedPostgres
    process: subprocess.Popen[bytes]
    pooler: Pooler | None = None
    databases: list[str] = field(default_factory=list)

    def url(self, role: str, database: str, *, direct: bool = False) -> str:
        """Return the URL of a login to a database, through the pooler if there is one."""
        if self.pooler is not None and not direct and role in {"nexus_service", "nexus_system", "nexus_writer"}:
            password = ensure_secrets(self.embedded.data_dir).passwords[role]
            return f"postgresql://{role}:{password}@127.0.0.1:{self.pooler.port}/{database}"
        return self.embedded.url(role, database)

    def urls(self, database: str) -> DatabaseUrls:
        """Return the logins to a database."""
        return DatabaseUrls(
            service=self.url("nexus_service", database),
            system=self.url("nexus_system", database),
            writer=self.url("nexus_writer", database),
            owner=self.url("nexus_owner", database),
            admin=self.url("postgres", database),
        )

    async def admin(self, database: str = "postgres") -> asyncpg.Connection:
        """Connect as superuser, for arranging only."""
        return await asyncpg.connect(self.url("postgres", database), statement_cache_size=0)

    async def create(self, *, template: str = TEMPLATE) -> str:
        """Make a database as a copy of the template; returns its name."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        admin = await self.admin()
        try:
            # A pooler keeps connections for a while; a database that is copied must have none.
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", template)
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER nexus_owner STRATEGY file_copy")
            await grant_connect(admin, name)
        finally:
            await admin.close()
        return name

    async def drop(self, name: str) -> None:
        """Drop a database, cutting who is still connected."""
        admin = await self.admin()
        try:
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        finally:
            await admin.close()

    def stop(self) -> None:
        """Stop pooler and server."""
        if self.pooler is not None:
            self.pooler.process.terminate()
            self.pooler.process.wait(10)
        self.process.send_signal(2)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


async def grant_connect(admin: asyncpg.Connection, database: str) -> None:
    """Give the logins what belongs to the database itself, which a template does not hand on."""
    await admin.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    for role in ROLES:
        await admin.execute(f"GRANT CONNECT ON DATABASE {database} TO {role}")
    for role in ("nexus_writer", "nexus_system"):
        await admin.execute(f"GRANT TEMPORARY ON DATABASE {database} TO {role}")


@dataclass
class Pooler:
    """PgBouncer in transaction mode with two server connections for each login and database."""

    process: subprocess.Popen[bytes]
    port: int


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_pooler(embedded: EmbeddedPostgres, folder: Path) -> Pooler:
    """Start PgBouncer in front of the server; it must be installed."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        raise RuntimeError(
            "NEXUS_TEST_POOLER is set, but pgbouncer is not installed (Debian: apt-get install pgbouncer)"
        )
    passwords = ensure_secrets(embedded.data_dir).passwords
    folder.mkdir(parents=True, exist_ok=True)
    make_reachable(folder)
    port = _free_port()
    users = folder / "users.txt"
    users.write_text("".join(f'"{role}" "{passwords[role]}"\n' for role in ROLES))
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        f"""[databases]
* = host={embedded.socket_dir} port=5432
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {POOLED}
max_client_conn = 500
max_db_connections = 0
server_idle_timeout = 5
ignore_startup_parameters = extra_float_digits
logfile = {folder}/pgbouncer.log
"""
    )
    own(folder)
    own(users)
    own(configuration)
    process = subprocess.Popen(
        [program, "-q", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_service_user()
    )
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return Pooler(process, port)
        time.sleep(0.05)
    raise RuntimeError(f"pgbouncer did not start: {(folder / 'pgbouncer.log').read_text()}")


async def _arrange(server: TestServer) -> None:
    admin = await server.admin()
    try:
        await initialise(admin, ensure_secrets(server.embedded.data_dir).passwords, database=TEMPLATE)
    finally:
        await admin.close()
    owner = await asyncpg.connect(server.url("nexus_owner", TEMPLATE), statement_cache_size=0)
    try:
        await apply_schema(owner)
    finally:
        await owner.close()


def start_server(folder: Path) -> TestServer:
    """Start a server in a folder and make the template database from the authored schema files."""
    named = os.environ.get("NEXUS_TEST_POSTGRES")
    binaries = Path(named) if named else wheel_binaries()
    embedded = EmbeddedPostgres(folder, binaries=binaries, options=FAST)
    embedded.prepare()
    log = (folder / "postgres.log").open("wb")
    process = embedded.popen(log=log)
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start: {(folder / 'postgres.log').read_text()}")
        if asyncio.run(embedded.is_ready()):
            break
        time.sleep(0.05)
    server = TestServer(embedded, process)
    try:
        asyncio.run(_arrange(server))
        if os.environ.get("NEXUS_TEST_POOLER") == "1":
            server.pooler = start_pooler(embedded, folder / "pooler")
    except BaseException:
        server.stop()
        raise
    return server
