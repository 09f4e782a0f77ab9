"""Points of metrics, and windows of storage, that a program records."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nexus_client import Client, attributed


def test_points_are_recorded_with_their_time_and_only_what_a_point_has(tmp_path: Path) -> None:
    client = Client("http://127.0.0.1:9", "nx_test", spool_dir=tmp_path, application="shop", linger_seconds=0.001)
    before = datetime.now(UTC)
    with attributed(end_user="ann", tags={"team": "pay"}, model="gpt-4o"):
        client.record_metric("queue.depth", "gauge", 7, unit="{job}", labels={"queue": "mail"})
    client.record_metric("wait", "histogram", values=[0.5, 1.5], timestamp="2026-04-03T12:00:00Z", instance="a")
    assert client.persist(10)
    client.close(0)

    lines = [line for path in tmp_path.rglob("*.ndjson") for line in path.read_bytes().splitlines()]
    depth, wait = (json.loads(line) for line in lines)
    at = datetime.fromisoformat(depth.pop("timestamp"))
    assert before <= at <= before + timedelta(minutes=5)
    assert depth.pop("id")
    assert depth == {
        "type": "metric", "name": "queue.depth", "kind": "gauge", "value": 7, "unit": "{job}",
        "labels": {"queue": "mail"}, "application": "shop",
    }  # fmt: skip
    assert (wait["values"], wait["timestamp"], wait["instance"]) == ([0.5, 1.5], "2026-04-03T12:00:00Z", "a")
    assert "value" not in wait


def test_a_window_of_storage_is_recorded_with_only_what_a_window_has(tmp_path: Path) -> None:
    client = Client("http://127.0.0.1:9", "nx_test", spool_dir=tmp_path, application="shop", linger_seconds=0.001)
    with attributed(end_user="ann", tags={"team": "pay"}, model="gpt-4o"):
        made = client.record_storage(read_ops=5, bytes_read=20_480, window_seconds=10, tags={"tier": "hot"})
    assert client.persist(10)
    client.close(0)

    (line,) = (line for path in tmp_path.rglob("*.ndjson") for line in path.read_bytes().splitlines())
    assert json.loads(line) == {
        "type": "storage", "id": made, "application": "shop", "read_ops": 5, "bytes_read": 20_480, "window_seconds": 10,
        "tags": {"team": "pay", "tier": "hot"},
    }  # fmt: skip
