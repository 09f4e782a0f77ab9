"""Errors as problem details (RFC 9457): a stable type, what to do, and the fields at fault. Translated here, once."""

import re
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotAuthorizedException,
    NotFoundException,
    PermissionDeniedException,
    SerializationException,
    ValidationException,
)

from nexus.kit.errors import (
    FieldFault,
    Forbidden,
    InvalidRequest,
    MalformedRequest,
    NexusError,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)

PROBLEM_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:nexus:problem:"
_log = structlog.get_logger("nexus.web")
_PATH = re.compile(r"^(?P<what>.*) - at `\$(?P<path>[^`]*)`$", re.DOTALL)
_PLACE = re.compile(r"\.?\[(\d+)\]")
_NAMED = re.compile(r"(?:missing required|unknown) field `(?P<name>[^`]*)`")


class MethodNotAllowed(NexusError):
    """This path does not take this method."""

    code = "method_not_allowed"
    status = 405

    def __init__(self, detail: str, *, allow: str) -> None:
        super().__init__(detail, headers={"allow": allow})


class InternalError(NexusError):
    """Something went wrong on our side; tell the operator the request id."""

    code = "internal_error"
    status = 500


class DatabaseAway(Unavailable):
    """The database cannot be reached now: try again in a few seconds."""

    code = "database_unavailable"


def problem_body(error: NexusError, *, instance: str = "", request_id: str = "") -> dict[str, Any]:
    """Return the members of the problem document of an error."""
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + error.code,
        "title": error.title.rstrip("."),
        "status": error.status,
        "detail": error.detail,
    }
    if instance:
        body["instance"] = instance
    if request_id:
        body["request_id"] = request_id
    if error.faults:
        body["errors"] = [{"field": fault.field, "message": fault.message} for fault in error.faults]
    for name, value in error.data.items():
        body.setdefault(name, value)
    return body


def problem_headers(error: NexusError) -> dict[str, str]:
    """Return the headers that belong to an error's answer."""
    headers = dict(error.headers)
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(error.retry_after_seconds)
    elif error.status == 503:
        headers["retry-after"] = "2"
    return headers


def request_id_of(request: Request[Any, Any, Any]) -> str:
    """Return the id that the outermost layer gave to this request."""
    value = request.scope.get("state", {}).get("request_id", "")
    return str(value)


def _answer(request: Request[Any, Any, Any], error: NexusError) -> Response[dict[str, Any]]:
    body = problem_body(error, instance=request.url.path, request_id=request_id_of(request))
    return Response(body, status_code=error.status, media_type=PROBLEM_TYPE, headers=problem_headers(error))


def _nexus(request: Request[Any, Any, Any], error: NexusError) -> Response[dict[str, Any]]:
    return _answer(request, error)


def fault_of(message: str, key: str = "") -> FieldFault:
    """Read what a decoder says of a value: which field it is, as the caller wrote it, and what is wrong with it.

    Places in lists are numbers between dots, as in `limits.0.rate`.
    """
    # The framework calls the body `data`; its fields are named as the caller wrote them.
    path = "" if key == "data" else key.removeprefix("data.")
    found = _PATH.match(message)
    if found:
        # Of an object whose names are the caller's own a decoder does not say which it was.
        message, inner = found["what"], found["path"].replace("[...]", "").lstrip(".")
        path = path if not inner or path.endswith(inner) else f"{path}.{inner}".strip(".")
    named = _NAMED.search(message)
    if named:
        path = f"{path}.{named['name']}".strip(".")
    return FieldFault(_PLACE.sub(r".\1", path).lstrip(".") or "body", message)


def faults_of(messages: Sequence[Any]) -> list[FieldFault]:
    """Read the framework's list of validation faults."""
    faults: list[FieldFault] = []
    for item in messages:
        if isinstance(item, dict):
            faults.append(fault_of(str(item.get("message", "")), str(item.get("key", ""))))
        else:
            faults.append(FieldFault("body", str(item)))
    return faults


def _as_sent(request: Request[Any, Any, Any], fault: FieldFault) -> FieldFault:
    """Name a parameter as the caller did: `from` cannot be the name of a handler's argument, so that it has another."""
    handler = request.scope.get("route_handler")
    argument = handler.parsed_fn_signature.parameters.get(fault.field) if handler is not None else None
    name = getattr(argument.kwarg_definition, "name", None) if argument is not None else None
    return FieldFault(name, fault.message) if name else fault


def _validation(request: Request[Any, Any, Any], error: ValidationException) -> Response[dict[str, Any]]:
    faults = [_as_sent(request, fault) for fault in faults_of(error.extra)] if isinstance(error.extra, list) else []
    if not faults and isinstance(error.__cause__, KeyError):
        faults = [FieldFault(str(error.__cause__.args[0]), "is required")]
    if not faults:
        faults = [fault_of(str(error.__cause__ or error.detail))]
    text = "; ".join(f"{fault.field}: {fault.message}" for fault in faults)
    return _answer(request, InvalidRequest(text, faults=faults))


def _unreadable(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    return _answer(request, MalformedRequest("send a body that is valid JSON, in UTF-8"))


def _http(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    if isinstance(error.__cause__, (SerializationException, msgspec.DecodeError, UnicodeDecodeError)):
        return _unreadable(request, error)
    translated: NexusError
    if isinstance(error, NotFoundException):
        translated = NotFound(f"there is nothing at {request.url.path}")
    elif isinstance(error, MethodNotAllowedException):
        allow = (error.headers or {}).get("allow", "")
        translated = MethodNotAllowed(f"{request.url.path} does not take {request.method}", allow=allow)
    elif isinstance(error, NotAuthorizedException):
        translated = Unauthenticated()
    elif isinstance(error, PermissionDeniedException):
        translated = Forbidden()
    elif error.status_code == 413:
        translated = TooLarge()
    elif error.status_code == 415:
        translated = UnsupportedMediaType()
    elif error.status_code < 500:
        translated = MalformedRequest(error.detail)
    else:
        return _unexpected(request, error)
    return _answer(request, translated)


def _database(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    _log.warning("database unavailable", error=type(error).__name__, path=request.url.path)
    return _answer(request, DatabaseAway())


def _data(request: Request[Any, Any, Any], error: asyncpg.DataError) -> Response[dict[str, Any]]:
    # The boundary should have refused it; the caller's data are at fault all the same.
    _log.info("data refused by the database", error=str(error), path=request.url.path)
    message = "a value is outside of what can be stored"
    return _answer(request, InvalidRequest(message, faults=[FieldFault("body", message)]))


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    _log.error("unexpected error", path=request.url.path, method=request.method, exc_info=error)
    return _answer(request, InternalError())


exception_handlers: dict[int | type[Exception], Any] = {
    NexusError: _nexus,
    ValidationException: _validation,
    SerializationException: _unreadable,
    UnicodeDecodeError: _unreadable,
    HTTPException: _http,
    asyncpg.DataError: _data,
    asyncpg.PostgresConnectionError: _database,
    asyncpg.CannotConnectNowError: _database,
    asyncpg.AdminShutdownError: _database,
    asyncpg.CrashShutdownError: _database,
    asyncpg.TooManyConnectionsError: _database,
    asyncpg.InterfaceError: _database,
    ConnectionError: _database,
    FileNotFoundError: _database,
    TimeoutError: _database,
    Exception: _unexpected,
}
