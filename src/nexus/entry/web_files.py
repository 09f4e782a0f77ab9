"""Serves the built web application: hashed files for ever, the page itself always fresh, under a strict policy."""

from __future__ import annotations

import mimetypes
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

FOLDER = Path(__file__).parent / "web"
# Styles may be inline, as the component library places them so; scripts may not, and nothing comes from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_NOT_BUILT = (
    b"<!doctype html><title>Nexus</title><p>The web application is not built in this installation. "
    b"Run <code>make web</code>; the API is described at <a href=/docs>/docs</a>."
)


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: bytes
    encoded: dict[bytes, bytes]
    is_hashed: bool


def _load(folder: Path) -> dict[str, _File]:
    files: dict[str, _File] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if not path.is_file() or path.suffix in {".gz", ".br"}:
            continue
        name = "/" + path.relative_to(folder).as_posix()
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        if media_type.startswith("text/") or media_type == "application/javascript":
            media_type += "; charset=utf-8"
        encoded = {
            code.encode(): path.with_name(path.name + suffix).read_bytes()
            for code, suffix in (("br", ".br"), ("gzip", ".gz"))
            if path.with_name(path.name + suffix).exists()
        }
        files[name] = _File(path.read_bytes(), media_type.encode(), encoded, name.startswith("/assets/"))
    return files


class WebFiles:
    """Answers with a file, or with the page where the path is one of the application's own."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = _load(folder)
        self._page = self._files.get("/index.html") or _File(_NOT_BUILT, b"text/html; charset=utf-8", {}, False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope["path"]
        status = 200
        file = self._files.get(path)
        if scope["method"] not in {"GET", "HEAD"}:
            status, file = 405, _File(b"this path takes GET", b"text/plain; charset=utf-8", {}, False)
        elif file is None:
            # A name with a dot in its last part is a file that is not there; anything else is a view of the application.
            if "." in path.rsplit("/", 1)[-1]:
                status, file = 404, _File(b"there is no such file", b"text/plain; charset=utf-8", {}, False)
            else:
                file = self._page
        accepted = next((value for name, value in scope["headers"] if name.lower() == b"accept-encoding"), b"")
        content, extra = file.content, []
        for code, encoded in file.encoded.items():
            if code in accepted:
                content, extra = encoded, [(b"content-encoding", code)]
                break
        headers = [
            (b"content-type", file.media_type),
            (b"content-length", str(len(content)).encode()),
            (b"cache-control", b"public, max-age=31536000, immutable" if file.is_hashed else b"no-cache"),
            (b"content-security-policy", POLICY.encode()),
            (b"vary", b"accept-encoding"),
            *([(b"allow", b"GET, HEAD")] if status == 405 else []),
            *extra,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})
