"""The time, as something that can be handed in, so that tests decide what time it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the current instant, always aware and in UTC."""

    def now(self) -> datetime:
        """Return the current instant in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current instant in UTC."""
        return datetime.now(UTC)


class FixedClock:
    """A clock that stands still until it is told to advance."""

    def __init__(self, at: datetime) -> None:
        if at.tzinfo is None:
            raise ValueError("a clock shows aware instants; give one with a zone")
        self._at = at.astimezone(UTC)

    def now(self) -> datetime:
        """Return the instant the clock was set to."""
        return self._at

    def advance(self, by: timedelta) -> None:
        """Move the clock on by a duration."""
        self._at += by


SYSTEM_CLOCK = SystemClock()
