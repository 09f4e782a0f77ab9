"""A call of a tool that spans of OpenTelemetry tell of, too, is one call."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Know a call by spans of client and server, too. The SQL is frozen."""
    sql = (files("nexus.platform.db") / "migrations" / "versions" / "0021_mcp_sightings.sql").read_text("utf-8")
    cursor = op.get_bind().connection.cursor()
    cursor.execute("SET LOCAL check_function_bodies = off")
    # No parameters: the driver then sends the script as it stands, per cent signs included.
    cursor.execute(sql)
