"""The health of each place that is called, as the calls themselves show it: a circuit breaker per endpoint.

Every forwarded call counts; only routed ones ask whether they may go there, as they have somewhere else to go.

closed --failures in a row, or most of the last calls--> open --a while--> half open --one call: it works--> closed
                                                          ^                    |
                                                          +---- it fails ------+
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from nexus.dataplane.gateway.exchange import Target

FAILURES_IN_A_ROW = 5
WINDOW = 20
OPEN_SECONDS = 10.0
LONGEST_OPEN_SECONDS = 120.0
MAX_ENDPOINTS = 10_000

Endpoint = tuple[UUID, str, str, UUID | None]
"""Organization, provider, base URL and credential."""


def endpoint_of(organization_id: UUID, target: Target) -> Endpoint:
    """Return what a target's health is kept by."""
    credential = target.credential
    return organization_id, target.provider.slug, target.base_url, credential.id if credential else None


def is_unwell(status: int) -> bool:
    """Tell whether an answer speaks against its endpoint. A provider that limits us is well; it is we who are too many."""
    return status >= 500 or status == 408


@dataclass(slots=True)
class EndpointHealth:
    """What is known of one endpoint. Times are of a monotonic clock, in seconds."""

    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    in_a_row: int = 0
    opened_at: float | None = None
    open_seconds: float = OPEN_SECONDS
    is_trying: bool = False
    worked_at: float | None = None
    failed_at: float | None = None
    failure: str = ""
    """Code of the last failure."""
    is_told: bool = True
    """Whether others were told what is known here."""

    def allows(self, now: float) -> bool:
        """Tell whether a call may go there; of those that ask while it is half open, only the first may."""
        if self.opened_at is None:
            return True
        if now - self.opened_at < self.open_seconds or self.is_trying:
            return False
        self.is_trying = True
        return True

    def note(self, *, worked: bool, now: float, failure: str = "") -> None:
        """Note how a call ended."""
        self.is_told = False
        if worked:
            self.worked_at = now
            if self.opened_at is not None:
                self.recent.clear()
            self.opened_at, self.open_seconds, self.in_a_row = None, OPEN_SECONDS, 0
        else:
            self.in_a_row += 1
            self.failed_at, self.failure = now, failure
            was_open = self.opened_at is not None
            self.recent.append(False)
            failures = sum(not item for item in self.recent)
            if was_open and self.is_trying:
                self.opened_at, self.open_seconds = now, min(self.open_seconds * 2, LONGEST_OPEN_SECONDS)
            elif not was_open and (
                self.in_a_row >= FAILURES_IN_A_ROW or (len(self.recent) == WINDOW and failures * 2 > WINDOW)
            ):
                self.opened_at = now
            self.is_trying = False
            return
        self.recent.append(True)
        self.is_trying = False


class HealthBook:
    """The health of all endpoints, as this process knows it."""

    def __init__(self) -> None:
        self._endpoints: dict[Endpoint, EndpointHealth] = {}

    def of(self, endpoint: Endpoint) -> EndpointHealth:
        """Return what is known of an endpoint."""
        found = self._endpoints.get(endpoint)
        if found is None:
            if len(self._endpoints) >= MAX_ENDPOINTS:
                self._endpoints.clear()
            found = self._endpoints[endpoint] = EndpointHealth()
        return found

    def untold(self) -> Iterator[tuple[Endpoint, EndpointHealth]]:
        """Yield the endpoints of which others do not know yet."""
        return (item for item in list(self._endpoints.items()) if not item[1].is_told)
