"""Holds are found by their names."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index. The SQL is frozen: later changes come as later revisions."""
    sql = (files("nexus.platform.db") / "migrations" / "versions" / "0011_holds.sql").read_text("utf-8")
    cursor = op.get_bind().connection.cursor()
    cursor.execute("SET LOCAL check_function_bodies = off")
    # No parameters: the driver then sends the script as it stands, per cent signs included.
    cursor.execute(sql)
