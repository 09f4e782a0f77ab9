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


class UnknownHold(NotFound):
    """The trail has no such hold: it was refused (then nothing is charged, and the refusal is counted), decided by a lease or
    without Redis, is older than transactions are kept, or was made in this very second."""

    code = "unknown_hold"


class UnknownBorrowingRule(NotFound):
    """There is no such borrowing rule in this organization."""

    code = "unknown_borrowing_rule"


class UnknownLoan(NotFound):
    """There is no such loan in this organization."""

    code = "unknown_loan"


class UnknownBucket(NotFound):
    """No limit in force has such a bucket, or it is none that refills."""

    code = "unknown_bucket"


class NoBorrowingRule(Conflict):
    """No rule lets this bucket borrow there: add one under borrowing rules."""

    code = "no_borrowing_rule"


class LoanRefused(Conflict):
    """The loan cannot be granted as things stand."""

    code = "loan_refused"


class LoanEnded(Conflict):
    """The loan has ended: nothing is owed any more."""

    code = "loan_ended"
