"""Alembic's entry: one connection as the owner, short lock waits, one node at a time."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from nexus.platform.db.migrate import LOCK_KEY


def run() -> None:
    """Run the migrations online; there is no offline mode, as data may have to move."""
    engine = create_engine(context.config.attributes["url"], poolclass=NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=None,
            version_table="schema_revision",
            version_table_schema="platform_migrations",
            transactional_ddl=True,
        )
        with connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS platform_migrations"))
        with context.begin_transaction():
            # Another node may be at it: wait for it here, then find its revision written.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
            context.run_migrations()
    engine.dispose()


run()
