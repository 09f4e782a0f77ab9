"""Lists are read page by page. A cursor names the last item seen; it means nothing to whoever carries it."""

import base64
import binascii
from typing import Generic, TypeVar

import msgspec

from nexus.kit.errors import FieldFault, InvalidRequest

T = TypeVar("T")
DEFAULT_LIMIT = 50
MAX_LIMIT = 500


class Page(msgspec.Struct, Generic[T]):
    """One page of a list; `next_cursor` is null on the last."""

    items: list[T]
    next_cursor: str | None = None


class InvalidCursor(InvalidRequest):
    """The cursor is not one that this list gave out."""

    code = "invalid_cursor"


def encode_cursor(*parts: object) -> str:
    """Make a cursor from the sort key of the last item."""
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


def decode_cursor(cursor: str, kind: type[T]) -> T:
    """Read a cursor back as a tuple type such as `tuple[datetime, UUID]`; `InvalidCursor` for anything else."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=kind)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        message = "take `cursor` from the last answer's next_cursor, or leave it out to begin at the start"
        raise InvalidCursor(message, faults=[FieldFault("cursor", message)]) from error


def check_limit(limit: int) -> int:
    """Return the number of items of a page; `InvalidRequest` outside of 1 to 500."""
    if not 1 <= limit <= MAX_LIMIT:
        message = f"give a number from 1 to {MAX_LIMIT}"
        raise InvalidRequest(message, faults=[FieldFault("limit", message)])
    return limit
