"""The HTTP server of every process of ours that answers requests: uvicorn, with bounds on what a client may take its time for.

uvicorn itself waits for ever for a request's head and takes one of any length. Here a head must be there within
`HEAD_SECONDS` and be no longer than `MAX_HEAD_BYTES`; a connection on which nothing happens is closed after
`IDLE_SECONDS`, and one whose client takes nothing of what it asked for after `STALLED_SECONDS`. Bodies are the
applications' affair: they know how large one may be.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import time
from collections.abc import Generator
from email.utils import formatdate
from typing import Any

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from nexus.kit.errors import MalformedRequest, NexusError
from nexus.platform.web.problems import PROBLEM_TYPE, problem_body

MAX_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 20.0
IDLE_SECONDS = 75
STALLED_SECONDS = 120.0
MAX_MESSAGE_BYTES = 16 * 2**20
"""Of one message of a WebSocket."""


class HeadTooLarge(NexusError):
    """The request's line and headers are longer than the server takes: send fewer or shorter ones."""

    code = "headers_too_large"
    status = 431


class HeadTooSlow(NexusError):
    """The request's headers did not arrive in time: send them at once."""

    code = "headers_too_slow"
    status = 408


_date = (0, b"")


def _dated(head: bytes) -> bytes:
    """Return an answer's head with the time it is sent at, where it says none: a provider's own is passed on."""
    global _date
    if b"\r\ndate: " in head:
        return head
    now = int(time.time())
    if _date[0] != now:
        _date = (now, b"date: %s\r\n\r\n" % formatdate(now, usegmt=True).encode())
    return head[:-2] + _date[1]


class JoinedWrites:
    """What one answer is written to: sends its head together with the first of its body, where that follows at once.

    uvloop hands each write to the system as it comes: head and body apart are two calls and two packets.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None
        self._is_begun = False

    def write(self, content: bytes) -> None:
        """Write the answer's next bytes; the first are its head."""
        if self._is_begun:
            if self._head is None:
                self._transport.write(content)
            else:
                head, self._head = self._head, None
                self._transport.writelines((head, content))
        elif content.startswith(b"HTTP/1.1 100 "):
            self._transport.write(content)
        else:
            self._is_begun, self._head = True, _dated(content)
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send the head if it still waits."""
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.write(head)

    def close(self) -> None:
        """End the connection, once all is sent."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Tell whether the connection ends."""
        return self._transport.is_closing()


class BoundedHttp(HttpToolsProtocol):
    """One connection, whose client may neither dawdle nor run on."""

    _is_in_head = False
    _head_bytes = 0
    _refusal: NexusError | None = None
    _late: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin. Who connects and says nothing is let go like who stays after an answer."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        self._unset_keepalive_if_required()
        self._take_again()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take what is sent: wait for it, but not for ever."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client takes again what is sent."""
        self._take_again()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; what its client has not taken by now it will not take."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def data_received(self, data: bytes) -> None:
        """Read on; of a head that is not whole yet, no more than may be, and not for longer."""
        super().data_received(data)
        if not self._is_in_head or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge())
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._refuse, HeadTooSlow())

    def on_message_begin(self) -> None:
        """A request's head begins."""
        self._is_in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request's head is whole."""
        self._is_in_head = False
        self._stop_waiting()
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES:
            self._refusal = HeadTooLarge()
            raise self._refusal
        plain = self.transport
        self.transport = JoinedWrites(plain, self.loop)  # type: ignore[assignment]
        try:
            super().on_headers_complete()
        finally:
            self.transport = plain

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; called by uvicorn for whatever the parser, or a callback of it, did not take."""
        self._refuse(self._refusal or MalformedRequest("the request is no HTTP/1.1"))

    def _refuse(self, error: NexusError) -> None:
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            # Two answers in one would be read as one that is whole.
            self.transport.close()
            return
        content = msgspec.json.encode(problem_body(error, instance="", request_id=""))
        head = b"content-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (
            PROBLEM_TYPE.encode(), len(content),
        )  # fmt: skip
        self.transport.write(STATUS_LINE[error.status] + head + content)
        self.transport.close()

    def _take_again(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        # Signals are the process's affair.
        yield


class HttpServer:
    """Serves one ASGI application on one port, until `stop`."""

    def __init__(self, app: Any, *, host: str, port: int, is_shared: bool = False, websockets: bool = False) -> None:
        """Listen at once: `OSError` when the port cannot be had. With `is_shared` other processes may listen on it too."""
        # Faults of an application are logged at its own edge; uvicorn would tell them a second time.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._sockets = _listen(host, port, is_shared=is_shared)
        config = uvicorn.Config(
            app, http=BoundedHttp, ws="websockets-sansio" if websockets else "none", lifespan="off",
            access_log=False, log_config=None, proxy_headers=False, server_header=False, date_header=False,
            timeout_keep_alive=IDLE_SECONDS, ws_max_size=MAX_MESSAGE_BYTES, backlog=_BACKLOG,
        )  # fmt: skip
        self._server = _Uvicorn(config)

    async def serve(self) -> None:
        """Answer requests until told to stop, and end those that have begun."""
        await self._server.serve(sockets=self._sockets)

    def stop(self) -> None:
        """Take no new connections, let idle ones go, and finish what has begun."""
        self._server.should_exit = True


_BACKLOG = 2048


def _listen(host: str, port: int, *, is_shared: bool) -> list[socket.socket]:
    """Listen on each address of a host; `OSError` when there is none that can be had."""
    sockets: list[socket.socket] = []
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in dict.fromkeys(found):
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRNOTAVAIL and (sockets or len(found) > 1):
                # A name may stand for an address of a kind this machine has not.
                continue
            for other in sockets:
                other.close()
            raise
        listener.setblocking(False)
        sockets.append(listener)
    if not sockets:
        raise OSError(errno.EADDRNOTAVAIL, f"no address of {host} can be listened on")
    return sockets
