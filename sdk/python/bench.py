"""`python bench.py`: what recording adds to a call, in microseconds of the program's own thread.

Each figure is the difference between two ways of doing the same in the same run, turn by turn: a function with and without
the decorator; a call of a local server through `httpx` and `requests`, with and without the client. The client's threads
write their spool meanwhile; nobody takes the records.

`p50` and `p99` are of single calls, between which the program rests 5 ms after every 200, as programs do that wait for
answers. `tight loop` is a call of a loop that never rests: the client's threads then take their time (encoding, disk)
from the loop, as they share the interpreter with it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

import httpx
import requests

import nexus_client.httpx
import nexus_client.requests
from nexus_client import Client

_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "model": "gpt-4o",
        "choices": [{"message": {"role": "assistant", "content": "word " * 300}}],
        "usage": {"prompt_tokens": 1200, "completion_tokens": 300, "total_tokens": 1500},
    }
).encode()
_ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "word " * 500}]}


class _Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        """Answer as a provider does."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(_ANSWER)))
        self.end_headers()
        self.wfile.write(_ANSWER)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _serve(its: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Provider)
    its.send(server.server_port)
    server.serve_forever()


def _added(plain: Callable[[], object], watched: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Return the medians of both, and the difference at p99, in microseconds; with rests."""
    times: tuple[list[int], list[int]] = ([], [])
    for function in (plain, watched):
        for _ in range(rounds // 20):
            function()
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            began = time.perf_counter_ns()
            (plain, watched)[which]()
            times[which].append(time.perf_counter_ns() - began)
        if number % 200 == 0:
            time.sleep(0.005)
    medians = [statistics.median(values) / 1e3 for values in times]
    tails = [sorted(values)[int(len(values) * 0.99)] / 1e3 for values in times]
    return medians[0], medians[1], tails[1] - tails[0]


def _added_in_a_tight_loop(
    plain: Callable[[], object], watched: Callable[[], object], calls: int, settle: Callable[[], object]
) -> float:
    """Return what a call takes longer, in microseconds, in loops that do not rest: the median of 20 pairs of loops."""
    added: list[float] = []
    for number in range(20):
        taken = [0, 0]
        for which in (0, 1) if number % 2 else (1, 0):
            function = (plain, watched)[which]
            began = time.perf_counter_ns()
            for _ in range(calls):
                function()
            taken[which] = time.perf_counter_ns() - began
            settle()
        added.append((taken[1] - taken[0]) / calls / 1e3)
    return statistics.median(added)


def main() -> None:
    """Measure and print."""
    ours, its = multiprocessing.Pipe()
    # A process of its own: it must not share the interpreter with what is measured.
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(its,), daemon=True)
    server.start()
    host = f"127.0.0.1:{ours.recv()}"
    url = f"http://{host}/v1/chat/completions"
    client = Client("http://127.0.0.1:9", "nx_bench", spool_dir=tempfile.mkdtemp(), hosts={host: "openai"})

    def nothing() -> None:
        return None

    def record() -> None:
        client.record("openai", 200, model="gpt-4o", tokens={"input": 1200, "output": 300}, tags={"team": "search"})

    http, watched_http = httpx.Client(), nexus_client.httpx.watch(client, httpx.Client())
    session, watched_session = requests.Session(), nexus_client.requests.watch(client, requests.Session())
    cases: list[tuple[str, Callable[[], object], Callable[[], object], int]] = [
        ("record()", nothing, record, 20_000),
        ("@recorded", nothing, client.recorded("acme", endpoint="/v1/quote")(nothing), 20_000),
        ("httpx", lambda: http.post(url, json=_ASKED), lambda: watched_http.post(url, json=_ASKED), 3_000),
        ("requests", lambda: session.post(url, json=_ASKED), lambda: watched_session.post(url, json=_ASKED), 3_000),
    ]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load before: {load}\n")
    print("| | without, p50 | with, p50 | added, p50 | added, p99 | added, tight loop |\n|---|---|---|---|---|---|")
    for name, plain, watched, rounds in cases:
        before, after, tail = _added(plain, watched, rounds)
        # Long enough for several turns of the client's threads, and less than its queue holds.
        calls = min(15_000, int(100_000 / after))
        tight = _added_in_a_tight_loop(plain, watched, calls, lambda: client.persist(30))
        print(
            f"| {name} | {before:.1f} µs | {after:.1f} µs | **{after - before:.1f} µs** | {tail:.1f} µs | {tight:.1f} µs |"
        )
    stats = client.stats
    client.close()
    server.terminate()
    print(f"\n{stats.recorded} records, {stats.dropped} dropped, {stats.own_failures} own failures")


if __name__ == "__main__":
    main()
