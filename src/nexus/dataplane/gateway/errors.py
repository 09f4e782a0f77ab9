"""What the gateway itself refuses or could not do, in the shape that the provider's own client understands."""

from __future__ import annotations

from typing import Any, ClassVar

from nexus.dataplane.http import encode_json, encoded_headers
from nexus.kit.errors import (
    Forbidden,
    MalformedRequest,
    NexusError,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from nexus.platform.web.problems import PROBLEM_TYPE, problem_body


class KeyRefused(Unauthenticated):
    """Send a valid access key where your client puts its API key: it is unknown, expired or revoked."""

    code = "access_key_refused"


class ScopeMissing(Forbidden):
    """The access key has not the scope `gateway:call`: send one that has."""

    code = "scope_missing"


class NotAllowedHere(Forbidden):
    """The access key may not use this provider, model or endpoint."""

    code = "not_allowed_for_key"


class UnknownProvider(NotFound):
    """There is no such provider: see `/api/catalog/providers`."""

    code = "unknown_provider"


class UnknownModel(NotFound):
    """There is no such model: name an alias, or `provider/model`."""

    code = "model_not_found"


class AllEndpointsDown(Unavailable):
    """No endpoint for this model can be called now: all of them failed a moment ago."""

    code = "endpoints_down"


class NoCredential(Forbidden):
    """Your organization has no credential for this provider: add one under provider credentials."""

    code = "no_provider_credential"


class NoBaseUrl(Forbidden):
    """This provider has no base URL: give one with the provider credential."""

    code = "no_base_url"


class AddressRefused(Forbidden):
    """The provider's address is private: the operator may allow it with NEXUS_GATEWAY_ALLOW."""

    code = "address_refused"


class RecordsWait(Unavailable):
    """Too many finished calls wait to be stored: try again in a moment."""

    code = "records_wait"


class BadPath(MalformedRequest):
    """The path cannot be forwarded."""

    code = "bad_path"


class BodyTooLarge(TooLarge):
    """The body is larger than can be looked at, and this access key may use certain models only."""

    code = "body_too_large"


class RequestTimeout(NexusError):
    """The body of the request did not come in time."""

    code = "request_timeout"
    status = 408


class UpstreamError(NexusError):
    """The provider could not be reached, or its answer is no HTTP."""

    code = "upstream_unreachable"
    status = 502
    is_connect: ClassVar[bool] = False


class UpstreamNotConnected(UpstreamError):
    """The provider could not be connected to."""

    code = "upstream_not_connected"
    is_connect = True


class UpstreamLimited(TooManyRequests):
    """The provider takes no more sessions now."""

    code = "upstream_limited"


class UpstreamTimeout(NexusError):
    """The provider did not answer in time."""

    code = "upstream_timeout"
    status = 504


_OPENAI_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    408: "timeout_error", 413: "invalid_request_error", 422: "invalid_request_error", 429: "rate_limit_error",
}  # fmt: skip
_GOOGLE_STATES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
                  408: "DEADLINE_EXCEEDED", 413: "INVALID_ARGUMENT", 422: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED",
                  503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}  # fmt: skip


def error_body(error: NexusError, dialect: str, *, path: str, request_id: str) -> tuple[bytes, bytes]:
    """Return media type and body of an error in a dialect: `openai`, `anthropic`, `google`, `aws`, `message`, `problem`."""
    kind = _OPENAI_TYPES.get(error.status, "api_error")
    body: dict[str, Any]
    match dialect:
        case "openai":
            body = {"error": {"message": error.detail, "type": kind, "param": None, "code": error.code}}
        case "anthropic":
            kind = "request_too_large" if error.status == 413 else "overloaded_error" if error.status == 503 else kind
            body = {"type": "error", "error": {"type": kind, "message": error.detail}, "request_id": request_id}
        case "google":
            state = _GOOGLE_STATES.get(error.status, "INTERNAL")
            body = {"error": {"code": error.status, "message": error.detail, "status": state}}
        case "aws" | "message":
            body = {"message": error.detail}
        case _:
            return PROBLEM_TYPE.encode(), encode_json(problem_body(error, instance=path, request_id=request_id))
    return b"application/json", encode_json(body)


def error_headers(error: NexusError, *, request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an error, whatever its dialect."""
    return [
        *encoded_headers(error),
        (b"x-nexus-error", error.code.encode()),
        (b"x-nexus-request-id", request_id.encode("latin-1", "replace")),
        (b"cache-control", b"no-store"),
    ]


def stream_error(error: NexusError, dialect: str) -> bytes:
    """Return the server-sent event that tells a client in the middle of a stream that no more will come.

    Nothing where the dialect has none that its client heeds: then only a connection that breaks tells it.
    """
    body: dict[str, Any]
    match dialect:
        case "openai":
            body = {"error": {"message": error.detail, "type": "api_error", "param": None, "code": error.code}}
        case "anthropic":
            body = {"type": "error", "error": {"type": "api_error", "message": error.detail}}
            return b"event: error\ndata: " + encode_json(body) + b"\n\n"
        case "google":
            state = _GOOGLE_STATES.get(error.status, "INTERNAL")
            body = {"error": {"code": error.status, "message": error.detail, "status": state}}
        case _:
            return b""
    return b"data: " + encode_json(body) + b"\n\n"
