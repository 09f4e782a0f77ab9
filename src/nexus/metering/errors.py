"""What the meter refuses, and why."""

from __future__ import annotations

from nexus.kit.errors import InvalidRequest, NotFound, TooManyRequests


class RangeTooLong(InvalidRequest):
    """These dimensions are not kept together, so the answer must be counted from the raw calls, of a day at most."""

    code = "range_too_long"


class RangeNoLongerKept(InvalidRequest):
    """Retention has taken what this range needs at its ends."""

    code = "range_no_longer_kept"


class TooManyPoints(InvalidRequest):
    """The series would have too many points."""

    code = "too_many_points"


class TooManyGroups(InvalidRequest):
    """The answer would have too many groups."""

    code = "too_many_groups"


class TooManyExports(TooManyRequests):
    """Other exports are being read from this process: wait for them, then try again."""

    code = "too_many_exports"


class CallNotFound(NotFound):
    """There is no such call in this organization, or it is no longer kept. An id that carries no time needs `at` too."""

    code = "call_not_found"


class RepricingNotFound(NotFound):
    """There is no such repricing in this organization."""

    code = "repricing_not_found"
