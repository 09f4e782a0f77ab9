"""A provider that answers with what it got."""

from __future__ import annotations

import gzip
import json
from typing import Any


class Echo:
    """A provider that answers with what it got."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        got = {
            "method": scope["method"],
            "path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
            "size": len(body),
        }
        self.requests.append(got)
        content = json.dumps(got).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"x-many", b"1"),
            (b"x-many", b"2"),
            (b"set-cookie", b"a=b"),
        ]
        if scope["path"].endswith("/moved"):
            await send({"type": "http.response.start", "status": 307, "headers": [(b"location", b"/elsewhere")]})
            await send({"type": "http.response.body", "body": b""})
            return
        if scope["path"].endswith("/gzip"):
            content = gzip.compress(content)
            headers.append((b"content-encoding", b"gzip"))
        if scope["path"].endswith("/download"):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(320):
                await send({"type": "http.response.body", "body": b"d" * 65_536, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        headers.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})
