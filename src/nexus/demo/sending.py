"""Sends the demo's calls: first what has been, through the Python client; then what is, as it happens, through the gateway.

Calls of providers that the sandbox does not play are told by the client while they happen, too.
"""

from __future__ import annotations

import contextlib
import heapq
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nexus_client import Client

from nexus.demo.calling import Caller
from nexus.demo.failures import errors
from nexus.demo.measured import measurements
from nexus.demo.requests import COURSES, can_be_sent, is_of, request_of
from nexus.demo.setting_up import Ready
from nexus.demo.spans import Spans
from nexus.demo.tools import tool_calls
from nexus.demo.traffic import DAYS, HOUR, Call, calls, hours
from nexus.demo.world import COMPANIES, Application, Company

_AGAIN = timedelta(hours=1)
"""How much before the newest call is sent again: what was on its way when the demo was stopped is among it."""
_LONGEST_SLEEP_SECONDS = 0.5
_FLUSH_SECONDS = 120
_EXAMPLES_VOLUME = 50.0
_TOLD = (tool_calls, errors, measurements)
"""What is told beside calls, each by the hour."""


@dataclass
class Sender:
    """One application with its key."""

    company: Company
    application: Application
    key: str
    client: Client


@dataclass
class Progress:
    """How far the back-fill is."""

    hours_done: int = 0
    hours: int = 0
    calls: int = 0
    seconds: float = 0.0
    unsent: list[str] = field(default_factory=list)


@contextlib.contextmanager
def senders(url: str, ready: Ready, spool: Path) -> Iterator[list[Sender]]:
    """Open a client for each application; what they could not send stays in the spool for the next start."""
    made = [
        Sender(
            company,
            application,
            ready.secrets.keys[f"{company.slug}/{application.name}"],
            Client(
                url,
                ready.secrets.keys[f"{company.slug}/{application.name}"],
                spool_dir=spool,
                # A back-fill is faster than any program makes calls: here it waits, where a program must not.
                waits_when_full=True,
                queue_records=5_000,
                batch_records=2_000,
                batch_seconds=0.5,
            ),
        )
        for company in COMPANIES
        for application in company.applications
    ]
    try:
        for sender in made:
            sender.client.recover()
        yield made
    finally:
        for sender in made:
            sender.client.close(5)


def back_fill(
    senders: list[Sender], ready: Ready, until: datetime, spans: Spans, *, volume: float, days: int = DAYS
) -> Iterator[Progress]:
    """Send every call that ended before an instant and may not be stored yet; yields how far it is, hour by hour."""
    began = time.monotonic()
    start = until - timedelta(days=days)
    newest = [ready.newest.get(sender.company.slug) for sender in senders]
    known = [start if at is None else max(start, at - _AGAIN) for at in newest]
    # Calls that ended in an hour may have begun in the one before.
    todo = list(hours(min(known) - HOUR, until))
    progress = Progress(hours=len(todo))
    for hour in todo:
        for sender, since in zip(senders, known, strict=True):
            if hour + HOUR < since:
                continue
            for call in calls(sender.company, sender.application, hour, ready.began_on, volume=volume):
                if start <= call.ended_at < until and not (can_be_sent(call) and spans.has(call.began_at)):
                    _record(sender, call)
                    progress.calls += 1
            for told in _TOLD:
                for call in told(sender.company, sender.application, hour, ready.began_on, volume=volume):
                    if start <= call.ended_at < until:
                        _record(sender, call)
        progress.hours_done += 1
        progress.seconds = time.monotonic() - began
        yield progress
    deadline = time.monotonic() + _FLUSH_SECONDS
    for sender in senders:
        if not sender.client.flush(max(0.1, deadline - time.monotonic())):
            progress.unsent.append(f"{sender.application.name}: {sender.client.stats.last_failure}")
    progress.seconds = time.monotonic() - began
    yield progress


def live(
    senders: list[Sender], ready: Ready, since: datetime, stopping: threading.Event, caller: Caller, spans: Spans, *,
    volume: float,
) -> Iterator[int]:  # fmt: skip
    """Make calls as they happen, from an instant on, until told to stop; yields how many there were.

    What goes through the gateway is called when it begins, the rest is told when it has ended.
    """
    waiting: list[tuple[datetime, int, Sender, Call]] = []
    next_hour = since.replace(minute=0, second=0, microsecond=0) - HOUR
    count = serial = 0
    try:
        while not stopping.is_set():
            now = datetime.now(UTC)
            sure_until = spans.goes_on(since, now)
            while next_hour <= now + timedelta(seconds=5):
                for sender in senders:
                    for call in calls(sender.company, sender.application, next_hour, ready.began_on, volume=volume):
                        if call.ended_at >= since:
                            serial += 1
                            is_sent = can_be_sent(call) and call.began_at >= since
                            heapq.heappush(waiting, (call.began_at if is_sent else call.ended_at, serial, sender, call))
                    for told in _TOLD:
                        for call in told(sender.company, sender.application, next_hour, ready.began_on, volume=volume):
                            if call.ended_at >= since:
                                serial += 1
                                heapq.heappush(waiting, (call.ended_at, serial, sender, call))
                next_hour += HOUR
            while waiting and waiting[0][0] <= min(now, sure_until):
                due_at, _, sender, call = heapq.heappop(waiting)
                if due_at == call.began_at and can_be_sent(call):
                    caller.call(sender.key, request_of(sender.application, call))
                else:
                    _record(sender, call)
                count += 1
            yield count
            due = (waiting[0][0] - now).total_seconds() if waiting else _LONGEST_SLEEP_SECONDS
            stopping.wait(min(_LONGEST_SLEEP_SECONDS, max(0.02, due)))
    finally:
        spans.ends(datetime.now(UTC))


def open_with_some(senders: list[Sender], ready: Ready, now: datetime, caller: Caller) -> int:
    """Make a few calls of each course at once, so that there is something to see in the first minute; returns how many."""
    count = 0
    for sender in senders:
        examples = [
            call
            for call in calls(sender.company, sender.application, now - HOUR, ready.began_on, volume=_EXAMPLES_VOLUME)
            if can_be_sent(call)
        ]
        for kind in COURSES:
            found = next((call for call in examples if is_of(sender.application, call, kind)), None)
            if found is not None and caller.is_known(sender.key, found.record["provider"]):
                caller.call(sender.key, request_of(sender.application, found, kind=kind))
                count += 1
    return count


def _record(sender: Sender, call: Call) -> None:
    record = dict(call.record)
    match record.pop("type", "api_call"):
        case "tool_call":
            sender.client.record_tool_call(record.pop("tool"), record.pop("outcome"), **record)
            return
        case "mcp_request":
            sender.client.record_mcp_request(record.pop("method"), record.pop("outcome"), **record)
            return
        case "error":
            sender.client.record_error(record.pop("message"), **record)
            return
        case "metric":
            sender.client.record_metric(record.pop("name"), record.pop("kind"), **record)
            return
        case "storage":
            sender.client.record_storage(**record)
            return
    sender.client.record(record.pop("provider"), record.pop("status_code"), **record)
