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
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from nexus.contracts.calls import MAX_METADATA_DEPTH
from nexus.dataplane.ingest.record_type import RecordType
from nexus.dataplane.ingest.record_types import API_CALL, RECORD_TYPES
from nexus.dataplane.ingest.sense import Unusable, find_unusable
from nexus.kit.errors import FieldFault, MalformedRequest, TooLarge

MAX_FAULTS = 20
"""Faults told of one record; a record with more is told the first of them."""
_MAX_ECHO_CHARS = 80
_SPACE = b" \t\r\n"
# Raw values are kept one by one; beyond this many commas the slower splitter, which counts as it goes, takes over.
_MAX_COMMAS = 500_000

_ONE_CALL = msgspec.json.Decoder(API_CALL.struct)
_MANY_CALLS = msgspec.json.Decoder(list[API_CALL.struct])  # type: ignore[name-defined]
# Of several types, told apart by `type`.
_EACH = {name: msgspec.json.Decoder(kind.struct) for name, kind in RECORD_TYPES.items()}
_ANY_TYPE: Any = Union[tuple(kind.struct for kind in RECORD_TYPES.values())]  # noqa: UP007 (made at run time)
_ONE_RECORD = msgspec.json.Decoder(_ANY_TYPE)
_MANY_RECORDS = msgspec.json.Decoder(list[_ANY_TYPE])
_BY_STRUCT = {kind.struct: kind for kind in RECORD_TYPES.values()}
# What each well-formed record of a type says: an API call its status, the others their type.
_SIGNS = (b'"status_code"', *(b'"%b"' % name.encode() for name in RECORD_TYPES if name != API_CALL.name))
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder()


class Unreadable(MalformedRequest):
    """The body is not JSON of the form announced."""

    code = "unreadable_body"


class TooManyRecords(TooLarge):
    """The request holds more records than one request may."""

    code = "too_many_records"


@dataclass(slots=True)
class Part:
    """The records of one type in a request."""

    record_type: RecordType
    records: Sequence[Any]
    positions: Sequence[int]
    """Index in the request of each of `records`."""


@dataclass(slots=True)
class Checked:
    """The records of a body that could be read, and the faults of those that could not."""

    parts: list[Part] = field(default_factory=list)
    faults: list[tuple[int, str | None, list[FieldFault]]] = field(default_factory=list)
    count: int = 0
    """Records in the request."""


def sort_out(records: Sequence[Any], positions: Sequence[int]) -> list[Part]:
    """Return records by their types, the types in a fixed order, the records of each in the order they came in."""
    if all(type(record) is API_CALL.struct for record in records):
        return [Part(API_CALL, records, positions)] if records else []
    found: dict[type, tuple[list[Any], list[int]]] = {struct: ([], []) for struct in _BY_STRUCT}
    for record, position in zip(records, positions, strict=True):
        mine, places = found[type(record)]
        mine.append(record)
        places.append(position)
    return [Part(_BY_STRUCT[struct], mine, places) for struct, (mine, places) in found.items() if mine]


def check_at_once(body: bytes, *, is_lines: bool, max_records: int) -> Checked | None:
    """Read a body whose records are all well-formed; None when some are not and it takes `check_one_by_one`."""
    # Counted before it is built: a body with too many records would take much memory.
    counts = [body.count(sign) for sign in _SIGNS]
    if max(counts) > max_records:
        return None
    # Bodies of calls alone are most of what comes, and need not say their type.
    is_mixed = any(counts[1:])
    for one, many in ((_ONE_CALL, _MANY_CALLS), (_ONE_RECORD, _MANY_RECORDS))[: 2 if is_mixed else 1]:
        try:
            records = one.decode_lines(body) if is_lines else many.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            continue
        if len(records) > max_records:
            return None
        return Checked(sort_out(records, range(len(records))), [], len(records))
    return None


def check_one_by_one(body: bytes, *, is_lines: bool, max_records: int, max_record_bytes: int) -> Checked:
    """Read a body record by record. `Unreadable` only when it is not even a list of something.

    Takes tens of microseconds a record, so the caller runs it beside the event loop.
    """
    checked = Checked()
    records: list[Any] = []
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
            record = _decode_one(raw)
        except (
            msgspec.MsgspecError,
            UnicodeDecodeError,
            RecursionError,
            ValueError,
        ) as error:
            checked.faults.append((index, *faults_of_raw(raw, error)))
        else:
            records.append(record)
            positions.append(index)
    checked.parts = sort_out(records, positions)
    return checked


class _Typed(msgspec.Struct):
    type: str = API_CALL.name


_TYPED = msgspec.json.Decoder(_Typed)


def _decode_one(raw: bytes) -> Any:
    try:
        return _ONE_CALL.decode(raw)
    except msgspec.ValidationError:
        decoder = _EACH.get(_TYPED.decode(raw).type, _ONE_CALL)
        if decoder is _ONE_CALL:
            raise
        return decoder.decode(raw)


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


def _lenient_int(text: str) -> object:
    return int(text) if len(text) <= 400 else Unusable(f"a number of {len(text)} digits is too large")


def _lenient_float(text: str) -> object:
    value = float(text)
    return value if value - value == 0 else Unusable("the number is too large")


def _lenient_constant(text: str) -> object:
    return Unusable(f"{text} is no JSON: leave the field out where there is no value")


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
    type_name = record.pop("type", API_CALL.name)
    record_type = RECORD_TYPES.get(type_name) if isinstance(type_name, str) else None
    if record_type is None:
        known = ", ".join(f"`{name}`" for name in RECORD_TYPES)
        return record_id, [
            FieldFault("type", f"records of the type {_clip(repr(type_name))} are not taken here: send one of {known}")
        ]
    form = _form_of(record_type)
    faults = list(_faults_of_fields(record, form))
    named = {fault.field.partition(".")[0] for fault in faults}
    sound = {
        key: value for key, value in record.items() if isinstance(key, str) and key in form.fields and key not in named
    }
    # What is sound in itself is checked for sense as well, so that every fault is told at once.
    try:
        whole = msgspec.convert({**record_type.least, **sound}, record_type.struct)
    except (msgspec.ValidationError, RecursionError, ValueError):
        pass
    else:
        sense = record_type.faults_of(whole, received_at=datetime.now(UTC), has_idempotency_key=True)
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
        # Free JSON is looked at as a whole, a mapping of one type of values value by value.
        is_mapping = any(get_origin(leaf) is dict and get_args(leaf)[1] is not Any for leaf in leaves)
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


@dataclass(frozen=True, slots=True)
class _Form:
    """The fields of one type of record."""

    fields: Mapping[str, _Field]
    nested: Mapping[type[msgspec.Struct], Mapping[str, _Field]]
    required: tuple[str, ...]


@cache
def _form_of(record_type: RecordType) -> _Form:
    fields = _describe(record_type.struct)
    nested = {item.struct: _describe(item.struct) for item in fields.values() if item.struct is not None}
    required = tuple(item.encode_name for item in msgspec.structs.fields(record_type.struct) if item.required)
    return _Form(fields, nested, required)


def _faults_of_fields(record: Mapping[Any, object], form: _Form) -> Iterator[FieldFault]:
    for name in form.required:
        if name not in record:
            yield FieldFault(name, f"is required. {form.fields[name].description}")
    for name, value in record.items():
        known = form.fields.get(name)
        if known is None:
            yield FieldFault(_clip(str(name)), _unknown(str(name), form.fields))
        else:
            yield from _faults_of_value(known, value, form)


def _faults_of_value(known: _Field, value: object, form: _Form) -> Iterator[FieldFault]:
    if isinstance(value, Mapping) and known.struct is not None:
        nested = form.nested[known.struct]
        for name, item in value.items():
            inner = nested.get(name)
            if inner is None:
                yield FieldFault(f"{known.name}.{_clip(str(name))}", _unknown(str(name), nested))
            else:
                for fault in _faults_of_value(inner, item, form):
                    yield FieldFault(f"{known.name}.{fault.field}", fault.message)
        return
    unusable = find_unusable(value)
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
