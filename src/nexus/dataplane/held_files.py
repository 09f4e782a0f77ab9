"""Files of one process in a folder that all processes of a node share: held under a lock, adopted when nobody holds them.

    draft (created, locked) --written, renamed--> file (locked by its writer) --let go, or its process died-->
    file (nobody's) --adopted: locked by any process--> deleted

A lock (flock) ends with the process that holds it, however that ends. Others look at finished names only, so that none
can adopt a file before its writer holds it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def create_held(path: Path) -> int:
    """Create a file that only its owner can read, hold it, and return its descriptor, which appends."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def adopt(path: Path) -> int | None:
    """Hold a file that nobody holds and return its descriptor; None where somebody does, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between our opening and locking it another process may have deleted the file, or given it its name.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def files_of(folder: Path, suffix: str) -> list[Path]:
    """Return the files with a suffix, by name; none where there is no folder."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == suffix)
    except FileNotFoundError:
        return []


def read_nobodys(folder: Path, suffix: str, *, but: frozenset[Path] = frozenset()) -> Iterator[tuple[Path, int, bytes]]:
    """Adopt, by name, each file that nobody holds; gives path, descriptor and content. Whoever takes it closes it."""
    for path in files_of(folder, suffix):
        descriptor = None if path in but else adopt(path)
        if descriptor is not None:
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read()
            yield path, descriptor, content


def clear_drafts(folder: Path, suffix: str) -> None:
    """Delete what processes that died left unfinished; nobody was told that anything in it was kept."""
    for path in files_of(folder, suffix):
        descriptor = adopt(path)
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)
