"""One request to `POST /v1/events` on a connection that is kept open, and what its answer means."""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_COMPRESS_FROM_BYTES = 1_024
_MAX_ANSWER_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Receipt:
    """Nexus answered for every record of the batch: they are durable, or refused for good."""

    accepted: int
    duplicates: int
    refusals: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TooMuch:
    """The batch has to be sent in parts: it is too large, or something in it cannot be read."""

    reason: str


@dataclass(frozen=True)
class Away:
    """There is no receipt: the same batch has to be sent again."""

    reason: str
    wait_seconds: float = 0.0
    """How long to wait at least."""


class Poster:
    """The connection to Nexus. Used by one thread."""

    def __init__(self, url: str, key: str, *, timeout_seconds: float, context: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no address of Nexus, such as http://localhost:8420")
        self._https = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._path = f"{parts.path.rstrip('/')}/v1/events"
        self._timeout_seconds = timeout_seconds
        self._context = context
        self._connection: http.client.HTTPConnection | None = None
        self._headers = {
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            "user-agent": "nexus-client-python",
        }

    def post(self, lines: list[bytes]) -> Receipt | TooMuch | Away:
        """Send records, each a line of JSON."""
        body = b"[" + b",".join(lines) + b"]"
        headers = self._headers
        if len(body) >= _COMPRESS_FROM_BYTES:
            body = gzip.compress(body, 1)
            headers = {**headers, "content-encoding": "gzip"}
        was_open = self._connection is not None
        try:
            status, retry_after, content = self._request(body, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self.close()
            if not was_open:
                return Away(f"it does not answer: {error or type(error).__name__}")
            # The other side closes connections that were idle; a new one tells whether it is there.
            return self.post(lines)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            return Away(f"it does not answer: {error or type(error).__name__}")
        return _meaning(len(lines), status, retry_after, content)

    def _request(self, body: bytes, headers: dict[str, str]) -> tuple[int, str, bytes]:
        if self._connection is None:
            if self._https:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=self._timeout_seconds, context=self._context
                )
            else:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_seconds)
        self._connection.request("POST", self._path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read(_MAX_ANSWER_BYTES)
        if answer.will_close or not answer.isclosed():
            self.close()
        return answer.status, answer.headers.get("retry-after", ""), content

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _meaning(count: int, status: int, retry_after: str, content: bytes) -> Receipt | TooMuch | Away:
    document = _document(content)
    if status in {200, 202} and "accepted" in document:
        return Receipt(_number(document.get("accepted")), _number(document.get("duplicates")), _refusals(document))
    if status == 422 and document.get("refused"):
        return Receipt(0, 0, _refusals(document))
    detail = str(document.get("detail", ""))[:300]
    if status in {400, 413, 422}:
        if count > 1:
            return TooMuch(f"Nexus answers {status}: {detail}")
        return Receipt(0, 0, [detail or f"Nexus answers {status}"])
    wait_seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
    if status in {200, 202}:
        return Away("what answers there is not Nexus: check the address", 30.0)
    if status in {401, 403}:
        return Away(f"Nexus refuses the access key ({status}): {detail}", max(wait_seconds, 30.0))
    return Away(f"Nexus answers {status}: {detail}", wait_seconds)


def _document(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: object) -> int:
    # What was spooled has no count of duplicates yet: it is null.
    return value if isinstance(value, int) else 0


def _refusals(document: dict[str, Any]) -> list[str]:
    told = []
    for item in document.get("refused") or []:
        errors = item.get("errors", []) if isinstance(item, dict) else []
        told.append(
            "; ".join(f"{fault.get('field')}: {fault.get('message')}" for fault in errors if isinstance(fault, dict))
        )
    return told
