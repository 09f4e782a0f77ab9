"""Time limits of many short waits, for the price of one timer.

`asyncio.timeout` makes and unmakes a timer of the event loop for each wait, which costs more than most of what the
gateway does for a call. Nearly every wait ends in time, so here a limit is only written down, and one timer looks
every `TICK_SECONDS` for those that have passed: a limit ends so much later at most.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary
from weakref import ref as weakref

TICK_SECONDS = 0.1


class _Book:
    """The limits of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.open: set[Deadline] = set()
        self.is_ticking = False

    def tick(self) -> None:
        """End what is over; look again while anything is waited for."""
        now = self.loop.time()
        for limit in [limit for limit in self.open if limit.at <= now]:
            limit.expire()
        self.is_ticking = bool(self.open)
        if self.is_ticking:
            self.loop.call_later(TICK_SECONDS, self.tick)


_books: WeakKeyDictionary[asyncio.AbstractEventLoop, _Book] = WeakKeyDictionary()
_last: weakref[_Book] | None = None


def _book_of(loop: asyncio.AbstractEventLoop) -> _Book:
    global _last
    # Nearly every process has one loop: it is not looked up for each wait.
    book = None if _last is None else _last()
    if book is None or book.loop is not loop:
        book = _books.get(loop)
        if book is None:
            book = _books[loop] = _Book(loop)
        _last = weakref(book)
    return book


class Deadline:
    """`with Deadline(seconds): await …` raises `TimeoutError` when that takes longer, as `asyncio.timeout` does."""

    __slots__ = ("_book", "_cancelling", "_is_over", "_seconds", "_task", "at")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        book = _book_of(loop)
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a deadline needs a task to end")
        self._task, self._cancelling, self._book = task, task.cancelling(), book
        self.at = loop.time() + self._seconds
        book.open.add(self)
        if not book.is_ticking:
            book.is_ticking = True
            loop.call_later(TICK_SECONDS, book.tick)
        return self

    def expire(self) -> None:
        """End the wait."""
        self._book.open.discard(self)
        self._is_over = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._is_over:
            self._book.open.discard(self)
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            # Somebody else's cancellation stays one.
            raise TimeoutError from error
