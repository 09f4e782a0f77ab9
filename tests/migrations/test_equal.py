"""Two ways to one schema: the authored files and the migrations end in the same database."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys

import asyncpg
import pytest

from nexus.platform.db import migrate
from nexus.platform.db.embedded import as_service_user
from nexus.platform.db.schema import apply_schema
from tests.postgres import TestServer, grant_connect


async def _empty_database(postgres: TestServer, name: str) -> None:
    admin = await postgres.admin()
    try:
        await admin.execute(f"DROP DATABASE IF EXISTS {name}")
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 OWNER nexus_owner")
        await grant_connect(admin, name)
    finally:
        await admin.close()


def _dump(postgres: TestServer, name: str, *more: str) -> str:
    done = subprocess.run(
        [
            str(postgres.embedded.binaries / "pg_dump"), "--dbname", postgres.url("postgres", name),
            "--exclude-schema", "platform_migrations", *more,
        ],
        capture_output=True, text=True, check=True, env={**os.environ, "LANG": "C.UTF-8"}, **as_service_user(),
    )  # fmt: skip
    # The dump's own random key, and the database's name, differ by design.
    return re.sub(r"^\\(un)?restrict .*$", "", done.stdout, flags=re.MULTILINE).replace(name, "database")


@pytest.fixture
async def both(postgres: TestServer) -> tuple[str, str]:
    authored, migrated = f"authored_{os.getpid()}", f"migrated_{os.getpid()}"
    await _empty_database(postgres, authored)
    await _empty_database(postgres, migrated)
    owner = await asyncpg.connect(postgres.url("nexus_owner", authored), statement_cache_size=0)
    await apply_schema(owner)
    await owner.close()
    await asyncio.to_thread(migrate.upgrade, postgres.url("nexus_owner", migrated))
    return authored, migrated


async def test_migrations_and_authored_files_make_the_same_schema(postgres: TestServer, both: tuple[str, str]) -> None:
    authored, migrated = both

    dumps = [_dump(postgres, name, "--schema-only").splitlines() for name in (authored, migrated)]

    assert dumps[0] == dumps[1]
    assert len(dumps[0]) > 500


async def test_migrating_again_changes_nothing_and_several_nodes_may_try(
    postgres: TestServer, both: tuple[str, str]
) -> None:
    _, migrated = both
    before = _dump(postgres, migrated)

    url = postgres.url("nexus_owner", migrated)
    program = "import sys; from nexus.platform.db.migrate import upgrade; sys.exit(not upgrade(sys.argv[1]).is_current)"
    nodes = [await asyncio.create_subprocess_exec(sys.executable, "-c", program, url) for _ in range(3)]

    assert [await node.wait() for node in nodes] == [0, 0, 0]
    assert _dump(postgres, migrated) == before
