"""What admission refuses."""

from __future__ import annotations

from nexus.kit.errors import Conflict, NotFound, Unavailable


class UnknownCluster(NotFound):
    """There is no such cluster in this organization."""

    code = "unknown_cluster"


class UnknownApplication(NotFound):
    """There is no such application in this organization."""

    code = "unknown_application"


class UnknownOperation(NotFound):
    """There is no such operation type."""

    code = "unknown_operation"


class UnknownQuota(NotFound):
    """There is no such quota in this organization."""

    code = "unknown_quota"


class UnknownVersion(NotFound):
    """The quota has no such version."""

    code = "unknown_quota_version"


class NameTaken(Conflict):
    """Something of this kind has this name already: choose another."""

    code = "name_taken"


class OverlappingValidity(Conflict):
    """Two would hold at one time."""

    code = "overlapping_validity"


class LimiterUnavailable(Unavailable):
    """Redis does not answer, so buckets cannot be looked at: try again in a moment."""

    code = "limiter_unavailable"
