"""What the client promises, with a real Nexus at the other end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import nexus_client.httpx
import pytest
from nexus_client import Client, attributed
from nexus_client.posting import Poster
from nexus_client.spool import Spool

from tests.races.node import Node, until
from tests.sdk.programs import Program, assert_all_there_once


def key_of(node: Node) -> str:
    return node.first_start()["access_key"]


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@contextmanager
def provider(answer: dict[str, object]) -> Iterator[str]:
    """The far side of the internet: something that answers as a model's provider does."""
    content = json.dumps(answer).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


async def test_call_of_a_program_is_in_nexus_with_its_tokens_and_cost(node: Node, tmp_path: Path) -> None:
    answer = {"model": "gpt-4o", "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}
    with (
        provider(answer) as host,
        Client(node.url, key_of(node), application="checkout", spool_dir=tmp_path, hosts={host: "openai"}) as client,
    ):
        http = nexus_client.httpx.watch(client, httpx.Client())
        with attributed(tags={"team": "search"}, end_user="u-17"):
            http.post(f"http://{host}/v1/chat/completions?key=secret", json={"model": "gpt-4o", "messages": []})
        assert client.flush(30)
        stats = client.stats

    assert (stats.recorded, stats.sent, stats.refused, stats.own_failures) == (1, 1, 0, 0)
    (call,) = (await node.ask("/api/metering/calls", application="checkout"))["items"]
    assert call["endpoint"] == "/v1/chat/completions"
    assert call["model"] == "gpt-4o"
    assert call["tokens"] == {"input": 1000, "output": 100}
    assert call["tags"] == {"team": "search"}
    assert call["end_user"] == "u-17"
    assert float(call["cost"]) > 0
    assert files_in(tmp_path) == []


async def test_program_that_ends_has_sent_everything(node: Node, tmp_path: Path) -> None:
    program = """
import sys
from nexus_client import Client
Client.close.__defaults__ = (120.0,)  # at the end of a program too: three seconds may be short for a busy machine
client = Client(*sys.argv[1:3], spool_dir=sys.argv[3])
for _ in range(300):
    print(client.record("openai", 200))
"""

    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, node.url, key_of(node), str(tmp_path / "spool")],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip

    made = {UUID(line) for line in done.stdout.split()}
    assert (done.returncode, done.stderr, len(made)) == (0, "", 300)
    assert files_in(tmp_path / "spool") == []
    await until(node.spool_is_empty, "the node's spool is drained")
    assert made <= (await node.stored()).keys()


async def test_wrong_key_never_raises_and_loses_nothing(node: Node, tmp_path: Path) -> None:
    wrong = Client(node.url, "nx_" + "wrong" * 8, spool_dir=tmp_path, spool_name="billing")
    made = {UUID(wrong.record("openai", 200)) for _ in range(100)}

    assert not wrong.flush(3)
    assert wrong.stats.sent == 0
    assert "key" in (wrong.stats.last_failure or "")
    assert not wrong.close(1)

    with Client(node.url, key_of(node), spool_dir=tmp_path, spool_name="billing") as right:
        right.recover()
        await until(lambda: right.stats.adopted == 100 and right.stats.sent == 100, "the next start sends them")
    assert made <= (await node.stored()).keys()
    assert files_in(tmp_path) == []


async def test_record_that_is_wrong_is_refused_alone(node: Node, tmp_path: Path) -> None:
    with Client(node.url, key_of(node), spool_dir=tmp_path) as client:
        client.record("openai", 200)
        client.record("openai", 200, colour="blue")
        client.record("openai", 200, metadata={"filling": "x" * 300_000})
        client.record("openai", 200)
        assert client.flush(30)

        assert (client.stats.sent, client.stats.refused) == (2, 2)


async def test_server_that_stands_still_slows_nobody_and_loses_nothing(node: Node, tmp_path: Path) -> None:
    client = Client(node.url, key_of(node), spool_dir=tmp_path, timeout_seconds=1, longest_pause_seconds=0.2)
    stopped = node.pids("web")
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        made = {UUID(client.record("openai", 200)) for _ in range(2000)}
        assert client.persist(30)
        await until(lambda: client.stats.attempts_failed >= 1, "an attempt has failed")
        assert client.stats.sent == client.stats.dropped == 0
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)

    assert client.flush(60)
    client.close()
    await assert_all_there_once(node, made)


async def test_program_that_is_killed_loses_nothing_that_was_written(node: Node, tmp_path: Path) -> None:
    for pid in node.pids("web"):
        os.kill(pid, signal.SIGSTOP)
    try:
        programs = [Program(node, tmp_path / "ids", count=1500, end="killed") for _ in range(2)]
        said = [await program.wait() for program in programs]
    finally:
        for pid in node.pids("web"):
            os.kill(pid, signal.SIGCONT)
    assert all("persisted" in text for text in said), said
    recorded = set.union(*(program.recorded() for program in programs))
    assert len(recorded) == 3000

    with Client(node.url, key_of(node), spool_dir=tmp_path / "spool") as client:
        client.recover()
        await assert_all_there_once(node, recorded)

    await until(lambda: files_in(tmp_path / "spool") == [], "the spool is tidied up")


async def test_server_killed_and_restarted_under_four_programs(node: Node, tmp_path: Path) -> None:
    programs = [Program(node, tmp_path / "ids", count=2500, pause_seconds=0.05) for _ in range(4)]
    before = (await node.stored()).total()

    async def some_came() -> bool:
        return (await node.stored()).total() >= before + 500

    await until(some_came, "some records came", within_seconds=300)
    await node.killed_and_replaced("web")
    await node.kill_everything()
    node.start()
    await until(node.is_ready, "the node is ready again", within_seconds=300)
    said = [await program.wait() for program in programs]
    recorded = set.union(*(program.recorded() for program in programs))

    assert len(recorded) == 10_000, said
    with Client(node.url, key_of(node), spool_dir=tmp_path / "spool") as client:
        # Whoever ended while Nexus was away has left its records to the next start.
        client.recover()
        await assert_all_there_once(node, recorded)


def fails_once(works: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[object] = []

    def failing(*arguments: Any) -> Any:
        calls.append(None)
        if len(calls) == 1:
            raise ZeroDivisionError("a fault of ours")
        return works(*arguments)

    return failing


async def test_fault_of_the_clients_own_threads_is_counted_and_they_go_on(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spool, "append", fails_once(Spool.append))
    monkeypatch.setattr(Poster, "post", fails_once(Poster.post))

    with Client(node.url, key_of(node), spool_dir=tmp_path, longest_pause_seconds=0.1) as client:
        lost = UUID(client.record("openai", 200))
        assert client.persist(30)
        kept = UUID(client.record("openai", 200))
        await until(lambda: client.stats.sent == 1, "what came after the fault is sent")
        stats = client.stats

    assert (stats.recorded, stats.dropped, stats.own_failures) == (2, 1, 2)
    await until(node.spool_is_empty, "the node's spool is drained")
    assert {kept} == {kept, lost} & (await node.stored()).keys()
