"""Ties a child's life to its supervisor's, so that a killed supervisor leaves nothing behind that still serves.

The kernel signals the child when its parent dies (Linux), and the child watches the reading end of a pipe whose writing
end only the supervisor holds: end of file means the supervisor is gone (everywhere).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import signal
import sys
import threading
from collections.abc import Callable

VARIABLE = "NEXUS_LIFELINE_FD"
_PR_SET_PDEATHSIG = 1


def die_with_parent(sign: int) -> Callable[[], None]:
    """Return what a child runs before its program, so that the kernel sends it `sign` when its parent dies."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arrange() -> None:
        # A group of its own: Ctrl-C in the terminal reaches the supervisor, which ends the others in order.
        os.setpgid(0, 0)
        libc.prctl(_PR_SET_PDEATHSIG, sign)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return arrange


def watch_in_thread(on_gone: Callable[[], None]) -> None:
    """Do the same as `watch` in a process that has no event loop; the function is called in another thread."""
    number = os.environ.get(VARIABLE)
    if number is None:
        return
    descriptor = int(number)

    def wait() -> None:
        # The pipe is one for all children, and an event loop in any of them makes it one that reading does not wait for.
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        waiting.poll()
        if not os.read(descriptor, 1):
            on_gone()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def watch(loop: asyncio.AbstractEventLoop, on_gone: Callable[[], None]) -> None:
    """Call a function when the supervisor is gone; does nothing in a process nobody supervises."""
    number = os.environ.get(VARIABLE)
    if number is None:
        return
    descriptor = int(number)

    def readable() -> None:
        if not os.read(descriptor, 1):
            loop.remove_reader(descriptor)
            on_gone()

    loop.add_reader(descriptor, readable)
