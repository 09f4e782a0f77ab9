"""Calls that several tell of are one: the gateway's record, and spans of the program that called."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Remember by what calls are known, and settle which record counts. The SQL is frozen."""
    sql = (files("nexus.platform.db") / "migrations" / "versions" / "0004_call_sightings.sql").read_text("utf-8")
    cursor = op.get_bind().connection.cursor()
    cursor.execute("SET LOCAL check_function_bodies = off")
    # No parameters: the driver then sends the script as it stands, per cent signs included.
    cursor.execute(sql)
