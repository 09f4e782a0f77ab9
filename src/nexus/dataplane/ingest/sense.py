"""What makes no sense in a well-formed record of any type, or cannot be stored: texts, headers, free JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from nexus.contracts.calls import MAX_HEADERS_CHARS, MAX_METADATA_BYTES, MAX_METADATA_DEPTH
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.identity import identity_faults
from nexus.kit.errors import FieldFault


class Unusable:
    """Stands in a leniently parsed record for a value that JSON or PostgreSQL cannot hold."""

    def __init__(self, message: str) -> None:
        self.message = message


def find_unusable(value: object, depth: int = 0) -> str | None:
    """Return why a value, or one inside it, cannot be stored; None when it can."""
    if isinstance(value, Unusable):
        return value.message
    if isinstance(value, str):
        return text_fault(value)
    if depth > 64:
        return f"is nested too deeply: at most {MAX_METADATA_DEPTH} levels"
    if isinstance(value, Mapping):
        for key, item in value.items():
            message = find_unusable(key, depth + 1) or find_unusable(item, depth + 1)
            if message:
                return message
    elif isinstance(value, list):
        for item in value:
            message = find_unusable(item, depth + 1)
            if message:
                return message
    return None


def text_fault(value: str) -> str | None:
    """Return why a text cannot be stored; None when it can."""
    if "\x00" in value:
        return "holds the character NUL, which cannot be stored: remove it"
    try:
        value.encode()
    except UnicodeEncodeError as problem:
        return f"holds half a surrogate pair at character {problem.start}: send whole characters"
    return None


def metadata_fault(metadata: Mapping[str, Any]) -> str | None:
    """Return what is wrong with metadata: too deep, too large, or not storable; None when nothing is."""
    return free_json_fault(metadata, max_bytes=MAX_METADATA_BYTES, max_depth=MAX_METADATA_DEPTH)


def free_json_fault(value: object, *, max_bytes: int, max_depth: int) -> str | None:
    """Return what is wrong with a value whose form is free; None when nothing is."""
    if _depth(value, max_depth) > max_depth:
        return f"is nested more than {max_depth} levels deep: flatten it"
    size = len(rows.compact(value))
    if size > max_bytes:
        return f"has {size} bytes: keep it within {max_bytes}"
    return None


def are_too_large(headers: Mapping[str, str]) -> bool:
    """Tell whether headers hold more than a record may carry of them."""
    return sum(map(len, headers)) + sum(map(len, headers.values())) > MAX_HEADERS_CHARS


def shared_faults(record: Any, *, received_at: datetime, has_idempotency_key: bool) -> list[FieldFault]:
    """Return what is wrong with the fields that several types of records have: texts, times, key, address, headers."""
    faults: list[FieldFault] = []
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, (str, dict, list)) and (message := find_unusable(value)):
            faults.append(FieldFault(name, message))
    unusable = {fault.field for fault in faults}
    faults += identity_faults(record, received_at=received_at, has_idempotency_key=has_idempotency_key)
    if key := getattr(record, "key", None):
        try:
            UUID(key)
        except ValueError:
            faults.append(FieldFault("key", "is no id of an access key: send the id, never the key's text"))
    if address := getattr(record, "ip_address", None):
        try:
            rows.inet(address)
        except ValueError:
            faults.append(FieldFault("ip_address", "is no IPv4 or IPv6 address"))
    metadata = getattr(record, "metadata", None)
    if metadata and "metadata" not in unusable and (message := metadata_fault(metadata)):
        faults.append(FieldFault("metadata", message))
    for name in ("request_headers", "response_headers"):
        headers = getattr(record, name, None)
        if headers and are_too_large(headers):
            faults.append(
                FieldFault(name, f"hold more than {MAX_HEADERS_CHARS} characters: leave out what nobody needs")
            )
    return faults


def _depth(value: object, limit: int) -> int:
    """Return how many levels of arrays and objects a decoded value has; of more than `limit`, one more than it."""
    level: list[Any] = [value] if isinstance(value, (Mapping, list)) else []
    depth = 0
    while level and depth <= limit:
        depth += 1
        level = [
            item
            for holder in level
            for item in (holder if type(holder) is list else holder.values())
            if type(item) is list or type(item) is dict
        ]
    return depth
