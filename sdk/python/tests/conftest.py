"""A client whose records can be read from its spool, and the far side of the internet: a real server on this machine."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nexus_client import Client

NOBODY = "http://127.0.0.1:9"
"""Where no Nexus is: what is recorded stays in the spool."""


def spooled(client: Client) -> list[dict[str, Any]]:
    """What the client has written to its spool."""
    assert client.persist(10)
    lines = [line for path in sorted(client.spool_dir.glob("*/*.ndjson")) for line in path.read_bytes().splitlines()]
    return [json.loads(line) for line in lines]


class FarSide:
    """A provider: answers what it was told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.status = 200
        self.headers: dict[str, str] = {"content-type": "application/json"}
        self.parts: list[bytes] = [b"{}"]
        self.is_chunked = True
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        far = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers.get("content-length", 0))
                far.asked.append((self.path, self.rfile.read(size)))
                self.send_response(far.status)
                for name, value in far.headers.items():
                    self.send_header(name, value)
                if far.is_chunked:
                    self.send_header("transfer-encoding", "chunked")
                else:
                    self.send_header("content-length", str(sum(map(len, far.parts))))
                self.end_headers()
                # Some tests go away before the end.
                with contextlib.suppress(ConnectionError):
                    for number, part in enumerate(far.parts):
                        if number:
                            far.may_go_on.wait(30)
                        self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n" if far.is_chunked else part)
                    if far.is_chunked:
                        self.wfile.write(b"0\r\n\r\n")

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def answer(self, document: object, *, status: int = 200, compressed: bool = False, **headers: str) -> None:
        content = json.dumps(document).encode()
        self.status = status
        self.headers = {"content-type": "application/json", **headers}
        if compressed:
            content = gzip.compress(content)
            self.headers["content-encoding"] = "gzip"
        self.parts = [content[: len(content) // 2], content[len(content) // 2 :]]

    def stream(self, *events: object) -> None:
        self.status = 200
        self.headers = {"content-type": "text/event-stream; charset=utf-8"}
        self.parts = [f"event: x\ndata: {json.dumps(event)}\n\n".encode() for event in events] + [b"data: [DONE]\n\n"]

    def close(self) -> None:
        """Go away; again does nothing."""
        if not self._thread.is_alive():
            return
        self.may_go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def far() -> Iterator[FarSide]:
    side = FarSide()
    yield side
    side.close()


@pytest.fixture
def client(tmp_path: Path, far: FarSide) -> Iterator[Client]:
    """A client for which the far side is OpenAI."""
    made = Client(NOBODY, "nx_test", spool_dir=tmp_path / "spool", hosts={far.host: "openai"}, linger_seconds=0.001)
    yield made
    made.close(1)
