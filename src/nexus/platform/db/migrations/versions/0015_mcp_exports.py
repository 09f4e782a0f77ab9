"""Requests to MCP servers are noted for export to an OpenTelemetry collector, as calls are."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision = "0015"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Note requests for export. The SQL is frozen."""
    sql = (files("nexus.platform.db") / "migrations" / "versions" / "0015_mcp_exports.sql").read_text("utf-8")
    cursor = op.get_bind().connection.cursor()
    cursor.execute("SET LOCAL check_function_bodies = off")
    # No parameters: the driver then sends the script as it stands, per cent signs included.
    cursor.execute(sql)
