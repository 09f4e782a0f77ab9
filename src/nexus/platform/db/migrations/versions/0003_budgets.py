"""Budgets: costs' tables and functions, their permissions, tags as a scope of quotas."""

from importlib.resources import files

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what budgets need. The SQL is frozen: later changes come as later revisions."""
    sql = (files("nexus.platform.db") / "migrations" / "versions" / "0003_budgets.sql").read_text("utf-8")
    connection = op.get_bind()
    cursor = connection.connection.cursor()
    cursor.execute("SET LOCAL check_function_bodies = off")
    # No parameters: the driver then sends the script as it stands, per cent signs included.
    cursor.execute(sql)
