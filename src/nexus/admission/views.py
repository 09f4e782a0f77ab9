"""Admission's views: what holds while Redis is away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from nexus.admission.view_types import AdmissionStanding
from nexus.contracts.limits import Limit


def standing(limits: Sequence[Limit], *, is_degraded: bool) -> AdmissionStanding:
    """Count the limits in force by what holds while Redis is away."""
    count = Counter(limit.failure for limit in limits if not limit.is_shadow)
    return AdmissionStanding(is_degraded, count["closed"], count["open"], count["local"])
