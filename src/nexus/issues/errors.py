"""What can be wrong with a question about issues, or with what is to be done to them."""

from __future__ import annotations

from nexus.kit.errors import Conflict, InvalidRequest, NotFound


class IssueNotFound(NotFound):
    """There is no such issue in this organization."""

    code = "issue_not_found"


class UnknownAssignee(InvalidRequest):
    """Assign an issue to a member of the organization."""

    code = "unknown_assignee"


class CannotSplit(InvalidRequest):
    """Name causes of the issue, and leave at least one of them in it."""

    code = "cannot_split"


class IssueMerged(Conflict):
    """The issue was merged into another: see `merged_into`."""

    code = "issue_merged"
