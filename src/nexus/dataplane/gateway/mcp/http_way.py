"""Reaches an MCP server over streamable HTTP: what the client sent goes on as it is, and what comes back is passed as it comes.

One chunk is read when the one before was taken, so a slow client slows the server, and nothing heaps up here. A copy of what
passes is read for the answer to the request; lists of tools are rewritten where the key may not use all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping
from typing import Any

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from nexus.contracts.gateway import CredentialEntry, ProviderEntry
from nexus.contracts.mcp_servers import McpServerEntry
from nexus.dataplane.decide.headers import rate_limit_headers
from nexus.dataplane.gateway.errors import NoBaseUrl, UpstreamError, UpstreamTimeout
from nexus.dataplane.gateway.exchange import Inquiry, Target
from nexus.dataplane.gateway.mcp.calls import Answered, McpCall
from nexus.dataplane.gateway.mcp.errors import error_body
from nexus.dataplane.gateway.mcp.service import McpGateway, session_at_server, session_for_client
from nexus.dataplane.gateway.request import client_headers, upstream_headers
from nexus.dataplane.gateway.streams import EventSplitter, TooLongEventError, event_data
from nexus.dataplane.gateway.upstream import UPSTREAM_TROUBLE, failure
from nexus.dataplane.gateway.usage import ProviderFacts
from nexus.dataplane.http import Receive, Scope, Send
from nexus.kit.errors import NexusError

MAX_READ_BYTES = 8 * 2**20
"""Of an answer that is one JSON document: more is passed on and not read."""
_CONNECT_SECONDS = 10.0
_CHECK_SECONDS = 0.5
_ENDLESS = frozenset({"subscriptions/listen"})
"""Requests whose answer is a stream that ends when somebody leaves."""
_FACTS = ProviderFacts()
_ANSWER = msgspec.json.Decoder(Answered)
_LIST = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


class LeftError(Exception):
    """The client takes nothing any more."""


class HttpWay:
    """The way to servers over HTTP, for one process."""

    def __init__(self, mcp: McpGateway) -> None:
        self._mcp = mcp
        self._gateway = mcp.gateway

    async def request(
        self, call: McpCall, body: bytes, scope: Scope, receive: Receive, send: Send, is_allowed: Callable[[], bool]
    ) -> None:
        """Send a request on and pass its answer; raises what the client is told where there is none. Records it either way."""
        await self._mcp.begin(call)
        is_endless = call.message.method in _ENDLESS
        try:
            headers = self._headers(scope, call.server, call.trace_context)
            answer = await self._send(call.server, "POST", headers, body, call=call)
            async with self._released(answer):
                refuse_unauthorized(answer, call.server)
                reader = _Reader(self._mcp, call, answer)
                await self._pass(answer, reader, scope, receive, send, is_allowed if is_endless else None)
        except NexusError as error:
            call.failed_by(error)
            raise
        except LeftError:
            if is_endless:
                call.outcome = "ok"
            elif call.outcome is None:
                call.failed("client_left", "the client left before the answer ended")
        finally:
            self._mcp.end(call)

    async def plain(
        self,
        server: McpServerEntry,
        method: str,
        body: bytes | None,
        scope: Scope,
        receive: Receive,
        send: Send,
        is_allowed: Callable[[], bool] | None = None,
    ) -> None:
        """Pass on what is no request, and so is not recorded: notifications, answers to the server, GET, DELETE."""
        answer = await self._send(server, method, self._headers(scope, server), body)
        async with self._released(answer):
            refuse_unauthorized(answer, server)
            with contextlib.suppress(LeftError):
                await self._pass(answer, None, scope, receive, send, is_allowed)

    def _headers(
        self, scope: Scope, server: McpServerEntry, trace: Mapping[str, str] | None = None
    ) -> CIMultiDict[str]:
        credential = None
        if server.secret:
            credential = CredentialEntry(
                server.id, server.organization_id, server.name, server.secret, server.auth_form
            )
        target = Target(ProviderEntry(server.name), _FACTS, credential, server.url, server.auth_form, "", b"")
        sent = upstream_headers(scope["headers"], target, Inquiry())
        # A copy is read, and the server's own rule on origins is about browsers that reach it directly.
        sent["accept-encoding"] = "identity"
        sent.popall("origin", None)
        session = sent.get("mcp-session-id")
        if session is not None:
            sent["mcp-session-id"] = session_at_server(session)[0]
        if trace is not None:
            sent.popall("tracestate", None)
            sent.update(trace)
        return sent

    async def _send(
        self,
        server: McpServerEntry,
        method: str,
        headers: CIMultiDict[str],
        body: bytes | None,
        *,
        call: McpCall | None = None,
    ) -> aiohttp.ClientResponse:
        upstream = self._gateway.upstream
        try:
            url = URL(server.url, encoded=True)
            upstream.check(url, server.name)
        except ValueError as error:
            raise NoBaseUrl(f"the URL of {server.name} cannot be read") from error
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=None)
        if call is not None:
            call.was_sent = True
        try:
            async with asyncio.timeout(server.timeout_seconds):
                answer = await upstream.session.request(
                    method, url, headers=headers, data=body, allow_redirects=False, timeout=timeout
                )
        except UPSTREAM_TROUBLE as error:
            told = failure(error, server.name)
            if call is not None and isinstance(told, UpstreamError) and told.is_connect:
                call.was_sent = False
            raise told from error
        if call is not None:
            call.status_code = answer.status
        return answer

    @contextlib.asynccontextmanager
    async def _released(self, answer: aiohttp.ClientResponse) -> AsyncIterator[None]:
        try:
            yield
        finally:
            # What was not read to its end cannot be used again; aiohttp sees to that.
            answer.release()

    async def _pass(
        self,
        answer: aiohttp.ClientResponse,
        reader: _Reader | None,
        scope: Scope,
        receive: Receive,
        send: Send,
        is_allowed: Callable[[], bool] | None,
    ) -> None:
        """Pass an answer; with `is_allowed` it may go on for ever, until the key may not any more or the process ends."""
        started = False
        limit = None
        if is_allowed is None and reader is not None:
            limit = reader.call.server.timeout_seconds
        watching = asyncio.ensure_future(self._watch(receive, answer, is_allowed))
        try:
            async with asyncio.timeout(limit):
                if reader is not None and reader.is_whole:
                    content = await _read(answer.content)
                    content = reader.whole(content, is_all=len(content) <= MAX_READ_BYTES)
                else:
                    content = b""
                await _tell(send, self._start(answer, reader, scope))
                started = True
                last = content
                if not answer.content.at_eof():
                    if last:
                        await _tell(send, {"type": "http.response.body", "body": last, "more_body": True})
                    last = b""
                    async for chunk in answer.content.iter_any():
                        passed = chunk if reader is None else reader.feed(chunk)
                        if passed:
                            await _tell(send, {"type": "http.response.body", "body": passed, "more_body": True})
                    if reader is not None:
                        last = reader.rest()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if watching.done():
                if started and is_allowed is not None:
                    # Whoever may stay no longer is told so by an end, not by a connection that breaks.
                    await _tell(send, {"type": "http.response.body", "body": b""})
                raise LeftError from error
            server = reader.call.server.name if reader is not None else "the server"
            told: NexusError = failure(error, server)
            if isinstance(error, TimeoutError):
                told = UpstreamTimeout(f"{server} did not answer within {limit} seconds")
            if not started:
                raise told from error
            if reader is None or not reader.is_stream:
                raise ConnectionAbortedError(told.detail) from error
            if reader.call.outcome is None:
                reader.call.failed_by(told)
            body = error_body(
                told, reader.call.message.id, path=scope["path"], request_id=reader.call.caller.request_id
            )
            last = b"event: message\ndata: " + body + b"\n\n"
        finally:
            watching.cancel()
        if watching.done() and not watching.cancelled() and is_allowed is None:
            raise LeftError
        if reader is not None:
            # Before the last byte: who has the answer finds the record.
            self._mcp.end(reader.call)
        with contextlib.suppress(LeftError):
            await _tell(send, {"type": "http.response.body", "body": last})

    def _start(self, answer: aiohttp.ClientResponse, reader: _Reader | None, scope: Scope) -> MutableMapping[str, Any]:
        call = None if reader is None else reader.call
        request_id = call.caller.request_id if call is not None else scope["state"]["request_id"]
        headers = client_headers(
            answer.raw_headers, is_rewritten=reader is not None and reader.rewrites, secret="", request_id=request_id
        )
        if call is not None and call.message.method == "initialize":
            client = (call.client_name, call.client_version)
            headers = [
                (name, session_for_client(value.decode("latin-1"), client).encode("latin-1"))
                if name == b"mcp-session-id"
                else (name, value)
                for name, value in headers
            ]
        if call is not None and call.ticket is not None:
            headers += rate_limit_headers(call.ticket.decision)
        return {"type": "http.response.start", "status": answer.status, "headers": headers}

    async def _watch(
        self, receive: Receive, answer: aiohttp.ClientResponse, is_allowed: Callable[[], bool] | None
    ) -> None:
        """Close the server's side when the client leaves, or may stay no longer: so the server learns it, too."""
        leaving = asyncio.ensure_future(self._until_left(receive))
        try:
            while not leaving.done():
                if is_allowed is not None and (self._gateway.leaving.is_set() or not is_allowed()):
                    break
                await asyncio.wait([leaving], timeout=None if is_allowed is None else _CHECK_SECONDS)
        finally:
            leaving.cancel()
        answer.close()

    async def _until_left(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


def refuse_unauthorized(answer: aiohttp.ClientResponse, server: McpServerEntry) -> None:
    """Raise where the server refused our credential: it is not the client's to renew."""
    if answer.status in {401, 403}:
        raise UpstreamError(
            f"{server.name} refused Nexus's credential with {answer.status}: look at the server's secret"
        )


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Read a document, or a little more than may be read of it."""
    parts: list[bytes] = []
    size = 0
    while size <= MAX_READ_BYTES and (part := await content.readany()):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


async def _tell(send: Send, message: MutableMapping[str, Any]) -> None:
    try:
        await send(message)
    except (OSError, RuntimeError) as error:
        raise LeftError from error


class _Reader:
    """Reads a copy of what passes for the answer to a request."""

    def __init__(self, mcp: McpGateway, call: McpCall, answer: aiohttp.ClientResponse) -> None:
        self._mcp = mcp
        self.call = call
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        self.is_stream = kind == "text/event-stream"
        self.is_whole = not self.is_stream
        self.rewrites = call.message.method == "tools/list" and mcp.hides_tools(call.caller.key)
        self._splitter: EventSplitter | None = EventSplitter() if self.is_stream else None

    def whole(self, content: bytes, *, is_all: bool) -> bytes:
        """Take an answer that is one document; returns what is passed on."""
        self.call.response_bytes = len(content)
        if not is_all:
            self.call.outcome = "ok"
            if self.rewrites:
                raise UpstreamError(f"the list of tools of {self.call.server.name} is larger than can be read")
            return content
        changed = self._read(content)
        if self.call.outcome is None and self.call.status_code >= 400:
            self.call.failed(f"http_{self.call.status_code}", "the server refused the request")
        return content if changed is None else changed

    def feed(self, chunk: bytes) -> bytes:
        """Take a part of a stream; returns what is passed on now."""
        self.call.response_bytes += len(chunk)
        if self._splitter is None:
            return chunk
        passed: list[bytes] = []
        try:
            for event in self._splitter.feed(chunk):
                changed = self._read(event_data(event))
                passed.append(event if changed is None else b"event: message\ndata: " + changed + b"\n\n")
        except TooLongEventError:
            if self.rewrites:
                raise UpstreamError(
                    f"the list of tools of {self.call.server.name} is larger than can be read"
                ) from None
            self._splitter = None
            self.call.outcome = self.call.outcome or "ok"
            return chunk
        return b"".join(passed) if self.rewrites else chunk

    def rest(self) -> bytes:
        """Return what was held back at the end."""
        return self._splitter.rest() if self.rewrites and self._splitter is not None else b""

    def _read(self, text: bytes) -> bytes | None:
        """Look at one message; returns what is sent in its place, or None."""
        if not text or self.call.outcome is not None:
            return None
        try:
            answer = _ANSWER.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if not bytes(answer.result) and answer.error is None:
            return None
        if bytes(answer.id).strip() not in {self.call.message.id, b"null"}:
            return None
        self.call.answered(answer, len(text))
        if not self.rewrites or answer.error is not None:
            return None
        return self._without_hidden(text, answer.result)

    def _without_hidden(self, text: bytes, result: msgspec.Raw) -> bytes | None:
        fields = _LIST.decode(result)
        tools = fields.get("tools")
        if tools is None:
            return None
        kept = self._mcp.allowed_tools(
            self.call.caller.key, self.call.server, msgspec.json.decode(tools, type=list[msgspec.Raw])
        )
        return _encode({**_LIST.decode(text), "result": msgspec.Raw(_encode({**fields, "tools": kept}))})
