"""Names of what is kept in, or published through, Redis: one place, so that both planes agree."""

from __future__ import annotations

from uuid import UUID


def live_channel(organization_id: UUID) -> str:
    """Return the channel on which stored records of an organization are announced.

    Messages are JSON: `{"stored": records since the last message, "at": instant of the message}`. They may be lost;
    what they announce is in PostgreSQL.
    """
    return f"nexus:live:{organization_id}"
