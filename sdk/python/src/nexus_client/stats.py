"""Counts what the client did and where it failed, as it never raises."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from types import TracebackType

logger = logging.getLogger("nexus_client")
_SECONDS_BETWEEN_WARNINGS = 60.0


@dataclasses.dataclass(frozen=True)
class Stats:
    """A snapshot of the counters. All but `last_failure` are counts since the client was made, or since a fork."""

    recorded: int = 0
    """Records that were handed to the client."""
    written: int = 0
    """Records that were written to the spool."""
    sent: int = 0
    """Records that Nexus has made durable, those taken over from other processes included."""
    duplicates: int = 0
    """Of those sent, records that Nexus knew already."""
    refused: int = 0
    """Records that Nexus refused as wrong; they are not sent again."""
    dropped: int = 0
    """Records that were given up: queue, memory and disk were full, or the client was closed or has no key."""
    invalid: int = 0
    """Records that are no JSON."""
    damaged: int = 0
    """Lines of a spool that could not be read again, such as one that was cut off by a power cut."""
    adopted: int = 0
    """Records taken over from the spool of a process that has ended."""
    attempts_failed: int = 0
    """Requests to Nexus that brought no receipt; they are made again."""
    disk_failures: int = 0
    """Times the spool could not be written or read."""
    own_failures: int = 0
    """Faults of the client itself, or of how it was set up. The program and its calls were not touched."""
    last_failure: str | None = None
    """What went wrong last, in words."""


class Shield:
    """Keeps the client's own faults away from the program: an `Exception` raised within it is counted and goes no further.

    `KeyboardInterrupt`, `SystemExit`, a generator that is closed and a task that is cancelled are not ours to hold back:
    they go on. It has no state, so it is made once and entered by any thread, again and again and within itself.
    """

    __slots__ = ("_counters", "_name")

    def __init__(self, counters: Counters, name: str) -> None:
        self._counters = counters
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._counters.fail(self._name, _in_words(error))
        return True


class Counters:
    """The counters behind `Stats`; many threads add to them."""

    def __init__(self) -> None:
        self.shield = Shield(self, "own_failures")
        """Within it stands whatever of ours runs in a thread of the program."""
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._last: str | None = None
        self._warned: dict[str, float] = {}

    def add(self, name: str, count: int = 1) -> None:
        """Add to a counter of `Stats`."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + count

    def fail(self, name: str, what: str, count: int = 1) -> None:
        """Add to a counter, keep the reason, and log it, but not more than once a minute for each counter."""
        now = time.monotonic()
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + count
            self._last = what
            quiet = now - self._warned.get(name, float("-inf")) < _SECONDS_BETWEEN_WARNINGS
            if not quiet:
                self._warned[name] = now
        if not quiet:
            # The program's own handlers of logs may fail; that is no reason to fail here.
            with contextlib.suppress(Exception):
                logger.warning("%s: %s", name, what)

    def get(self, name: str) -> int:
        """Return one counter."""
        with self._lock:
            return self._counts.get(name, 0)

    def snapshot(self) -> Stats:
        """Return all of them as they are now."""
        with self._lock:
            return Stats(last_failure=self._last, **self._counts)


def _in_words(error: Exception) -> str:
    words = type(error).__name__
    # Whoever wrote the exception may not have thought of its being shown.
    with contextlib.suppress(Exception):
        words = f"{words}: {error}"
    return words
