"""Records of calls that limits refused: why, for whoever looks at the call; of many only some, so that a flood fills no disk.

An organization's first `BURST` refusals in a process are recorded each, and then one a second; a record tells how many before it
were not. How many there were in all is counted elsewhere, all of them: `admission.refusals`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from uuid import UUID

from nexus.dataplane.decide.explanation import explain_refusal
from nexus.dataplane.decide.gate import Ticket
from nexus.dataplane.gateway.exchange import Exchange
from nexus.kit.errors import NexusError

BURST = 100
PER_SECOND = 1.0
_MOST_ORGANIZATIONS = 10_000


class _Room:
    """How many records an organization may still have, and how many refusals had none since the last."""

    __slots__ = ("at", "left", "unrecorded")

    def __init__(self, at: float) -> None:
        self.at = at
        self.left = float(BURST)
        self.unrecorded = 0


class Refusals:
    """Which of one process's refused calls are recorded."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rooms: OrderedDict[UUID, _Room] = OrderedDict()

    def describes(self, exchange: Exchange, ticket: Ticket, error: NexusError) -> bool:
        """Write down in an exchange why it was refused; False where it is not to be recorded."""
        unrecorded = self._take(ticket.organization_id)
        decision = ticket.decision
        if unrecorded is None or decision.refused_by is None:
            return False
        told = explain_refusal(decision, ticket.plan.asked(ticket.charges))
        if unrecorded:
            told["refusal"]["unrecorded_before"] = unrecorded
        exchange.decision, exchange.refused_by = told, decision.refused_by.name
        exchange.status_code, exchange.error_type, exchange.error_message = error.status, error.code, error.detail
        return True

    def _take(self, organization_id: UUID) -> int | None:
        """Return how many went unrecorded before this one; None where it is to go so too."""
        now = self._clock()
        room = self._rooms.get(organization_id)
        if room is None:
            if len(self._rooms) >= _MOST_ORGANIZATIONS:
                self._rooms.popitem(last=False)
            room = self._rooms[organization_id] = _Room(now)
        self._rooms.move_to_end(organization_id)
        room.left = min(BURST, room.left + (now - room.at) * PER_SECOND)
        room.at = now
        if room.left < 1:
            room.unrecorded += 1
            return None
        room.left -= 1
        unrecorded, room.unrecorded = room.unrecorded, 0
        return unrecorded
