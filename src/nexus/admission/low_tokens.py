"""Which buckets are low, and since when: an event begins when one has been for a while, and ends when it is not any more.

Pure: what the buckets have, and which events are open, is said with each look.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from nexus.admission.service import CRITICAL_BELOW, WARNING_BELOW

Severity = Literal["warning", "critical"]
BELOW: Mapping[Severity, float] = {"warning": WARNING_BELOW, "critical": CRITICAL_BELOW}


@dataclass(frozen=True, slots=True)
class Low:
    """A bucket that has been low for long enough."""

    bucket: str
    severity: Severity
    fill: float
    began_at: datetime


class LowTokens:
    """What one worker has seen of low buckets. One that has just started waits as long as everybody."""

    def __init__(self) -> None:
        self._since: dict[tuple[UUID, str, Severity], datetime] = {}

    def look(
        self,
        organization_id: UUID,
        fills: Mapping[str, float],
        opened: Collection[tuple[str, Severity]],
        at: datetime,
        lasting: timedelta,
    ) -> tuple[list[Low], list[tuple[str, Severity]]]:
        """Return the events that begin and those that end, of one organization; a bucket that is not there is full."""
        low = {
            (bucket, severity): fill
            for bucket, fill in fills.items()
            for severity, below in BELOW.items()
            if fill < below
        }
        kept = {key: since for key, since in self._since.items() if key[0] != organization_id or key[1:] in low}
        begun: list[Low] = []
        for (bucket, severity), fill in low.items():
            since = kept.setdefault((organization_id, bucket, severity), at)
            if at - since >= lasting and (bucket, severity) not in opened:
                begun.append(Low(bucket, severity, fill, since))
        self._since = kept
        return begun, [key for key in opened if key not in low]
