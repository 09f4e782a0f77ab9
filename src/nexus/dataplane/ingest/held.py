"""The memory that requests being read hold together, so that many large ones at once cannot take all there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nexus.kit.errors import Unavailable

MAX_HELD_BYTES = 256 * 2**20


class TooMuchAtOnce(Unavailable):
    """More requests are being read than the service has memory for: send it again in a moment."""

    code = "ingest_memory_full"


class HeldBytes:
    """The memory that all requests of one application hold together."""

    def __init__(self, limit: int = MAX_HELD_BYTES) -> None:
        self._limit = limit
        self._total = 0

    @contextmanager
    def begin(self) -> Iterator[Held]:
        """Begin to read a request; what it holds is given back at the end."""
        held = Held(self)
        try:
            yield held
        finally:
            self._total -= held.bytes

    def take(self, count: int) -> None:
        """Hold so many bytes more; `TooMuchAtOnce` when that would be too many."""
        if self._total + count > self._limit:
            raise TooMuchAtOnce(retry_after_seconds=1)
        self._total += count


class Held:
    """The memory one request holds."""

    def __init__(self, together: HeldBytes) -> None:
        self._together = together
        self.bytes = 0

    def add(self, count: int) -> None:
        """Hold so many bytes more; `TooMuchAtOnce` when all requests together hold too much."""
        self._together.take(count)
        self.bytes += count
