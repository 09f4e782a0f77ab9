"""What the record of an error says of an exception."""

from __future__ import annotations

import traceback
from typing import Any

_MOST_MESSAGE_CHARS = 8_000
_MOST_STACK_CHARS = 32_000


def told_of(error: BaseException | str) -> dict[str, Any]:
    """Return message, class and stack of an exception; of a text the message alone.

    Of a stack that is too long the end is kept: there stands where it was raised.
    """
    if isinstance(error, str):
        return {"message": error[:_MOST_MESSAGE_CHARS] or "an error without a message"}
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    found = {"message": (str(error) or name)[:_MOST_MESSAGE_CHARS], "error_type": name[:200]}
    if error.__traceback__ is not None:
        stack = "".join(traceback.format_exception(kind, error, error.__traceback__))
        found["stack_trace"] = stack[-_MOST_STACK_CHARS:]
    return found
