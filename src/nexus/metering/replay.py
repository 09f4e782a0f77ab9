"""Sends a recording's records to Nexus over HTTP, as fast as it goes or at a rate, until each is acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from typing import Any

import aiohttp
import msgspec

from nexus.kit.errors import Unavailable
from nexus.metering.recordings import Line, Recording

_MAX_TOLD = 20
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_BATCH_BYTES = 4 * 2**20

Encoded = tuple[int, bytes]
"""The number of a line, and its record as JSON."""


class ReplayFailed(Unavailable):
    """The recording could not be sent."""

    code = "replay_failed"


@dataclass
class Progress:
    """What became of the records so far."""

    read: int = 0
    acknowledged: int = 0
    stored: int = 0
    duplicates: int = 0
    spooled: int = 0
    refused: int = 0
    malformed: int = 0
    retries: int = 0
    told: list[str] = field(default_factory=list)

    def tell(self, line: str) -> None:
        """Keep the first few faults, to show."""
        if len(self.told) < _MAX_TOLD:
            self.told.append(line)


@dataclass(frozen=True)
class Target:
    """Where records go, and how."""

    url: str
    key: str
    batch_size: int = 1000
    concurrency: int = 4
    rate: float | None = None
    """Records a second; None: as fast as it goes."""
    give_up_after_seconds: float = 120.0


def _shifted(line: Line, shift: timedelta) -> dict[str, Any]:
    assert line.record is not None
    if line.at is None or not shift:
        return line.record
    return {**line.record, "timestamp": (line.at + shift).astimezone(UTC).isoformat()}


def _batches(recording: Recording, size: int, shift: timedelta, progress: Progress) -> Iterator[list[Encoded]]:
    batch: list[Encoded] = []
    held = 0
    for line in recording:
        progress.read += 1
        if line.record is None:
            progress.malformed += 1
            progress.tell(f"line {line.number}: {line.fault}")
            continue
        try:
            content = msgspec.json.encode(_shifted(line, shift))
        except OverflowError:
            progress.malformed += 1
            progress.tell(f"line {line.number}: its time cannot be moved so far")
            continue
        batch.append((line.number, content))
        held += len(content)
        if len(batch) >= size or held >= _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


async def replay(
    recording: Recording,
    target: Target,
    *,
    shift: timedelta = timedelta(),
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Send every record until it is acknowledged or refused. `ReplayFailed` when Nexus stays away or refuses the key."""
    progress = Progress()
    began = time.monotonic()
    pending: set[asyncio.Task[None]] = set()
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout, headers={"authorization": f"Bearer {target.key}"}) as client:
        try:
            for batch in _batches(recording, target.batch_size, shift, progress):
                if target.rate is not None:
                    due = began + (progress.read - len(batch)) / target.rate
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                while len(pending) >= target.concurrency:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                    on_progress(progress)
                pending.add(asyncio.create_task(_send(client, target, batch, progress)))
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                on_progress(progress)
        finally:
            for task in pending:
                task.cancel()
    on_progress(progress)
    return progress


async def _send(client: aiohttp.ClientSession, target: Target, batch: list[Encoded], progress: Progress) -> None:
    body = b"[" + b",".join(content for _, content in batch) + b"]"
    pause = _FIRST_PAUSE_SECONDS
    deadline = time.monotonic() + target.give_up_after_seconds
    while True:
        wait = pause
        try:
            async with client.post(
                f"{target.url}/v1/events", data=body, headers={"content-type": "application/json"}
            ) as answer:
                content = await answer.read()
                if answer.status in {200, 202, 422}:
                    _count(progress, batch, content)
                    return
                if answer.status == 413:
                    break
                if answer.status not in {429, 502, 503, 504}:
                    raise ReplayFailed(f"Nexus answered {answer.status}: {_detail(content)}")
                trouble = f"it answers {answer.status}: {_detail(content)}"
                wait = max(pause, _seconds(answer.headers.get("retry-after", "")))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            trouble = f"it does not answer: {error or type(error).__name__}"
        if time.monotonic() + wait > deadline:
            raise ReplayFailed(
                f"gave up after {target.give_up_after_seconds:.0f} s, as {target.url} stays away ({trouble}); "
                "run it again: what was acknowledged is not counted twice"
            )
        progress.retries += 1
        await asyncio.sleep(wait)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
    if len(batch) == 1:
        progress.refused += 1
        progress.tell(f"line {batch[0][0]}: refused: {_detail(content)}")
        return
    # It takes less at once than we send.
    half = len(batch) // 2
    for part in (batch[:half], batch[half:]):
        await _send(client, target, part, progress)


def _seconds(text: str) -> float:
    # It may be a date, too; ours is seconds.
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _detail(content: bytes) -> str:
    try:
        return str(msgspec.json.decode(content).get("detail", ""))[:300]
    except (msgspec.DecodeError, AttributeError):
        return content[:100].decode("utf-8", "replace")


def _count(progress: Progress, batch: list[Encoded], content: bytes) -> None:
    try:
        receipt = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError:
        raise ReplayFailed("what answers there is not Nexus: check --url") from None
    refused = receipt.get("refused") or []
    if "received" not in receipt and not refused:
        raise ReplayFailed(f"Nexus refused the batch: {receipt.get('detail')}")
    progress.refused += len(refused)
    accepted = len(batch) - len(refused)
    progress.acknowledged += accepted
    if receipt.get("durability") == "spooled":
        progress.spooled += accepted
    else:
        progress.stored += receipt.get("stored") or 0
        progress.duplicates += receipt.get("duplicates") or 0
    for item in refused:
        reasons = "; ".join(f"{fault['field']}: {fault['message']}" for fault in item["errors"])
        progress.tell(f"line {batch[item['index']][0]}: refused: {reasons}")
