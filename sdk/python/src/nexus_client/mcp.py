"""Records what an MCP server does, by one line in the server:

    MCPServer("files", middleware=[record(client, server="files")])         # of the package `mcp`, from 2.0 on
    FastMCP("files", middleware=[record(client, server="files")])           # of the package `fastmcp`, from 4.0 on

Each call of a tool is a `tool_call`, each request of the protocol, calls of tools among them, an `mcp_request`; an exception
that a request met is an `error` too. The host's
event loop takes the time and keeps references; what costs more (reading the answer, its size) is done in the writer's thread.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from nexus_client.errors import told_of
from nexus_client.ids import RANDOM_BYTES, uuid7

if TYPE_CHECKING:
    from nexus_client.client import Client

MAX_CONTENT_BYTES = 60_000
"""Parameters and responses larger than this are left out, and `metadata` says so: Nexus takes 64 KiB."""
MAX_LISTED = 250
"""Tools of a list that are named in its record."""
_CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
_PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
Next = Callable[[Any], Awaitable[Any]]


@dataclass
class Message:
    """One message, as far as it is recorded; both packages have it under names of their own."""

    method: str
    params: Mapping[str, Any]
    request_id: Any
    meta: Mapping[str, Any]
    session: Any
    protocol_version: str | None
    request: Any


def _message_of(ctx: Any) -> Message:
    """Read the context of either package."""
    fast = getattr(ctx, "fastmcp_context", None)
    inner = ctx if fast is None else fast.request_context
    params = getattr(ctx, "params", None)
    if fast is not None:
        told = {name: getattr(ctx.message, name, None) for name in ("name", "arguments", "uri")}
        params = {name: value for name, value in told.items() if value is not None}
    meta = getattr(inner, "meta", None)
    return Message(
        str(ctx.method),
        params if isinstance(params, Mapping) else {},
        getattr(inner, "request_id", None),
        meta if isinstance(meta, Mapping) else {},
        getattr(inner, "session", None),
        getattr(inner, "protocol_version", None),
        getattr(inner, "request", None),
    )


class Recorder:
    """The middleware. It answers what the server answers, and raises what the server raises."""

    def __init__(
        self,
        client: Client,
        *,
        server: str | None = None,
        parameters: bool = True,
        responses: bool = False,
        errors: bool = True,
        user: Callable[[Any], str | None] | None = None,
    ) -> None:
        self._client = client
        self._server = server
        self._keeps_parameters = parameters
        self._keeps_responses = responses
        self._tells_errors = errors
        self._user_of = user or _authenticated

    async def __call__(self, ctx: Any, call_next: Next) -> Any:
        """Pass one message on and record it."""
        message = _message_of(ctx)
        if message.request_id is None:
            # A notification: nobody waits for it, and it has no outcome.
            return await call_next(ctx)
        began_ns, began = time.time_ns(), time.perf_counter()
        try:
            result = await call_next(ctx)
        except BaseException as error:
            self._note(message, began_ns, (time.perf_counter() - began) * 1e3, None, error)
            raise
        self._note(message, began_ns, (time.perf_counter() - began) * 1e3, result, None)
        return result

    def _note(self, ctx: Message, began_ns: int, elapsed_ms: float, result: Any, error: BaseException | None) -> None:
        with self._client.counters.shield:
            method = str(ctx.method)
            params = ctx.params
            common: dict[str, Any] = {
                **{name: value for name, value in self._client.attribution().items() if name in _CONTEXT},
                "duration_ms": round(elapsed_ms, 3),
                "request_id": str(ctx.request_id)[:200],
                **_origin(ctx),
            }
            if self._server:
                common["server"] = self._server
            user = self._user_of(ctx)
            if user:
                common["user"] = user
            noise = os.urandom(2 * RANDOM_BYTES)
            ids = uuid7(began_ns, noise[:RANDOM_BYTES]), uuid7(began_ns, noise[RANDOM_BYTES:])
            self._client.put(lambda: self._request(ids[0], method, params, common, result, error))
            if method == "tools/call":
                self._client.put(lambda: self._tool_call(ids[1], params, common, result, error))
            if error is not None and self._tells_errors and isinstance(error, Exception):
                made, execution = uuid7(began_ns), str(ids[1]) if method == "tools/call" else None
                self._client.put(lambda: self._error(made, execution, method, params, common, error))

    def _request(
        self, made: Any, method: str, params: Mapping[str, Any], common: dict[str, Any], result: Any, error: Any
    ) -> dict[str, Any]:
        target = params.get("name") or str(params.get("uri") or "").partition("?")[0]
        record = {"type": "mcp_request", "id": str(made), "method": method[:200], **common}
        if target:
            record["target"] = str(target)[:200]
        if method == "tools/list" and result is not None:
            # What is offered, without descriptions and schemas: so that it can be told what nobody calls.
            record["response_body"] = {"tools": [{"name": name} for name in _names(result)]}
        return {**record, **_ending(result, error), "response_size_bytes": len(_written(result))}

    def _error(
        self,
        made: Any,
        execution: str | None,
        method: str,
        params: Mapping[str, Any],
        common: dict[str, Any],
        error: Exception,
    ) -> dict[str, Any]:
        """Tell of what was raised: how the call ended is the `tool_call`'s to say, why is the error's."""
        target = str(params.get("name") or params.get("uri") or "").partition("?")[0]
        # What a tool raised stands behind the error that the server made of it.
        told = told_of(error.__cause__ or error)
        found = {"type": "error", "id": str(made), **told, "category": "mcp"}
        found |= {name: common[name] for name in _OF_ERRORS if name in common}
        found["tool_context"] = {"method": method, **({"target": target[:200]} if target else {})}
        if self._server:
            found["service"] = self._server
        if execution:
            found["execution_id"] = execution
        return found

    def _tool_call(
        self, made: Any, params: Mapping[str, Any], common: dict[str, Any], result: Any, error: Any
    ) -> dict[str, Any]:
        record = {
            "type": "tool_call",
            "id": str(made),
            "tool": str(params.get("name") or "")[:200] or "unknown",
            **common,
        }
        answer = _written(result)
        record |= {**_ending(result, error), "response_size_bytes": len(answer)}
        left_out: dict[str, int] = {}
        arguments = params.get("arguments")
        if self._keeps_parameters and isinstance(arguments, Mapping):
            size = len(_written(arguments))
            if size <= MAX_CONTENT_BYTES:
                record["parameters"] = json.loads(_written(arguments))
            else:
                left_out["parameters_left_out_bytes"] = size
        if self._keeps_responses and result is not None:
            if len(answer) <= MAX_CONTENT_BYTES:
                record["response"] = json.loads(answer)
            else:
                left_out["response_left_out_bytes"] = len(answer)
        if left_out:
            record["metadata"] = left_out
        return record


record = Recorder
"""The name that reads well where a server is made."""

_CONTEXT = frozenset({"application", "user", "end_user", "tags", "session_id", "trace_id", "metadata"})
"""What a context may say of who called (`attributed`), as far as these records have it."""


_OF_ERRORS = ("application", "user", "end_user", "tags", "session_id", "trace_id", "span_id", "request_id")


def _origin(ctx: Message) -> dict[str, Any]:
    """Return client, revision, transport, session and trace, as far as the message tells."""
    meta = ctx.meta
    found: dict[str, Any] = {}
    info = meta.get(_CLIENT_INFO) or getattr(
        getattr(getattr(ctx, "session", None), "client_params", None), "client_info", None
    )
    for name in ("name", "version"):
        value = info.get(name) if isinstance(info, Mapping) else getattr(info, name, None)
        if value:
            found[f"client_{name}"] = str(value)[:200]
    version = ctx.protocol_version or meta.get(_PROTOCOL_VERSION)
    if version:
        found["protocol_version"] = str(version)[:200]
    found["transport"] = "stdio" if ctx.request is None else "streamable_http"
    headers = getattr(ctx.request, "headers", None)
    if headers is not None:
        session = headers.get("mcp-session-id")
        if session:
            found["session_id"] = str(session)[:200]
    parts = str(meta.get("traceparent") or "").split("-")
    if len(parts) == 4 and len(parts[1]) == 32 and len(parts[2]) == 16:
        found["trace_id"], found["span_id"] = parts[1], parts[2]
    return found


def _authenticated(ctx: Any) -> str | None:
    """Return whom the server's own authorization found, where it has one."""
    module = sys.modules.get("mcp.server.auth.middleware.auth_context")
    token = module.get_access_token() if module is not None else None
    if token is None:
        return None
    return str(getattr(token, "subject", None) or getattr(token, "client_id", "") or "")[:200] or None


def _ending(result: Any, error: BaseException | None) -> dict[str, Any]:
    """Return the outcome, and what went wrong."""
    if error is not None:
        # With fastmcp a tool that fails raises; its client is told by `isError`.
        is_tools = any(kind.__name__ == "ToolError" for kind in type(error).__mro__)
        outcome = "tool_error" if is_tools else "protocol_error"
        found: dict[str, Any] = {"outcome": outcome, "error_type": type(error).__name__[:200]}
        told = getattr(error, "error", None)
        code = getattr(told, "code", None)
        if code is not None:
            found["error_code"] = str(code)[:64]
        message = str(getattr(told, "message", None) or error)
        if message:
            found["error_message"] = message[:8_000]
        return found
    is_error = (
        result.get("isError")
        if isinstance(result, Mapping)
        else getattr(result, "is_error", getattr(result, "isError", False))
    )
    if not is_error:
        return {"outcome": "ok"}
    content = result.get("content") if isinstance(result, Mapping) else getattr(result, "content", None)
    texts = [
        str(part.get("text") if isinstance(part, Mapping) else getattr(part, "text", "")) for part in content or ()
    ]
    message = "\n".join(text for text in texts if text and text != "None")
    return {
        "outcome": "tool_error",
        "error_type": "tool_error",
        **({"error_message": message[:8_000]} if message else {}),
    }


def _names(result: Any) -> list[str]:
    """Return the names of the tools in a list of them, of the protocol's form or fastmcp's."""
    tools = result.get("tools") if isinstance(result, Mapping) else getattr(result, "tools", result)
    found = (tool.get("name") if isinstance(tool, Mapping) else getattr(tool, "name", None) for tool in tools or ())
    return [str(name)[:200] for name in found if name][:MAX_LISTED]


def _written(value: Any) -> bytes:
    """Write an answer or arguments as JSON; what has no form in JSON is written as text."""
    if value is None:
        return b""
    if hasattr(value, "model_dump_json"):
        return str(value.model_dump_json(by_alias=True, exclude_none=True)).encode()
    if hasattr(value, "content"):
        # A result of fastmcp before it is one of the protocol.
        return b"[" + b",".join(map(_written, value.content)) + b"]" if isinstance(value.content, list) else b""
    return json.dumps(value, default=str, separators=(",", ":")).encode()
