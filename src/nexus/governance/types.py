"""What governance shows."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec


class AuditEntry(msgspec.Struct, frozen=True):
    """One line of the audit log."""

    id: UUID
    occurred_at: datetime
    table_name: str | None
    action: str
    row_id: str | None
    old_row: dict[str, Any] | None
    new_row: dict[str, Any] | None
    actor_user_id: UUID | None
    actor_key_id: UUID | None
    actor_label: str
    ip_address: str | None
    user_agent: str | None
    request_id: str | None
