"""What calls were asked for by limits is kept once for all that were asked the same."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keep sets of limits. The SQL is frozen."""
    sql = (files("nexus.platform.db") / "migrations" / "versions" / "0023_limit_sets.sql").read_text("utf-8")
    cursor = op.get_bind().connection.cursor()
    cursor.execute("SET LOCAL check_function_bodies = off")
    # No parameters: the driver then sends the script as it stands, per cent signs included.
    cursor.execute(sql)
