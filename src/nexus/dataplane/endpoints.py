"""Finds the template of a path: from the catalog's endpoints, else by replacing what looks like an id."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

_ID_SEGMENT = re.compile(
    r"\d+"
    r"|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
    r"|(?=[^/]*\d)[0-9a-fA-F]{12,}"
    r"|(?=[^/]*\d)[A-Za-z]{2,16}[-_](?=[^/]*\d)[A-Za-z0-9]{12,}"
    r"|(?=[^/]*\d)(?=[^/]*[A-Z])(?=[^/]*[a-z])[A-Za-z0-9_-]{20,}"
)


class Endpoint(Protocol):
    """One endpoint of the catalog; an empty method stands for any."""

    @property
    def provider(self) -> str:
        """Slug of the provider."""
        ...

    @property
    def method(self) -> str:
        """HTTP method, or the empty string."""
        ...

    @property
    def path_template(self) -> str:
        """Path with placeholders in braces."""
        ...


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    placeholder: _Node | None = None
    templates: dict[str, str] = field(default_factory=dict)


class EndpointTable:
    """All endpoints, as a tree of path segments by provider. Never changed after it is built."""

    def __init__(self, rows: Iterable[Endpoint] = ()) -> None:
        self._providers: dict[str, _Node] = {}
        for row in rows:
            node = self._providers.setdefault(row.provider, _Node())
            for segment in _segments(row.path_template):
                if "{" in segment:
                    if node.placeholder is None:
                        node.placeholder = _Node()
                    node = node.placeholder
                else:
                    node = node.literals.setdefault(segment, _Node())
            node.templates.setdefault(row.method.upper(), row.path_template)

    def find(self, provider: str, method: str, path: str) -> str | None:
        """Return the catalog's template for a path, literal segments before placeholders; None where there is none."""
        root = self._providers.get(provider)
        if root is None:
            return None
        # Depth first with a stack; at most two branches a segment, and catalogs branch seldom.
        segments = _segments(path)
        stack = [(root, 0)]
        while stack:
            node, at = stack.pop()
            if at == len(segments):
                template = node.templates.get(method) or node.templates.get("")
                if template is not None:
                    return template
                if not method and node.templates:
                    return min(node.templates.values())
                continue
            if node.placeholder is not None:
                stack.append((node.placeholder, at + 1))
            literal = node.literals.get(segments[at])
            if literal is not None:
                stack.append((literal, at + 1))
        return None


def _segments(path: str) -> list[str]:
    return path.strip("/").split("/") if path.strip("/") else []


def strip_query(path: str) -> str:
    """Cut off query and fragment, which may hold secrets and never belong to an endpoint."""
    for mark in ("?", "#"):
        cut = path.find(mark)
        if cut >= 0:
            path = path[:cut]
    return path


def guess_template(path: str) -> str:
    """Replace segments that look like ids by `{id}`: numbers, UUIDs, long hexadecimal or mixed names with digits."""
    return "/".join("{id}" if _ID_SEGMENT.fullmatch(part) else part for part in path.split("/"))
