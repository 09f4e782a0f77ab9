"""One request to an MCP server through the gateway: what is known of it while it runs, and the records made of it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from nexus.contracts.calls import MAX_TEXT_CHARS, MAX_USER_AGENT_CHARS, ApiCall
from nexus.contracts.mcp_requests import McpRequest
from nexus.contracts.mcp_servers import McpServerEntry
from nexus.contracts.tool_calls import MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH, Outcome, ToolCall
from nexus.dataplane.decide.gate import Ticket
from nexus.dataplane.gateway.exchange import Caller
from nexus.dataplane.gateway.journal import BeginRecords, End, OpenCall, Record
from nexus.dataplane.gateway.mcp.messages import Message
from nexus.dataplane.ingest.sense import find_unusable, free_json_fault
from nexus.kit.errors import NexusError
from nexus.kit.ids import uuid7_text
from nexus.kit.money import format_nanos

_MAX_NAME = 200
MAX_LISTED = 250
"""Tools of a list that are named in its record."""


class Fault(msgspec.Struct):
    """A JSON-RPC error."""

    code: int = 0
    message: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class Result(msgspec.Struct):
    """What of a result tells how a request went. Tools' lists keep what else is known of each tool."""

    isError: bool = False  # noqa: N815
    content: list[msgspec.Raw] | None = None
    tools: list[msgspec.Raw] | None = None


class Content(msgspec.Struct):
    """A part of a tool's answer, or a tool in a list."""

    text: str | None = None
    name: str = ""


class Answered(msgspec.Struct):
    """An answer of the server: a result or an error."""

    id: msgspec.Raw = msgspec.Raw(b"null")
    result: msgspec.Raw = msgspec.Raw(b"")
    """Empty where there is none."""
    error: Fault | None = None


_RESULT = msgspec.json.Decoder(Result)
_CONTENT = msgspec.json.Decoder(Content)


@dataclass(slots=True, eq=False)
class McpCall:
    """One request."""

    caller: Caller
    server: McpServerEntry
    message: Message
    client_name: str = ""
    client_version: str = ""
    session_id: str | None = None
    price_nanos: int | None = None
    """Of this tool call, in nanos of the organization's currency."""
    keeps_response: bool = False
    id: str = field(default_factory=uuid7_text)
    request_record: str = field(default_factory=uuid7_text)
    span_id: str = field(default_factory=lambda: os.urandom(8).hex())
    """Our own span, under which the server finds its part of the trace."""
    ticket: Ticket | None = None
    open_call: OpenCall | None = None
    began: float = field(default_factory=time.perf_counter)
    status_code: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    outcome: Outcome | None = None
    """None while no answer is known."""
    error_type: str = ""
    error_code: str = ""
    error_message: str = ""
    was_sent: bool = False
    """Whether the request may have reached the server."""
    result: bytes = b""
    listed: list[str] | None = None
    is_recorded: bool = False
    elapsed: float | None = None

    def __post_init__(self) -> None:
        found = self.message.trace()
        if found is not None:
            caller = self.caller
            caller.trace_id, caller.parent_span_id, caller.trace_flags, caller.trace_state = found
        if self.caller.trace_id is None:
            self.caller.trace_id = os.urandom(16).hex()

    @property
    def is_tool_call(self) -> bool:
        """Whether a tool is called."""
        return self.message.method == "tools/call"

    @property
    def tool(self) -> str:
        """The tool that is called, by the name it has at its server."""
        return self.message.target

    @property
    def trace_context(self) -> dict[str, str]:
        """The trace context that goes on to the server (W3C Trace Context): the client's, under our own span."""
        context = {"traceparent": f"00-{self.caller.trace_id}-{self.span_id}-{self.caller.trace_flags}"}
        return context | {"tracestate": self.caller.trace_state} if self.caller.trace_state else context

    def answered(self, answer: Answered, size: int) -> None:
        """Take the server's answer."""
        self.response_bytes = max(self.response_bytes, size)
        if answer.error is not None:
            self.failed("json_rpc_error", answer.error.message, code=str(answer.error.code))
            return
        self.outcome = "ok"
        self.result = bytes(answer.result)
        try:
            result = _RESULT.decode(self.result)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        if result.isError and self.is_tool_call:
            self.outcome, self.error_type = "tool_error", "tool_error"
            self.error_message = "\n".join(part.text for part in _parts(result.content) if part.text)
        if result.tools is not None and self.message.method == "tools/list":
            self.listed = [part.name[:_MAX_NAME] for part in _parts(result.tools) if part.name]

    def failed(self, kind: str, message: str, *, code: str = "") -> None:
        """Note that there is no answer of the server, or none but an error of the protocol."""
        self.outcome, self.error_type, self.error_message, self.error_code = "protocol_error", kind, message, code

    def failed_by(self, error: NexusError) -> None:
        """Note what we told the client in place of an answer."""
        self.failed(error.code, error.detail)
        self.status_code = self.status_code or error.status

    def begin_mark(self) -> BeginRecords:
        """Make the mark that the request is sent, with the records of a process that dies."""
        key = self.caller.key
        self.failed("interrupted", "the process that served the call ended before the answer did")
        records = self.records(elapsed=None)
        self.outcome, self.error_type, self.error_message = None, "", ""
        return BeginRecords(self.id, key.id, key.organization_id, records, key.application, key.user_id)

    def end_mark(self) -> End:
        """Make the mark that the request ended, with its records."""
        key = self.caller.key
        elapsed = time.perf_counter() - self.began if self.elapsed is None else self.elapsed
        first, *more = self.records(elapsed=elapsed)
        return End(self.id, key.id, key.organization_id, first, key.application, key.user_id, tuple(more))

    def records(self, *, elapsed: float | None) -> tuple[Record, ...]:
        """Make the records: of the tool and the request where a tool was called, and of its cost where it has a price."""
        request = self._request(elapsed)
        if not self.is_tool_call:
            return (request,)
        found: list[Record] = [self._tool_call(elapsed), request]
        if self.cost_nanos:
            found.append(self._priced(elapsed))
        return tuple(found)

    @property
    def cost_nanos(self) -> int | None:
        """What the tool call costs: its price where the tool answered, be it with an error, and nothing where it did not."""
        if self.price_nanos is None:
            return None
        return self.price_nanos if self.outcome in {"ok", "tool_error"} else 0

    def _common(self, elapsed: float | None) -> dict[str, Any]:
        caller = self.caller
        return {
            "outcome": self.outcome or "protocol_error",
            "server": self.server.name,
            "duration_ms": None if elapsed is None else elapsed * 1000,
            "response_size_bytes": self.response_bytes,
            "error_type": clean(self.error_type, _MAX_NAME) or None,
            "error_code": clean(self.error_code, 64) or None,
            "error_message": clean(self.error_message, MAX_TEXT_CHARS) or None,
            "client_name": clean(self.client_name, _MAX_NAME) or None,
            "client_version": clean(self.client_version, _MAX_NAME) or None,
            "protocol_version": clean(self.message.revision, _MAX_NAME) or None,
            "transport": self.server.transport,
            "session_id": None if self.session_id is None else clean(self.session_id, _MAX_NAME) or None,
            "request_id": clean(self.message.id.decode("utf-8", "replace").strip('"'), _MAX_NAME) or None,
            "trace_id": caller.trace_id,
            "span_id": self.span_id,
            "user_agent": clean(caller.user_agent, MAX_USER_AGENT_CHARS) or None,
            "ip_address": caller.ip_address,
            "tags": caller.tags,
        }

    def _gateway(self) -> dict[str, Any]:
        told: dict[str, Any] = {"request": self.caller.request_id[:_MAX_NAME]}
        cost = self.cost_nanos
        if cost is not None:
            told["cost"] = format_nanos(cost)
        if self.caller.parent_span_id:
            told["parent_span_id"] = self.caller.parent_span_id
        return told

    def _tool_call(self, elapsed: float | None) -> ToolCall:
        metadata: dict[str, Any] = {"gateway": self._gateway()}
        parameters = self._content(self.message.value("arguments"), "parameters", metadata)
        response = None
        if self.keeps_response and self.result:
            response = self._content(_decoded(self.result), "response", metadata)
        return ToolCall(
            id=self.id,
            tool=clean(self.tool, _MAX_NAME) or "unknown",
            parameters=parameters if isinstance(parameters, dict) else None,
            response=response,
            metadata=metadata,
            **self._common(elapsed),
        )

    def _request(self, elapsed: float | None) -> McpRequest:
        message = self.message
        listed = None
        if self.listed is not None:
            listed = {"tools": [{"name": clean(name, _MAX_NAME)} for name in self.listed[:MAX_LISTED]]}
        told = self._gateway()
        if self.is_tool_call:
            told["tool_call"] = self.id
        return McpRequest(
            id=self.request_record if self.is_tool_call else self.id,
            method=clean(message.method, _MAX_NAME),
            target=clean(message.target, _MAX_NAME) or None,
            status_code=self.status_code,
            http_method="POST",
            path=f"/mcp/{self.server.name}",
            request_size_bytes=self.request_bytes,
            response_body=listed,
            metadata={"gateway": told},
            **self._common(elapsed),
        )

    def _priced(self, elapsed: float | None) -> ApiCall:
        """Make the record by which costs and budgets count the call: one ledger of money for all that is called."""
        caller = self.caller
        return ApiCall(
            provider=self.server.name,
            status_code=200,
            id=uuid7_text(),
            endpoint=clean(self.tool, _MAX_NAME),
            path=f"/mcp/{self.server.name}",
            method="POST",
            response_time_ms=None if elapsed is None else elapsed * 1000,
            request_size_bytes=self.request_bytes,
            response_size_bytes=self.response_bytes,
            cost=Decimal(format_nanos(self.cost_nanos or 0)),
            request_id=caller.request_id[:_MAX_NAME],
            trace_id=caller.trace_id,
            tags=caller.tags,
            metadata={"tool_call": self.id},
            user_agent=clean(caller.user_agent, MAX_USER_AGENT_CHARS) or None,
            ip_address=caller.ip_address,
        )

    def _content(self, value: Any, name: str, metadata: dict[str, Any]) -> Any:
        """Return a value that a record may hold; what it may not hold is left out, and `metadata` says so."""
        fault = free_json_fault(value, max_bytes=MAX_CONTENT_BYTES, max_depth=MAX_CONTENT_DEPTH)
        if fault is None and find_unusable(value) is None and _fits_journal(value):
            return value
        metadata[f"{name}_left_out"] = True
        return None


def _fits_journal(value: Any) -> bool:
    """Tell whether the journal can hold a value: its integers have 64 bits, those of JSON as many as they like."""
    try:
        msgspec.msgpack.encode(value)
    except OverflowError:
        return False
    return True


def _decoded(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _parts(raw: list[msgspec.Raw] | None) -> list[Content]:
    found = []
    for part in raw or ():
        try:
            found.append(_CONTENT.decode(part))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return found


def clean(text: str, limit: int) -> str:
    """Make a foreign text storable: no NUL, no half of a surrogate pair, not too long."""
    if text.isascii() and "\x00" not in text:
        return text[:limit]
    return text.replace("\x00", "").encode("utf-8", "replace").decode()[:limit]
