"""What can go wrong with questions about storage."""

from __future__ import annotations

from nexus.kit.errors import InvalidRequest


class TooManyGroups(InvalidRequest):
    """The answer has more groups than one answer may hold."""

    code = "too_many_groups"
