"""One tree of errors. A class carries `code` and `status`, its docstring is the message, its arguments are data."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec


class FieldFault(msgspec.Struct, frozen=True):
    """What is wrong with one field, and what to do about it."""

    field: str
    message: str


class NexusError(Exception):
    """Something was refused.

    `data` are further members of the problem document, `headers` further headers of the answer (names in lower case).
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    answer_headers: ClassVar[Mapping[str, str]] = {}
    """Headers that every answer of this class has."""

    def __init__(
        self,
        detail: str | None = None,
        *,
        faults: Sequence[FieldFault] = (),
        retry_after_seconds: int | None = None,
        headers: Mapping[str, str] | None = None,
        **data: object,
    ) -> None:
        self.detail = detail or self.title
        self.faults = tuple(faults)
        self.retry_after_seconds = retry_after_seconds
        self.headers = {**self.answer_headers, **(headers or {})}
        self.data = data
        super().__init__(self.detail)

    @property
    def title(self) -> str:
        """The first line of the class's docstring."""
        return (inspect.getdoc(type(self)) or "").split("\n", 1)[0]


class InvalidRequest(NexusError):
    """Some fields are not valid."""

    code = "invalid_request"
    status = 422


class MalformedRequest(NexusError):
    """The request cannot be read."""

    code = "malformed_request"
    status = 400


class Unauthenticated(NexusError):
    """Sign in, or send an access key."""

    code = "unauthenticated"
    status = 401
    answer_headers: ClassVar[Mapping[str, str]] = {"www-authenticate": 'Bearer realm="nexus"'}


class Forbidden(NexusError):
    """You may not do this."""

    code = "forbidden"
    status = 403


class NotFound(NexusError):
    """There is no such thing here."""

    code = "not_found"
    status = 404


class Conflict(NexusError):
    """It conflicts with what is already there."""

    code = "conflict"
    status = 409


class TooLarge(NexusError):
    """The request is too large."""

    code = "too_large"
    status = 413


class UnsupportedMediaType(NexusError):
    """This media type or encoding is not understood."""

    code = "unsupported_media_type"
    status = 415


class TooManyRequests(NexusError):
    """Too many requests: wait, then try again."""

    code = "too_many_requests"
    status = 429


class Unavailable(NexusError):
    """The service cannot answer now: wait, then try again."""

    code = "unavailable"
    status = 503


def invalid(field: str, message: str) -> InvalidRequest:
    """Make the error for one faulty field."""
    return InvalidRequest(message, faults=[FieldFault(field, message)])
