"""Low-token events: times in which a bucket was low."""

from importlib.resources import files

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table. The SQL is frozen: later changes come as later revisions."""
    sql = (files("nexus.platform.db") / "migrations" / "versions" / "0007_low_token_events.sql").read_text("utf-8")
    connection = op.get_bind()
    cursor = connection.connection.cursor()
    cursor.execute("SET LOCAL check_function_bodies = off")
    # No parameters: the driver then sends the script as it stands, per cent signs included.
    cursor.execute(sql)
