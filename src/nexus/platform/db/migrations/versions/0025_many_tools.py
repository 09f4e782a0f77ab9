"""Pages about ten thousand tools and a million errors stay quick."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add indexes, small sets of sums, and a bounded search. The SQL is frozen."""
    sql = (files("nexus.platform.db") / "migrations" / "versions" / "0025_many_tools.sql").read_text("utf-8")
    cursor = op.get_bind().connection.cursor()
    cursor.execute("SET LOCAL check_function_bodies = off")
    # No parameters: the driver then sends the script as it stands, per cent signs included.
    cursor.execute(sql)
