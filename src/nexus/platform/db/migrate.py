"""Runs the migrations: hand-written SQL, ordered by Alembic, as the owner.

One node at a time: the first takes an advisory lock for the transaction, the others wait for it and find nothing to do.
"""

from __future__ import annotations

import importlib.resources
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

_one_at_a_time = threading.Lock()
"""Alembic keeps its state in a module, so one process runs one migration at a time."""
LOCK_KEY = 0x6E657875736D6967


def _sqlalchemy_url(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(("postgresql+psycopg", parts.netloc, parts.path, parts.query, ""))


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(importlib.resources.files("nexus.platform.db") / "migrations"))
    config.attributes["url"] = _sqlalchemy_url(url)
    return config


@dataclass(frozen=True)
class MigrationState:
    """Where a database stands."""

    current: str | None
    head: str

    @property
    def is_current(self) -> bool:
        """Whether nothing is left to do."""
        return self.current == self.head


def state(owner_url: str) -> MigrationState:
    """Tell the database's revision and the newest one."""
    head = ScriptDirectory.from_config(_config(owner_url)).get_current_head()
    assert head is not None
    engine = create_engine(_sqlalchemy_url(owner_url), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"version_table": "schema_revision", "version_table_schema": "platform_migrations"}
            )
            return MigrationState(context.get_current_revision(), head)
    finally:
        engine.dispose()


def upgrade(owner_url: str, revision: str = "head") -> MigrationState:
    """Bring the schema to a revision (the newest), as the owner. Re-runnable; several nodes may call it at once."""
    with _one_at_a_time:
        command.upgrade(_config(owner_url), revision)
    return state(owner_url)
