"""Errors of all causes are summed up by the hour."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Sum up errors by the hour. The SQL is frozen."""
    sql = (files("nexus.platform.db") / "migrations" / "versions" / "0022_error_totals.sql").read_text("utf-8")
    cursor = op.get_bind().connection.cursor()
    cursor.execute("SET LOCAL check_function_bodies = off")
    # No parameters: the driver then sends the script as it stands, per cent signs included.
    cursor.execute(sql)
