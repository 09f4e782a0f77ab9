"""Lists are read page by page. A cursor names the last item seen; it means nothing to whoever carries it."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import UUID

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
    """Read a cursor back as a tuple type such as `tuple[datetime, UUID]`; `InvalidCursor` for anything else.

    What a list never gives out is refused whatever its type allows: an instant without an offset, a text with a NUL.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        value = msgspec.json.decode(raw, type=kind)
        for part in value if isinstance(value, tuple) else ():
            _check_part(part)
    except (binascii.Error, ValueError, OverflowError, msgspec.MsgspecError) as error:
        message = "take `cursor` from the last answer's next_cursor, or leave it out to begin at the start"
        raise InvalidCursor(message, faults=[FieldFault("cursor", message)]) from error
    return value


def _check_part(part: object) -> None:
    if isinstance(part, datetime):
        if part.tzinfo is None:
            raise ValueError("an instant has an offset")
        # Overflows where the instant lies before the year 1 or after 9999 in UTC.
        part.astimezone(UTC)
    elif isinstance(part, str) and "\x00" in part:
        raise ValueError("a text has no NUL")


def id_of(cursor: str | None) -> UUID | None:
    """Read the cursor of a list that is sorted by id alone; None at the list's start."""
    return None if cursor is None else decode_cursor(cursor, tuple[UUID])[0]


def page_of(found: Sequence[T], limit: int, key: Callable[[T], Sequence[object]]) -> Page[T]:
    """Make a page of what was found, of which one more than `limit` was asked for; `key` is what the list is sorted by."""
    items = list(found[:limit])
    return Page(items, encode_cursor(*key(items[-1])) if len(found) > limit else None)


def check_limit(limit: int) -> int:
    """Return the number of items of a page; `InvalidRequest` outside of 1 to 500."""
    if not 1 <= limit <= MAX_LIMIT:
        message = f"give a number from 1 to {MAX_LIMIT}"
        raise InvalidRequest(message, faults=[FieldFault("limit", message)])
    return limit
