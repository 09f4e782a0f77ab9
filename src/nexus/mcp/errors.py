"""What can be wrong with a question about MCP servers."""

from __future__ import annotations

from nexus.kit.errors import InvalidRequest, NotFound


class ToolCallNotFound(NotFound):
    """There is no such tool call here; an id that is no UUIDv7 is found with `at`, the call's timestamp."""

    code = "tool_call_not_found"


class TooManyTools(InvalidRequest):
    """The answer would hold too many groups: ask for one server, or a shorter range."""

    code = "too_many_tools"
