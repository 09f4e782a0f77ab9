"""Reads records from JSON: all at once when all are well-formed, else one by one with every fault of each.

The fast way is one call of a compiled decoder. What it refuses is taken apart into records, so that a bad record is
refused by its index, with the field and the remedy, and its neighbours are read all the same.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from nexus.contracts.calls import (
    EARLIEST_YEAR,
    LATEST_AHEAD_SECONDS,
    MAX_COST,
    MAX_HEADERS_CHARS,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    ApiCall,
)
from nexus.contracts.pricing import usage_faults
from nexus.dataplane.ingest import rows
from nexus.kit.errors import FieldFault, MalformedRequest, TooLarge
from nexus.kit.ids import uuid7_time

MAX_FAULTS = 20
"""Faults told of one record; a record with more is told the first of them."""
_MAX_ECHO_CHARS = 80
_EARLIEST = datetime(EARLIEST_YEAR, 1, 1, tzinfo=UTC)
_LATEST_AHEAD = timedelta(seconds=LATEST_AHEAD_SECONDS)
_SPACE = b" \t\r\n"
# Raw values are kept one by one; beyond this many commas the slower splitter, which counts as it goes, takes over.
_MAX_COMMAS = 500_000

_ONE = msgspec.json.Decoder(ApiCall)
_MANY = msgspec.json.Decoder(list[ApiCall])
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder()


class Unreadable(MalformedRequest):
    """The body is not JSON of the form announced."""

    code = "unreadable_body"


class TooManyRecords(TooLarge):
    """The request holds more records than one request may."""

    code = "too_many_records"


@dataclass(slots=True)
class Checked:
    """The records of a body that could be read, and the faults of those that could not."""

    calls: list[ApiCall] = field(default_factory=list)
    positions: Sequence[int] = ()
    """Index in the request of each of `calls`."""
    faults: list[tuple[int, str | None, list[FieldFault]]] = field(default_factory=list)
    count: int = 0
    """Records in the request."""


def check_at_once(body: bytes, *, is_lines: bool, max_records: int) -> Checked | None:
    """Read a body whose records are all well-formed; None when some are not and it takes `check_one_by_one`."""
    # Each well-formed record names its status, so a body with too many of them is counted before it is built.
    if body.count(b'"status_code"') > max_records:
        return None
    try:
        calls = _ONE.decode_lines(body) if is_lines else _MANY.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    if len(calls) > max_records:
        return None
    return Checked(calls, range(len(calls)), [], len(calls))


def check_one_by_one(body: bytes, *, is_lines: bool, max_records: int, max_record_bytes: int) -> Checked:
    """Read a body record by record. `Unreadable` only when it is not even a list of something.

    Takes tens of microseconds a record, so the caller runs it beside the event loop.
    """
    checked = Checked()
    positions: list[int] = []
    for index, raw in enumerate(_split_lines(body) if is_lines else _split_array(body)):
        if index >= max_records:
            raise TooManyRecords(f"send at most {max_records} records in one request")
        checked.count = index + 1
        if len(raw) > max_record_bytes:
            message = f"the record has {len(raw)} bytes: send at most {max_record_bytes}"
            error = ValueError(message)
            record_id, faults = faults_of_raw(raw, error)
            named = [fault for fault in faults if fault.field]
            checked.faults.append((index, record_id, [FieldFault("", message), *named]))
            continue
        try:
            call = _ONE.decode(raw)
        except (
            msgspec.MsgspecError,
            UnicodeDecodeError,
            RecursionError,
            ValueError,
        ) as error:
            checked.faults.append((index, *faults_of_raw(raw, error)))
        else:
            checked.calls.append(call)
            positions.append(index)
    checked.positions = positions
    return checked


def _split_lines(body: bytes) -> Iterator[bytes]:
    start, end = 0, len(body)
    while start < end:
        stop = body.find(b"\n", start)
        if stop < 0:
            stop = end
        line = body[start:stop].strip(_SPACE)
        if line:
            yield line
        start = stop + 1


def _split_array(body: bytes) -> Iterator[bytes]:
    stripped = body.strip(_SPACE)
    if stripped.startswith(b"{"):
        # One record alone is a batch of one. What follows it makes it no JSON, which its decoder says.
        yield stripped
        return
    if body.count(b",") <= _MAX_COMMAS:
        try:
            raws = _RAWS.decode(stripped)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
        else:
            for raw in raws:
                yield bytes(raw)
            return
    yield from _split_leniently(stripped)


# Strings are passed over whole; an unfinished one matches as its opening quote alone.
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*+"|["\[\]{},]', re.DOTALL)


def _split_leniently(body: bytes) -> Iterator[bytes]:
    """Cut an array at its own commas by counting brackets, whatever else is wrong inside its elements."""
    if not body.startswith(b"["):
        raise Unreadable("send a JSON array of records, or one record a line as application/x-ndjson")
    depth, start, is_closed = 1, 1, False
    for match in _STRUCTURE.finditer(body, 1):
        mark = body[match.start()]
        if is_closed:
            break
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
            if depth == 0:
                if mark != 0x5D:
                    raise Unreadable(f"the brackets do not match at byte {match.start()}")
                piece = body[start : match.start()].strip(_SPACE)
                if piece or start > 1:
                    yield piece
                is_closed = True
                start = match.end()
        elif mark == 0x2C:
            if depth == 1:
                yield body[start : match.start()].strip(_SPACE)
                start = match.end()
        elif match.end() - match.start() == 1:
            raise Unreadable(f"a string that begins at byte {match.start()} does not end")
    if not is_closed:
        raise Unreadable("the array does not end: the body was cut off, or brackets do not match")
    if body[start:].strip(_SPACE):
        raise Unreadable(f"something follows the array at byte {start}")


class _Unusable:
    """Stands in a leniently parsed record for a value that JSON or PostgreSQL cannot hold."""

    def __init__(self, message: str) -> None:
        self.message = message


def _lenient_int(text: str) -> object:
    return int(text) if len(text) <= 400 else _Unusable(f"a number of {len(text)} digits is too large")


def _lenient_float(text: str) -> object:
    value = float(text)
    return value if value - value == 0 else _Unusable("the number is too large")


def _lenient_constant(text: str) -> object:
    return _Unusable(f"{text} is no JSON: leave the field out where there is no value")


_LENIENT = json.JSONDecoder(parse_int=_lenient_int, parse_float=_lenient_float, parse_constant=_lenient_constant)


def faults_of_raw(raw: bytes, error: Exception) -> tuple[str | None, list[FieldFault]]:
    """Return the id of a record that its decoder refused with `error`, and every fault of it that can be named."""
    try:
        record: object = _ANY.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        try:
            record = _LENIENT.decode(raw.decode())
        except UnicodeDecodeError as problem:
            return None, [FieldFault("", f"is not UTF-8 at byte {problem.start} of the record")]
        except RecursionError:
            return None, [
                FieldFault(
                    "",
                    f"is nested too deeply: metadata may be nested {MAX_METADATA_DEPTH} deep",
                )
            ]
        except ValueError as problem:
            where = f" at character {problem.pos} of the record" if isinstance(problem, json.JSONDecodeError) else ""
            return None, [FieldFault("", f"is no JSON{where}")]
    if not isinstance(record, dict):
        return None, [FieldFault("", "a record is a JSON object")]
    name = record.get("id")
    record_id = _clip(name) if isinstance(name, str) and name.isprintable() else None
    faults = list(_faults_of_fields(record))
    named = {fault.field.partition(".")[0] for fault in faults}
    sound = {
        key: value for key, value in record.items() if isinstance(key, str) and key in _FIELDS and key not in named
    }
    # What is sound in itself is checked for sense as well, so that every fault is told at once.
    try:
        call = msgspec.convert({"provider": "x", "status_code": 0} | sound, ApiCall)
    except (msgspec.ValidationError, RecursionError, ValueError):
        pass
    else:
        sense = faults_of_call(call, received_at=datetime.now(UTC), has_idempotency_key=True)
        faults += [fault for fault in sense if fault.field.partition(".")[0] not in named]
    if not faults:
        faults = [FieldFault("", _clip(_plain(str(error))))]
    return record_id, faults[:MAX_FAULTS]


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    type: Any
    description: str
    struct: type[msgspec.Struct] | None
    is_mapping: bool


def _describe(struct: type[msgspec.Struct]) -> dict[str, _Field]:
    hints = get_type_hints(struct, include_extras=True)
    found: dict[str, _Field] = {}
    for item in msgspec.structs.fields(struct):
        hint = hints[item.encode_name]
        description = ""
        if get_origin(hint) is Annotated:
            description = next(
                (meta.description or "" for meta in get_args(hint)[1:] if isinstance(meta, msgspec.Meta)),
                "",
            )
        leaves = list(_leaves(hint))
        nested = next(
            (leaf for leaf in leaves if isinstance(leaf, type) and issubclass(leaf, msgspec.Struct)),
            None,
        )
        is_mapping = any(get_origin(leaf) is dict for leaf in leaves) and item.encode_name != "metadata"
        found[item.encode_name] = _Field(item.encode_name, hint, description, nested, is_mapping)
    return found


def _leaves(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        yield from _leaves(get_args(hint)[0])
    elif get_origin(hint) is not None and get_origin(hint) is not dict and type(None) in get_args(hint):
        for part in get_args(hint):
            yield from _leaves(part)
    else:
        yield hint


_FIELDS = _describe(ApiCall)
_NESTED = {item.struct: _describe(item.struct) for item in _FIELDS.values() if item.struct is not None}
_REQUIRED = tuple(item.encode_name for item in msgspec.structs.fields(ApiCall) if item.required)


def _faults_of_fields(record: Mapping[Any, object]) -> Iterator[FieldFault]:
    kind = record.get("type", "api_call")
    if kind != "api_call":
        yield FieldFault(
            "type",
            f"records of the type {_clip(repr(kind))} are not taken here: send `api_call`",
        )
    for name in _REQUIRED:
        if name not in record:
            yield FieldFault(name, f"is required. {_FIELDS[name].description}")
    for name, value in record.items():
        known = _FIELDS.get(name)
        if known is None:
            yield FieldFault(_clip(str(name)), _unknown(str(name), _FIELDS))
        elif name != "type":
            yield from _faults_of_value(known, value)


def _faults_of_value(known: _Field, value: object) -> Iterator[FieldFault]:
    if isinstance(value, Mapping) and known.struct is not None:
        nested = _NESTED[known.struct]
        for name, item in value.items():
            inner = nested.get(name)
            if inner is None:
                yield FieldFault(f"{known.name}.{_clip(str(name))}", _unknown(str(name), nested))
            else:
                for fault in _faults_of_value(inner, item):
                    yield FieldFault(f"{known.name}.{fault.field}", fault.message)
        return
    unusable = _find_unusable(value)
    if unusable is not None:
        yield FieldFault(known.name, unusable)
        return
    is_named = False
    if isinstance(value, Mapping) and known.is_mapping:
        for name, item in value.items():
            try:
                msgspec.convert({name: item}, known.type)
            except (msgspec.ValidationError, ValueError, RecursionError) as problem:
                is_named = True
                yield FieldFault(f"{known.name}.{_clip(str(name))}", _clip(_plain(str(problem))))
    if is_named:
        return
    try:
        msgspec.convert(value, known.type)
    except (
        msgspec.ValidationError,
        ValueError,
        RecursionError,
        OverflowError,
    ) as problem:
        yield FieldFault(known.name, f"{_plain(str(problem))}. {known.description}".strip())


def _find_unusable(value: object, depth: int = 0) -> str | None:
    if isinstance(value, _Unusable):
        return value.message
    if isinstance(value, str):
        return _text_fault(value)
    if depth > 64:
        return f"is nested too deeply: at most {MAX_METADATA_DEPTH} levels"
    if isinstance(value, Mapping):
        for key, item in value.items():
            message = _find_unusable(key, depth + 1) or _find_unusable(item, depth + 1)
            if message:
                return message
    elif isinstance(value, list):
        for item in value:
            message = _find_unusable(item, depth + 1)
            if message:
                return message
    return None


def _text_fault(value: str) -> str | None:
    if "\x00" in value:
        return "holds the character NUL, which cannot be stored: remove it"
    try:
        value.encode()
    except UnicodeEncodeError as problem:
        return f"holds half a surrogate pair at character {problem.start}: send whole characters"
    return None


def _unknown(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name[:_MAX_ECHO_CHARS], known, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"is no field of this record: put what is your own under `metadata`{hint}"


def _plain(message: str) -> str:
    """Turn a decoder's message about a value into ours: without the path, which the field says already."""
    message = message.partition(" - at `")[0].replace("Expected ", "expected ", 1)
    return message[:1].lower() + message[1:]


def _clip(text: str) -> str:
    text = text.encode("utf-8", "replace").decode().replace("\x00", "")
    return text if len(text) <= _MAX_ECHO_CHARS else f"{text[:_MAX_ECHO_CHARS]}…"


def metadata_fault(metadata: Mapping[str, Any]) -> str | None:
    """Return what is wrong with metadata: too deep, too large, or not storable; None when nothing is."""
    if _depth(metadata, MAX_METADATA_DEPTH) > MAX_METADATA_DEPTH:
        return f"is nested more than {MAX_METADATA_DEPTH} levels deep: flatten it"
    size = len(msgspec.json.encode(metadata))
    if size > MAX_METADATA_BYTES:
        return f"has {size} bytes: keep it within {MAX_METADATA_BYTES}"
    return None


def are_too_large(headers: Mapping[str, str]) -> bool:
    """Tell whether headers hold more than a record may carry of them."""
    return sum(map(len, headers)) + sum(map(len, headers.values())) > MAX_HEADERS_CHARS


def _depth(value: object, limit: int) -> int:
    if limit < 0:
        return 1
    if isinstance(value, Mapping):
        return 1 + max(
            (_depth(item, limit - 1) for item in value.values() if isinstance(item, (dict, list))),
            default=0,
        )
    if isinstance(value, (list, tuple)):
        return 1 + max(
            (_depth(item, limit - 1) for item in value if isinstance(item, (dict, list))),
            default=0,
        )
    return 0


def faults_of_call(call: ApiCall, *, received_at: datetime, has_idempotency_key: bool) -> list[FieldFault]:
    """Return every fault of a record whose fields are well-formed: what makes no sense, or cannot be stored."""
    faults: list[FieldFault] = []

    def add(name: str, message: str) -> None:
        faults.append(FieldFault(name, message))

    for name in call.__struct_fields__:
        value = getattr(call, name)
        if isinstance(value, (str, dict)):
            message = _find_unusable(value)
            if message:
                add(name, message)
    if not re.fullmatch(
        r"[a-z0-9][a-z0-9.-]{0,63}",
        re.sub(r"[\s_]+", "-", call.provider.strip().lower()),
    ):
        add(
            "provider",
            "is no slug: use letters, digits, dots and hyphens, such as `openai`",
        )
    latest = received_at + _LATEST_AHEAD
    if call.id is None:
        if not has_idempotency_key:
            add(
                "id",
                "is missing: give each record an id (a UUIDv7 is best), or the request an `Idempotency-Key` header",
            )
    elif (at := _time_in(call.id)) is not None and at > latest:
        add(
            "id",
            f"is a UUIDv7 of {at.isoformat()}, more than a day from now: check the clock that makes the ids",
        )
    if call.timestamp is not None:
        if call.timestamp < _EARLIEST:
            add(
                "timestamp",
                f"is before {EARLIEST_YEAR}: check the clock, and that the unit is right",
            )
        elif call.timestamp > latest:
            add(
                "timestamp",
                "is more than a day from now: check the clock, and the zone",
            )
    if call.cost is not None:
        message = _cost_fault(call.cost)
        if message:
            add("cost", message)
    elif call.price_source == "given":
        add(
            "cost",
            "is missing, while `price_source` says it is given: send both or neither",
        )
    if call.key:
        try:
            UUID(call.key)
        except ValueError:
            add("key", "is no id of an access key: send the id, never the key's text")
    if call.ip_address:
        try:
            rows.inet(call.ip_address)
        except ValueError:
            add("ip_address", "is no IPv4 or IPv6 address")
    if call.metadata:
        message = metadata_fault(call.metadata) if not any(fault.field == "metadata" for fault in faults) else None
        if message:
            add("metadata", message)
    for name, headers in (("request_headers", call.request_headers), ("response_headers", call.response_headers)):
        if headers and are_too_large(headers):
            add(name, f"hold more than {MAX_HEADERS_CHARS} characters: leave out what nobody needs")
    if call.tokens is not None:
        usage = {name: count for name in call.tokens.__struct_fields__ if (count := getattr(call.tokens, name))}
        faults += usage_faults(usage)
    return faults


def _time_in(text: str) -> datetime | None:
    try:
        return uuid7_time(UUID(text)) if len(text) in {32, 36} else None
    except ValueError:
        return None


def _cost_fault(cost: Decimal) -> str | None:
    if not cost.is_finite():
        return "is no finite number: leave it out to have it computed"
    if cost < 0:
        return "is negative: send what the call cost, 0 or more"
    if cost > MAX_COST:
        return f"is above {MAX_COST}: check the unit, it is whole units of the currency"
    return None
