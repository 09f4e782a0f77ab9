"""The way of a record: queue -> (writer thread) -> spool -> (sender thread) -> Nexus.

    put        appends to a queue in memory; nothing else happens in the host's thread
    writer     wakes, lets some milliseconds of records gather, encodes them, writes them to the segment
    sender     takes a segment that is full or old enough, sends it until there is a receipt, deletes it

Where the spool cannot be written, batches are kept in memory up to a limit; beyond it, or with the queue full, records
are dropped and counted, or, for loaders that ask for it, `put` waits.
"""

from __future__ import annotations

import collections
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from nexus_client.posting import Away, Poster, Receipt
from nexus_client.spool import Segment, Spool
from nexus_client.stats import Counters, Shield

Record = dict[str, Any]
Item = Union[Record, Callable[[], Optional[Record]]]
"""A record, or what makes it: reading an answer's usage is work for the writer, not for the host's thread."""

_ROUND = 2_000
_FIRST_PAUSE_SECONDS = 0.25
_ADOPT_EVERY_SECONDS = 60.0


@dataclass(frozen=True)
class Limits:
    """How much may gather where, and for how long."""

    queue_records: int
    memory_bytes: int
    linger_seconds: float
    """From the first record in the queue to the write."""
    batch_seconds: float
    """From the first record in a segment to its sending."""
    longest_pause_seconds: float
    waits_when_full: bool


@dataclass
class MemoryBatch:
    """Records that the disk did not take."""

    lines: list[bytes] = field(default_factory=list)
    size: int = 0


Batch = Union[Segment, MemoryBatch]


class Pipeline:
    """Queue, threads and state of one client in one process."""

    def __init__(self, spool: Spool, poster: Poster, limits: Limits, counters: Counters) -> None:
        self._spool = spool
        self._poster = poster
        self._limits = limits
        self._counters = counters
        self._invalid = Shield(counters, "invalid")
        self._queue: collections.deque[Item] = collections.deque()
        self._waker = threading.Event()
        self._hurry = threading.Event()
        self._kick = threading.Event()
        self._changed = threading.Condition()
        self._starting = threading.Lock()
        # Everything below is guarded by `_changed`.
        self._ready: collections.deque[Batch] = collections.deque()
        self._memory_bytes = 0
        self._is_writing = False
        self._sending: Batch | None = None
        self._is_stopping = False
        self._hurries = 0
        self._attempts_failed = 0
        self._threads: list[threading.Thread] = []

    def put(self, item: Item) -> bool:
        """Take a record; False when there is no room. Takes microseconds unless it was told to wait for room."""
        queue = self._queue
        if len(queue) >= self._limits.queue_records and not self._has_room():
            return False
        queue.append(item)
        if not self._waker.is_set():
            self._waker.set()
        if not self._threads:
            self._start()
        return True

    def _has_room(self) -> bool:
        if not self._limits.waits_when_full or not self._threads:
            return False
        self._hurry.set()
        with self._changed:
            self._changed.wait_for(lambda: len(self._queue) < self._limits.queue_records or self._is_stopping)
            return not self._is_stopping

    def start(self) -> None:
        """Start the threads, so that what ended processes left is sent even if nothing is recorded."""
        if not self._threads:
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._threads or self._is_stopping:
                return
            threads = [
                threading.Thread(target=self._write, name="nexus-client-writer", daemon=True),
                threading.Thread(target=self._send, name="nexus-client-sender", daemon=True),
            ]
            try:
                for thread in threads:
                    thread.start()
            except RuntimeError as error:
                # The interpreter is ending: `stop` writes what is queued.
                self._counters.fail("own_failures", f"no thread could be started: {error}")
                return
            self._threads = threads

    # The writer

    def _write(self) -> None:
        while True:
            self._waker.wait()
            self._hurry.wait(self._limits.linger_seconds)
            self._waker.clear()
            self._write_queue()
            with self._changed:
                if self._is_stopping and not self._queue:
                    return
                if not self._hurries:
                    self._hurry.clear()

    def _write_queue(self) -> None:
        while self._queue:
            with self._changed:
                self._is_writing = True
            lines = self._take()
            is_stored = False
            with self._counters.shield:
                self._store(lines)
                is_stored = True
            if not is_stored:
                self._counters.add("dropped", len(lines))
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()

    def _take(self) -> list[bytes]:
        lines: list[bytes] = []
        while len(lines) < _ROUND:
            try:
                item = self._queue.popleft()
            except IndexError:
                break
            with self._invalid:
                record = item() if callable(item) else item
                if record is not None:
                    lines.append(_encode(record))
        return lines

    def _store(self, lines: list[bytes]) -> None:
        while lines:
            with self._changed:
                try:
                    count = self._spool.append(lines)
                except OSError as error:
                    self._counters.fail("disk_failures", str(error))
                    self._rotate()
                    if not self._keep_in_memory(lines):
                        break
                    return
                self._counters.add("written", count)
                if self._spool.is_full:
                    self._rotate()
                self._changed.notify_all()
            lines = lines[count:]
        if lines:
            self._counters.add("dropped", len(lines))

    def _keep_in_memory(self, lines: list[bytes]) -> bool:
        size = sum(map(len, lines))

        def has_room() -> bool:
            return self._memory_bytes + size <= self._limits.memory_bytes or self._is_stopping

        if self._limits.waits_when_full:
            self._changed.wait_for(has_room)
        if not has_room():
            return False
        self._memory_bytes += size
        self._ready.append(MemoryBatch(lines, size))
        self._changed.notify_all()
        return True

    def _rotate(self) -> None:
        segment = self._spool.rotate()
        if segment is not None:
            self._ready.append(segment)

    # The sender

    def _send(self) -> None:
        while True:
            with self._counters.shield:
                self._send_until_stopped()
                return
            # A fault of ours, which may come again: what was being sent is ready again, but not at once.
            self._kick.clear()
            if self._stops():
                return
            self._kick.wait(self._limits.longest_pause_seconds)

    def _send_until_stopped(self) -> None:
        adopt_at = time.monotonic()
        while self._send_own():
            with self._changed:
                if self._is_due():
                    continue
                if self._is_stopping:
                    return
                wait_seconds = adopt_at - time.monotonic()
                if self._spool.records:
                    wait_seconds = min(wait_seconds, self._seconds_to_rotation())
                if wait_seconds > 0:
                    self._changed.wait(wait_seconds)
                    continue
            # Leftovers are looked for only when there is nothing of our own to send.
            self._adopt()
            adopt_at = time.monotonic() + _ADOPT_EVERY_SECONDS

    def _send_own(self) -> bool:
        """Send what this process recorded, as far as it is due; False when the client is stopped before it is sent."""
        while True:
            with self._changed:
                batch = self._sending = self._next()
            if batch is None:
                return True
            is_done = False
            try:
                is_done = self._deliver(batch)
            finally:
                with self._changed:
                    self._sending = None
                    if not is_done:
                        self._ready.appendleft(batch)
                    elif isinstance(batch, MemoryBatch):
                        self._memory_bytes -= batch.size
                    self._changed.notify_all()
            if not is_done:
                return False

    def _is_due(self) -> bool:
        return bool(self._ready) or (bool(self._spool.records) and self._seconds_to_rotation() <= 0)

    def _next(self) -> Batch | None:
        if not self._ready and self._is_due():
            self._rotate()
        return self._ready.popleft() if self._ready else None

    def _seconds_to_rotation(self) -> float:
        if self._hurries or self._is_stopping:
            return 0.0
        return self._spool.begun_at + self._limits.batch_seconds - time.monotonic()

    def _adopt(self) -> None:
        try:
            for left in self._spool.adopt():
                try:
                    # What this process records goes first.
                    if not all(
                        not self._stops() and self._send_own() and self._deliver(segment) for segment in left.segments
                    ):
                        return
                finally:
                    left.release()
        except OSError as error:
            self._counters.fail("disk_failures", str(error))

    def _deliver(self, batch: Batch) -> bool:
        """Send a batch until there is a receipt; False when the client is stopped before."""
        if isinstance(batch, MemoryBatch):
            return self._post(batch.lines)
        try:
            lines, damaged = batch.read()
        except OSError as error:
            self._counters.fail("disk_failures", str(error))
            self._counters.add("dropped", batch.records)
            return True
        if damaged:
            self._counters.fail("damaged", f"{damaged} lines of {batch.path.name} could not be read", damaged)
        if batch.is_adopted:
            self._counters.add("adopted", len(lines))
        if lines and not self._post(lines):
            return False
        try:
            batch.remove()
        except OSError as error:
            self._counters.fail("disk_failures", str(error))
        return True

    def _post(self, lines: list[bytes]) -> bool:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            self._kick.clear()
            answer = self._poster.post(lines)
            if isinstance(answer, Receipt):
                self._count(answer)
                return True
            if not isinstance(answer, Away):
                half = len(lines) // 2
                return self._post(lines[:half]) and self._post(lines[half:])
            self._counters.fail("attempts_failed", answer.reason)
            with self._changed:
                self._attempts_failed += 1
                self._changed.notify_all()
            if self._stops():
                return False
            wait_seconds = max(min(pause, self._limits.longest_pause_seconds), answer.wait_seconds)
            # Not all at once: many processes lost the same server at the same time.
            self._kick.wait(wait_seconds * random.uniform(1.0, 1.25))  # noqa: S311 - no secret
            if self._stops():
                return False
            pause = min(pause * 2, self._limits.longest_pause_seconds)

    def _stops(self) -> bool:
        with self._changed:
            return self._is_stopping

    def _count(self, receipt: Receipt) -> None:
        self._counters.add("sent", receipt.accepted)
        if receipt.duplicates:
            self._counters.add("duplicates", receipt.duplicates)
        if receipt.refusals:
            self._counters.fail("refused", receipt.refusals[0], len(receipt.refusals))

    # Waiting for it, and the end

    def flush(self, timeout_seconds: float | None, *, gives_up: bool = False) -> bool:
        """Wait until everything taken so far has a receipt; False when the time is over.

        With `gives_up` an attempt that fails ends the wait, once everything is on disk.
        """
        if not self._threads:
            return not self._queue
        with self._changed:
            self._hurries += 1
            failed = self._attempts_failed
            self._hurry.set()
            self._waker.set()
            self._kick.set()
            self._changed.notify_all()
            try:
                self._changed.wait_for(
                    lambda: self._is_empty() or (gives_up and self._attempts_failed > failed and self._is_written()),
                    timeout_seconds,
                )
                return self._is_empty()
            finally:
                self._hurries -= 1
                if not self._hurries:
                    self._hurry.clear()

    def persist(self, timeout_seconds: float | None) -> bool:
        """Wait until everything taken so far is in the spool, or sent; False when it is not."""
        if not self._threads:
            return not self._queue
        with self._changed:
            self._hurry.set()
            self._waker.set()
            self._changed.wait_for(self._is_written, timeout_seconds)
            return self._is_written() and not self._memory_bytes

    def _is_written(self) -> bool:
        return not self._queue and not self._is_writing

    def _is_empty(self) -> bool:
        return self._is_written() and not self._spool.records and not self._ready and self._sending is None

    def stop(self, timeout_seconds: float) -> bool:
        """Flush, end the threads and leave on disk what Nexus has not taken; True when nothing was left."""
        deadline = time.monotonic() + timeout_seconds
        is_flushed = self.flush(timeout_seconds, gives_up=True)
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        for event in (self._hurry, self._waker, self._kick):
            event.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.05, deadline - time.monotonic()))
        self._write_queue()
        with self._changed:
            left = sum(len(batch.lines) for batch in [*self._ready, self._sending] if isinstance(batch, MemoryBatch))
            if left:
                self._counters.fail("dropped", "the disk did not take them, and Nexus was away", left)
            try:
                self._spool.close()
            except OSError as error:
                self._counters.fail("disk_failures", str(error))
        if not any(thread.is_alive() for thread in self._threads):
            self._poster.close()
        return is_flushed

    def forget(self) -> None:
        """In a forked child: close what was inherited. The parent sends what it took."""
        self._spool.forget()
        self._poster.close()


def _encode(record: Record) -> bytes:
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "replace")
