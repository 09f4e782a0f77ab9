"""Rankings of tools, servers and clients over days are answered from an index."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Give the indexes of days what rankings read. The SQL is frozen."""
    sql = (files("nexus.platform.db") / "migrations" / "versions" / "0026_rankings.sql").read_text("utf-8")
    cursor = op.get_bind().connection.cursor()
    cursor.execute("SET LOCAL check_function_bodies = off")
    # No parameters: the driver then sends the script as it stands, per cent signs included.
    cursor.execute(sql)
