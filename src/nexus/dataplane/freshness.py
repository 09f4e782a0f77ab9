"""How long ago a process last knew that its tables were those of PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

STALE_AFTER_SECONDS = 10.0
"""Tables are asked for twice a second; after so long a worker says that it serves by old ones. It goes on serving."""


class Freshness:
    """Since when each table of one process may be out of date."""

    def __init__(self, names: Iterable[str], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._confirmed = dict.fromkeys(names, monotonic())
        self._trouble: dict[str, str] = {}

    def confirm(self, name: str) -> bool:
        """Note that a table is current; tells whether it was in trouble before."""
        self._confirmed[name] = self._monotonic()
        return self._trouble.pop(name, None) is not None

    def fail(self, name: str, reason: str) -> bool:
        """Note why a table could not be brought up to date; tells whether that is new."""
        is_new = name not in self._trouble
        self._trouble[name] = reason
        return is_new

    def stale(self) -> dict[str, str]:
        """Return the tables that have not been current for longer than `STALE_AFTER_SECONDS`, and since when and why."""
        now = self._monotonic()
        return {
            name: f"not refreshed for {int(now - at)} s ({self._trouble.get(name, 'no answer yet')})"
            for name, at in self._confirmed.items()
            if now - at > STALE_AFTER_SECONDS
        }
