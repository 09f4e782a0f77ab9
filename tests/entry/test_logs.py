"""Logs: one JSON object a line, request ids that lead from an answer to its lines, and no secret anywhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import msgspec
import pytest

from nexus.platform.db.secrets import read_secrets
from tests.entry.conftest import EMAIL, KEY, PASSWORD
from tests.races.node import Node, until

MakeNode = Callable[..., Node]


def lines_of(node: Node) -> list[dict[str, Any]]:
    return [json.loads(line) for line in node.log.read_text().splitlines()]


async def lines_about(node: Node, request_id: str) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        return [line for line in lines_of(node) if line.get("request_id") == request_id]

    return list(await until(found, f"a line tells of {request_id}"))


async def test_every_line_is_json_that_says_when_where_and_what(running: Node) -> None:
    async with aiohttp.ClientSession(running.url) as client, client.get("/api/identity/me") as answer:
        await lines_about(running, answer.headers["x-request-id"])

    for line in lines_of(running):
        assert line["event"] and line["level"] in {"debug", "info", "warning", "error", "critical"}
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() is not None
        assert line["role"] in {"supervisor", "web", "worker"} and line["pid"] > 0
    assert {line["role"] for line in lines_of(running)} == {"supervisor", "web", "worker"}
    assert [line for line in lines_of(running) if line["level"] in {"error", "critical"}] == []


async def test_request_id_leads_from_the_answer_to_the_log(running: Node) -> None:
    async with aiohttp.ClientSession(running.url) as client:
        async with client.get("/api/metering/summary?from=never", headers={"authorization": f"Bearer {KEY}"}) as answer:
            made, problem = answer.headers["x-request-id"], await answer.json(content_type=None)
        async with client.get("/api/identity/me", headers={"x-request-id": "of-the-caller/1"}) as answer:
            given, refused = answer.headers["x-request-id"], await answer.json(content_type=None)

    assert UUID(made).version == 7 and problem["request_id"] == made
    assert given == refused["request_id"] == "of-the-caller/1"
    (line,) = [line for line in await lines_about(running, made) if line["event"] == "request"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/metering/summary", 422)
    assert line["duration_ms"] >= 0
    assert [line["status"] for line in await lines_about(running, given) if line["event"] == "request"] == [401]


@pytest.mark.parametrize("strange", ["x" * 129, "tab\there", "ümlaut", ""])
async def test_strange_request_id_is_replaced(running: Node, strange: str) -> None:
    reply = await raw_get(running, "/health/live", strange.encode())

    assert reply.startswith("HTTP/1.1 200")
    (given,) = [line for line in reply.splitlines() if line.lower().startswith("x-request-id:")]
    assert UUID(given.split(":", 1)[1].strip()).version == 7


async def raw_get(node: Node, path: str, request_id: bytes) -> str:
    """A client of our own, as others refuse to send such a header."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(
        b"GET %b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-request-id: %b\r\n\r\n"
        % (path.encode(), request_id)
    )
    content = await reader.read()
    writer.close()
    return content.decode("latin-1")


async def test_no_secret_is_in_any_log(running: Node) -> None:
    wrong = "a wrong but telling password"
    async with aiohttp.ClientSession(running.url) as client:
        bearer = {"authorization": f"Bearer {KEY}"}
        secrets = [KEY, PASSWORD, wrong]
        async with client.post("/api/identity/sign-in", json={"email": EMAIL, "password": PASSWORD}) as answer:
            assert answer.status == 200
            secrets.append(answer.cookies["nexus_session"].value)
        async with client.post("/api/identity/sign-in", json={"email": EMAIL, "password": wrong}) as answer:
            assert answer.status == 401
        body = {"name": "for the log", "scopes": ["metrics:read"]}
        async with client.post("/api/identity/access-keys", json=body, headers=bearer) as answer:
            assert answer.status == 201, await answer.text()
            secrets.append((await answer.json())["key"])
        # Where secrets do not belong, people put them all the same.
        for query in (f"?key={KEY}", f"?from={KEY}"):
            async with client.get(f"/api/metering/summary{query}", headers=bearer) as answer:
                assert answer.status == 422
        async with client.get(f"/api/{KEY}", headers=bearer) as answer:
            assert answer.status == 404
        record = {
            "id": "log",
            "provider": "x",
            "status_code": 200,
            "request_headers": {"authorization": f"Bearer {KEY}"},
        }
        async with client.post("/v1/events", json=[record, {"provider": KEY}], headers=bearer) as answer:
            assert answer.status == 200
        async with client.get("/api/identity/me", headers={"authorization": f"Bearer {secrets[-1]}x"}) as answer:
            assert answer.status == 401
            last = answer.headers["x-request-id"]
    doctor = running.command("doctor")
    await lines_about(running, last)

    generated = read_secrets(running.data_dir)
    secrets += [*generated.passwords.values(), *generated.urls.values(), generated.secret_key]
    assert all(len(secret) > 8 for secret in secrets) and len(secrets) > 10
    logs = {path.name: path.read_text("utf-8", "replace") for path in (running.data_dir / "log").iterdir()}
    logs |= {"stderr": running.log.read_text(), "doctor": doctor.stdout + doctor.stderr}
    assert {"stderr", "doctor", "postgres.log", "redis.log"} <= set(logs)
    for name, text in logs.items():
        assert [secret[:6] for secret in secrets if secret in text] == [], name


async def test_people_can_have_lines_for_people(make_node: MakeNode, prepared: Path) -> None:
    node = make_node(prepared=prepared, NEXUS_LOG_FORMAT="console", NEXUS_LOG_LEVEL="warning")
    node.start()
    await node.wait_ready()
    quiet = node.log.read_text()
    os.kill(node.pids("web")[0], signal.SIGKILL)
    await until(lambda: "died" in node.log.read_text(), "the supervisor tells it")

    assert "started" not in quiet
    assert not node.log.read_text().startswith("{")
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(node.log.read_text().splitlines()[-1])
