"""Rules that tell whether a model's name, as a caller wrote it, means a model of the catalog."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

Matcher = Callable[[str], bool]
_COMPACT_DATE = re.compile(r"(-)(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


class InvalidRule(ValueError):
    """A rule has a form that nobody knows."""


def compile_rule(rule: Mapping[str, Any]) -> Matcher:
    """Turn a rule (starts_with, ends_with, contains, equals, regex, or, and) into a test of a lower-cased name."""
    if len(rule) != 1:
        raise InvalidRule(f"a rule has one key, not {sorted(rule)}")
    ((kind, value),) = rule.items()
    if kind in {"or", "and"}:
        parts = [compile_rule(item) for item in value]
        if kind == "or":
            return lambda text: any(part(text) for part in parts)
        return lambda text: all(part(text) for part in parts)
    if not isinstance(value, str):
        raise InvalidRule(f"{kind} needs text")
    lower = value.lower()
    match kind:
        case "starts_with":
            return lambda text: text.startswith(lower)
        case "ends_with":
            return lambda text: text.endswith(lower)
        case "contains":
            return lambda text: lower in text
        case "equals":
            return lambda text: text == lower
        case "regex":
            try:
                pattern = re.compile(value)
            except re.error as error:
                raise InvalidRule(f"{value!r} is no regular expression") from error
            return lambda text: pattern.search(text) is not None
    raise InvalidRule(f"nobody knows the rule {kind!r}")


def with_dashed_dates(name: str) -> str:
    """Rewrite a compact date such as -20251211 as -2025-12-11, as some gateways send the former."""

    def replace(found: re.Match[str]) -> str:
        year, month, day = (int(found.group(index)) for index in (2, 3, 4))
        try:
            return "-" + date(year, month, day).isoformat()
        except ValueError:
            return found.group(0)

    return _COMPACT_DATE.sub(replace, name)
