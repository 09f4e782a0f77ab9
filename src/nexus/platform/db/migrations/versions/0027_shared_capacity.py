"""Several organizations share capacity."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keep shared capacities and the ledger of their grants. The SQL is frozen."""
    sql = (files("nexus.platform.db") / "migrations" / "versions" / "0027_shared_capacity.sql").read_text("utf-8")
    cursor = op.get_bind().connection.cursor()
    cursor.execute("SET LOCAL check_function_bodies = off")
    # No parameters: the driver then sends the script as it stands, per cent signs included.
    cursor.execute(sql)
