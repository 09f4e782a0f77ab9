"""What the MCP gateway refuses or could not do, as JSON-RPC errors, which clients of the protocol understand."""

from __future__ import annotations

from typing import Any

from nexus.dataplane.decide.asgi import QuotaExceeded
from nexus.dataplane.http import encode_json, encoded_headers
from nexus.kit.errors import Forbidden, MalformedRequest, NexusError, NotFound
from nexus.platform.web.problems import problem_body

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022
REFUSED = -32029
"""A limit refused the call; of the range that JSON-RPC leaves to implementations, and told with status 429."""


class ParseError(MalformedRequest):
    """The body is no JSON."""

    code = "mcp_parse_error"


class InvalidMessage(MalformedRequest):
    """Send one JSON-RPC message: an object, not a list of them."""

    code = "mcp_invalid_message"


class HeaderMismatch(MalformedRequest):
    """The headers `Mcp-Method` and `Mcp-Name` must say what the message says."""

    code = "mcp_header_mismatch"


class UnsupportedVersion(MalformedRequest):
    """This revision of the protocol is not known here."""

    code = "mcp_unsupported_version"


class UnknownServer(NotFound):
    """There is no such MCP server that this access key may use: see the servers' page."""

    code = "unknown_mcp_server"


class UnknownTool(NotFound):
    """There is no such tool that this access key may call: `tools/list` names those there are."""

    code = "unknown_tool"


class UnknownMethod(NotFound):
    """This method of the protocol is not offered here."""

    code = "unknown_mcp_method"


class BadOrigin(Forbidden):
    """Pages of this origin may not call MCP servers here."""

    code = "bad_origin"


class SessionGone(NotFound):
    """There is no such session: begin a new one with `initialize`."""

    code = "mcp_session_gone"


class ServerAnswered(NexusError):
    """The MCP server answered with an error of the protocol; code, message and data are its own."""

    code = "mcp_server_error"
    status = 200

    def __init__(self, rpc: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.rpc = rpc
        self.told = data


class CommandsOff(Forbidden):
    """This MCP server is a program, and NEXUS_MCP_COMMANDS does not allow Nexus to start any on this machine."""

    code = "mcp_commands_off"


_CODES: dict[str, int] = {
    ParseError.code: PARSE_ERROR, InvalidMessage.code: INVALID_REQUEST, HeaderMismatch.code: HEADER_MISMATCH,
    UnsupportedVersion.code: UNSUPPORTED_VERSION, UnknownTool.code: INVALID_PARAMS, UnknownMethod.code: METHOD_NOT_FOUND,
}  # fmt: skip


def rpc_code(error: NexusError) -> int:
    """Return the code of an error as JSON-RPC has it."""
    if isinstance(error, ServerAnswered):
        return error.rpc
    if isinstance(error, QuotaExceeded):
        return REFUSED
    return _CODES.get(error.code, INTERNAL if error.status >= 500 else INVALID_REQUEST)


def error_object(error: NexusError, *, path: str, request_id: str) -> dict[str, Any]:
    """Return an error's JSON-RPC object; its data are the problem document that the rest of the API would answer with."""
    if isinstance(error, ServerAnswered):
        told = {} if error.told is None else {"data": error.told}
        return {"code": error.rpc, "message": error.detail, **told}
    data: Any = problem_body(error, instance=path, request_id=request_id)
    if isinstance(error, UnsupportedVersion):
        data = {**data, **error.data}
    return {"code": rpc_code(error), "message": error.detail, "data": data}


def error_body(error: NexusError, message_id: bytes, *, path: str, request_id: str) -> bytes:
    """Return the answer that tells an error to whoever sent the message with this id."""
    told = encode_json(error_object(error, path=path, request_id=request_id))
    return b'{"jsonrpc":"2.0","id":' + (message_id or b"null") + b',"error":' + told + b"}"


def error_headers(error: NexusError, *, request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an error's answer."""
    return [
        *encoded_headers(error),
        (b"x-nexus-error", error.code.encode()),
        (b"x-nexus-request-id", request_id.encode("latin-1", "replace")),
        (b"cache-control", b"no-store"),
    ]
