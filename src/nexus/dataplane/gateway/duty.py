"""Who of a node's processes does what each of them could: the one that holds a file under a lock.

The lock (flock) ends with its process, however that ends; so there is no lease to renew, and nobody to be outvoted.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Duty:
    """One piece of work of a node."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: int | None = None

    def take(self) -> bool:
        """Take the work on, for as long as this process lives or until `give_up`; tells whether it is ours."""
        if self._held is None:
            self._held = self._lock()
        return self._held is not None

    def is_taken(self) -> bool:
        """Tell whether another process has taken it on."""
        if self._held is not None:
            return False
        held = self._lock()
        if held is None:
            return True
        os.close(held)
        return False

    def give_up(self) -> None:
        """Leave the work to others."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _lock(self) -> int | None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor
