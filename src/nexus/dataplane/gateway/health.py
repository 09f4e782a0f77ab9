"""The health of each place that is called, as the calls themselves show it: a circuit breaker per endpoint.

closed --failures in a row, or most of the last calls--> open --a while--> half open --one call: it works--> closed
                                                          ^                    |
                                                          +---- it fails ------+
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

FAILURES_IN_A_ROW = 5
WINDOW = 20
OPEN_SECONDS = 10.0
LONGEST_OPEN_SECONDS = 120.0
MAX_ENDPOINTS = 10_000

Endpoint = tuple[str, str, str]
"""Provider, base URL and credential."""


@dataclass(slots=True)
class EndpointHealth:
    """What is known of one endpoint. Times are of a monotonic clock, in seconds."""

    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    in_a_row: int = 0
    opened_at: float | None = None
    open_seconds: float = OPEN_SECONDS
    is_trying: bool = False

    def allows(self, now: float) -> bool:
        """Tell whether a call may go there; of those that ask while it is half open, only the first may."""
        if self.opened_at is None:
            return True
        if now - self.opened_at < self.open_seconds or self.is_trying:
            return False
        self.is_trying = True
        return True

    def note(self, *, worked: bool, now: float) -> None:
        """Note how a call ended."""
        if worked:
            if self.opened_at is not None:
                self.recent.clear()
            self.opened_at, self.open_seconds, self.in_a_row = None, OPEN_SECONDS, 0
        else:
            self.in_a_row += 1
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
