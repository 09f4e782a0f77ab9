"""Servers that the gateway asks on its own behalf: programs over stdio, and those whose tools are offered together.

The gateway is then a client of the protocol, in whichever revision the server speaks. Requests of several clients share one
connection, so what a server may ask of its client (sampling, roots, elicitation) is not offered to it.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import aiohttp
import msgspec
from yarl import URL

import nexus
from nexus.contracts.gateway import CredentialEntry, ProviderEntry
from nexus.contracts.mcp_servers import McpServerEntry
from nexus.dataplane.gateway.errors import NoBaseUrl, UpstreamError
from nexus.dataplane.gateway.exchange import Inquiry, Target
from nexus.dataplane.gateway.mcp.calls import Answered
from nexus.dataplane.gateway.mcp.errors import ServerAnswered
from nexus.dataplane.gateway.mcp.messages import (
    CAPABILITIES,
    CLIENT_INFO,
    HANDSHAKE,
    MODERN,
    NAMED_BY,
    PROTOCOL_VERSION,
    TRACEPARENT,
    TRACESTATE,
    text_of,
)
from nexus.dataplane.gateway.request import upstream_headers
from nexus.dataplane.gateway.streams import EventSplitter, TooLongEventError, event_data
from nexus.dataplane.gateway.upstream import UPSTREAM_TROUBLE, Upstream, failure
from nexus.dataplane.gateway.usage import ProviderFacts
from nexus.kit.errors import NexusError

Params = Mapping[str, msgspec.Raw]
Notify = Callable[[bytes], None]
"""Hears the notifications that belong to a request, each as JSON."""
CLIENT = {"name": "nexus", "version": nexus.__version__}
MAX_ANSWER_BYTES = 16 * 2**20
_ANSWER = msgspec.json.Decoder(Answered)
_encode = msgspec.json.Encoder().encode


class Backend(Protocol):
    """A server that can be asked."""

    async def greet(self) -> Greeting:
        """Return what the server said of itself."""
        ...

    async def ask(self, method: str, params: Params, meta: Params, *, notify: Notify | None = None) -> Answered:
        """Ask for something. Raises what the client is told where there is no answer."""
        ...


@dataclass
class Greeting:
    """What a server said of itself when it was met."""

    is_modern: bool
    capabilities: dict[str, Any] = field(default_factory=dict)
    instructions: str = ""
    revision: str = ""


async def meet(ask: Callable[[str, dict[str, Any]], Any], notify: Callable[[str], Any]) -> Greeting:
    """Find out which revisions a server speaks: it is asked in the newest, and greeted in the older ones if that fails."""
    try:
        found = await ask("server/discover", {"_meta": modern_meta()})
        versions = found.get("supportedVersions")
        if isinstance(versions, list) and any(version in MODERN for version in versions):
            return _greeting(found, revision=MODERN[-1])
    except ServerAnswered:
        pass
    except NexusError as error:
        # A status of 400 or 404 is how a server of before says that it does not know the method.
        if error.status != 502 or (isinstance(error, UpstreamError) and error.is_connect):
            raise
    asked = {"protocolVersion": HANDSHAKE[-1], "capabilities": {}, "clientInfo": CLIENT}
    found = await ask("initialize", asked)
    await notify("notifications/initialized")
    return _greeting(found, revision=str(found.get("protocolVersion") or HANDSHAKE[-1]))


def _greeting(found: dict[str, Any], *, revision: str) -> Greeting:
    capabilities = found.get("capabilities")
    instructions = found.get("instructions")
    return Greeting(
        revision in MODERN,
        capabilities if isinstance(capabilities, dict) else {},
        instructions if isinstance(instructions, str) else "",
        revision,
    )


def modern_meta() -> dict[str, Any]:
    """Return what each request of a modern revision says of its client."""
    return {PROTOCOL_VERSION: MODERN[-1], CLIENT_INFO: CLIENT, CAPABILITIES: {}}


def spoken(params: Params, meta: Params, greeting: Greeting) -> dict[str, msgspec.Raw]:
    """Return the parameters as the server's revision wants them; the caller's own client stays named where it may."""
    own = dict(meta)
    if greeting.is_modern:
        own[PROTOCOL_VERSION] = msgspec.Raw(_encode(MODERN[-1]))
        own.setdefault(CLIENT_INFO, msgspec.Raw(_encode(CLIENT)))
        own[CAPABILITIES] = msgspec.Raw(b"{}")
    else:
        for name in (PROTOCOL_VERSION, CLIENT_INFO, CAPABILITIES):
            own.pop(name, None)
    found = dict(params)
    found.pop("_meta", None)
    if own:
        found["_meta"] = msgspec.Raw(_encode(own))
    return found


class HttpBackend:
    """A server over streamable HTTP, asked by one process for all its clients."""

    def __init__(self, server: McpServerEntry, upstream: Upstream) -> None:
        self.server = server
        self._upstream = upstream
        self._greeting: Greeting | None = None
        self._session = ""
        self._meeting = asyncio.Lock()
        self._number = 0

    async def greet(self) -> Greeting:
        """Return what the server said of itself; it is asked once, and again when its session is gone."""
        async with self._meeting:
            if self._greeting is None:
                self._session = ""
                self._greeting = await meet(self._ask_plain, self._notify)
            return self._greeting

    async def ask(self, method: str, params: Params, meta: Params, *, notify: Notify | None = None) -> Answered:
        """Ask for something; where the server has forgotten the session it is greeted again, once."""
        for is_last in (False, True):
            greeting = await self.greet()
            trace = {name: text_of(meta[name]) for name in (TRACEPARENT, TRACESTATE) if name in meta}
            answered, status = await self._post(
                method, spoken(params, meta, greeting), revision=greeting.revision, notify=notify, trace=trace
            )
            if status == 404 and self._session and not is_last:
                async with self._meeting:
                    self._greeting = None
                continue
            if answered is None:
                raise UpstreamError(f"{self.server.name} gave no answer (status {status})")
            return answered
        raise AssertionError

    async def _ask_plain(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        revision = MODERN[-1] if "_meta" in params else ""
        raw = {name: msgspec.Raw(_encode(value)) for name, value in params.items()}
        answered, status = await self._post(method, raw, revision=revision, notify=None)
        if answered is None:
            raise UpstreamError(f"{self.server.name} gave no answer (status {status})")
        return result_of(answered)

    async def _notify(self, method: str) -> None:
        body = _encode({"jsonrpc": "2.0", "method": method})
        async with await self._send(body, self._headers(method, "", HANDSHAKE[-1])):
            pass

    def _headers(self, method: str, name: str, revision: str) -> dict[str, str]:
        server = self.server
        credential = None
        if server.secret:
            credential = CredentialEntry(
                server.id, server.organization_id, server.name, server.secret, server.auth_form
            )
        target = Target(ProviderEntry(server.name), ProviderFacts(), credential, server.url, server.auth_form, "", b"")
        sent = dict(upstream_headers((), target, Inquiry()))
        sent |= {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        if revision:
            sent["mcp-protocol-version"] = revision
        if revision in MODERN:
            sent["mcp-method"] = method
            if name:
                sent["mcp-name"] = header_text(name)
        if self._session:
            sent["mcp-session-id"] = self._session
        return sent

    async def _send(self, body: bytes, headers: dict[str, str]) -> aiohttp.ClientResponse:
        try:
            url = URL(self.server.url, encoded=True)
            self._upstream.check(url, self.server.name)
        except ValueError as error:
            raise NoBaseUrl(f"the URL of {self.server.name} cannot be read") from error
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=None)
        try:
            return await self._upstream.session.post(
                url, headers=headers, data=body, allow_redirects=False, timeout=timeout
            )
        except UPSTREAM_TROUBLE as error:
            raise failure(error, self.server.name) from error

    async def _post(
        self,
        method: str,
        params: Params,
        *,
        revision: str,
        notify: Notify | None,
        trace: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[Answered | None, int]:
        self._number += 1
        number = self._number
        body = _encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        name = text_of(params.get(NAMED_BY.get(method, "")))
        try:
            async with (
                asyncio.timeout(self.server.timeout_seconds),
                await self._send(body, self._headers(method, name, revision) | dict(trace)) as answer,
            ):
                if answer.status in {401, 403}:
                    raise UpstreamError(f"{self.server.name} refused Nexus's credential with {answer.status}")
                if method == "initialize":
                    self._session = answer.headers.get("mcp-session-id", "")
                return await _read_answer(answer, number, notify), answer.status
        except (aiohttp.ClientError, OSError, TimeoutError, TooLongEventError) as error:
            if isinstance(error, TooLongEventError):
                raise UpstreamError(f"an answer of {self.server.name} is larger than can be read") from error
            raise failure(error, self.server.name) from error


async def _read_answer(answer: aiohttp.ClientResponse, number: int, notify: Notify | None) -> Answered | None:
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/event-stream":
        content = bytearray()
        async for chunk in answer.content.iter_any():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise TooLongEventError
        return read_answered(bytes(content), number)
    splitter = EventSplitter()
    async for chunk in answer.content.iter_any():
        for event in splitter.feed(chunk):
            text = event_data(event)
            found = read_answered(text, number)
            if found is not None:
                return found
            if text and notify is not None:
                notify(text)
    return None


def read_answered(text: bytes, number: int) -> Answered | None:
    """Return the answer to a request of ours, or None where this is something else."""
    try:
        found = _ANSWER.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not bytes(found.result) and found.error is None:
        return None
    return found if bytes(found.id).strip() in {str(number).encode(), b"null"} else None


def result_of(answered: Answered) -> dict[str, Any]:
    """Return an answer's result; `ServerAnswered` for an error."""
    if answered.error is not None:
        raise ServerAnswered(answered.error.code, answered.error.message, msgspec.json.decode(answered.error.data))
    try:
        return msgspec.json.decode(answered.result, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def header_text(value: str) -> str:
    """Return a name as a header may hold it: as it is, or wrapped in base64."""

    if value.isascii() and value.isprintable() and value == value.strip() and not value.startswith("=?base64?"):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="
