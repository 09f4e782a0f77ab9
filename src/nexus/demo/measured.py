"""What an application's programs measured in an hour: how fast they answer, what waits, what is done; and storage's windows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from nexus.demo.limiting import ARCHIVE, CLUSTER
from nexus.demo.setting_up import STORE
from nexus.demo.traffic import HOUR, Call, expected_calls, id_at
from nexus.demo.world import Application, Company

EVERY = timedelta(minutes=20)
_ANSWERS_SECONDS = 0.18
_MOST_ANSWERS = 12
_MEASURING = {"support-assistant", "trip-planner"}
"""Applications whose programs measure themselves."""
_STORAGE = {
    "catalog-index": (
        (STORE, "read_small", 1.6, 4_096, 0.9),
        (STORE, "write_large", 0.7, 6_000_000, 11.0),
        (ARCHIVE, "read_large", 5.0, 2_000_000, 6.5),
        (ARCHIVE, "write_small", 2.2, 8_192, 1.4),
    )
}
"""By the application that tells of them: whose operations, of which kind, a second, bytes of one, and their latency in ms."""


def measurements(
    company: Company, application: Application, hour: datetime, began_on: datetime, *, volume: float = 1.0
) -> list[Call]:
    """Return the points and windows of an hour, in order."""
    chance = random.Random(f"measured/{company.slug}/{application.name}/{hour.isoformat()}/{began_on.date()}")  # noqa: S311 - a story, no secret
    usual = application.calls_per_day / 24
    load = expected_calls(company, application, hour, began_on) / usual if usual else 0.0
    found: list[Call] = []
    for step in range(HOUR // EVERY):
        at = hour + step * EVERY
        records = [*_points(chance, application, at, load), *_windows(chance, application, at, load)]
        # Every window has its dice thrown, so that a smaller volume is a part of the larger one.
        if chance.random() < volume:
            found += (Call(at, at + EVERY, record) for record in records)
    return found


def _points(chance: random.Random, application: Application, at: datetime, load: float) -> Iterator[dict[str, Any]]:
    if application.name not in _MEASURING:
        return
    common = {
        "type": "metric", "timestamp": (at + EVERY).isoformat(), "service": application.name, "environment": "production",
    }  # fmt: skip
    for feature in application.features:
        # A busy hour is a slow one.
        typical = _ANSWERS_SECONDS * (1 + load / 3)
        values = [
            round(typical * chance.lognormvariate(0, 0.5), 4)
            for _ in range(min(_MOST_ANSWERS, 1 + int(load * chance.uniform(2, 4))))
        ]
        yield {
            **common, "name": "http.server.request.duration", "kind": "histogram", "unit": "s", "values": values,
            "labels": {"http.route": f"/{feature}"}, "description": "How long requests take.",
        }  # fmt: skip
    waiting = int(load * chance.lognormvariate(1.2, 0.6))
    yield {
        **common,
        "name": "queue.depth",
        "kind": "gauge",
        "unit": "{job}",
        "value": waiting,
        "labels": {"queue": "mail"},
    }
    done = int(load * chance.uniform(40, 60))
    yield {
        **common,
        "name": "jobs.done",
        "kind": "counter",
        "unit": "{job}",
        "value": done,
        "labels": {"queue": "mail"},
    }


def _windows(chance: random.Random, application: Application, at: datetime, load: float) -> Iterator[dict[str, Any]]:
    seconds = EVERY.total_seconds()
    for whose, operation, a_second, size, latency_ms in _STORAGE.get(application.name, ()):
        count = int(a_second * seconds * (0.3 + 0.4 * load) * chance.lognormvariate(0, 0.15))
        moved = int(count * size * chance.uniform(0.8, 1.2))
        verb = "read" if operation.startswith("read") else "write"
        mean_ms = latency_ms * chance.lognormvariate(0, 0.2)
        yield {
            "type": "storage", "id": id_at(chance, at), "timestamp": at.isoformat(), "window_seconds": seconds,
            "application": whose, "cluster": CLUSTER, "operation": operation, f"{verb}_ops": count,
            "bytes_read" if verb == "read" else "bytes_written": moved, "error_count": int(chance.random() < 0.03),
            "avg_latency_ms": round(mean_ms, 2), "p95_latency_ms": round(mean_ms * 2.1, 2),
            "p99_latency_ms": round(mean_ms * 3.4, 2), "connection_count": chance.randrange(4, 24),
            "peak_throughput_bytes_per_second": round(moved / seconds * chance.uniform(1.5, 3), 1),
        }  # fmt: skip
