"""What is refused of shared capacities."""

from __future__ import annotations

from nexus.kit.errors import Conflict, NotFound


class UnknownCapacity(NotFound):
    """There is no such shared capacity."""

    code = "unknown_shared_capacity"


class UnknownMember(NotFound):
    """That organization is none that shares this capacity."""

    code = "unknown_capacity_member"


class OverGuaranteed(Conflict):
    """More would be guaranteed to members than the capacity is."""

    code = "over_guaranteed"
