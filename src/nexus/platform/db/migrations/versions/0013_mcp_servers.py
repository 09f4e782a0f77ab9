"""MCP servers behind the gateway."""

from importlib.resources import files

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of servers, and let keys name them. The SQL is frozen: later changes come as later revisions."""
    sql = (files("nexus.platform.db") / "migrations" / "versions" / "0013_mcp_servers.sql").read_text("utf-8")
    connection = op.get_bind()
    cursor = connection.connection.cursor()
    cursor.execute("SET LOCAL check_function_bodies = off")
    # No parameters: the driver then sends the script as it stands, per cent signs included.
    cursor.execute(sql)
