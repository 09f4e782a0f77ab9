"""What admission's views answer with."""

from __future__ import annotations

import msgspec


class AdmissionStanding(msgspec.Struct, frozen=True):
    """Whether limits are decided without Redis, and how many limits in force then refuse, admit, or give a share."""

    is_degraded: bool
    closed: int
    open: int
    local: int
