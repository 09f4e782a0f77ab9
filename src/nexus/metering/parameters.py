"""Reads the parameters of a question; all faults are reported at once, each with its field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from nexus.contracts.calls import MAX_TAG_NAME_CHARS
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.metering.types import (
    COLUMNS,
    DISTINCT_METRICS,
    INTERVALS,
    METRICS,
    SORTS,
    TAG_PREFIX,
    CallsQuestion,
    Filter,
    Question,
)
from nexus.platform.web.pages import MAX_LIMIT, InvalidCursor, decode_cursor

EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
MAX_SORTED = Decimal(10) ** 19
MAX_DECIMALS = 100
MAX_VALUES = 200
MAX_VALUE_CHARS = 2_048
MAX_GROUP_BY = 6
DEFAULT_RANGE = timedelta(hours=24)
FORMATS = ("json", "csv", "parquet")

Parameters = Mapping[str, Sequence[str]]
"""Values of each parameter, in the order in which they were sent."""


@dataclass
class Reader:
    """Reads parameters one by one and remembers what is wrong with them."""

    parameters: Parameters
    now: datetime
    faults: list[FieldFault] = field(default_factory=list)
    columns: Mapping[str, str] = field(default_factory=lambda: COLUMNS)
    """The dimensions that can be filtered by."""
    known: set[str] = field(default_factory=lambda: {"organization"})
    """Whose figures are meant, where no header can say so (a download), was read before."""

    def fault(self, name: str, message: str) -> None:
        """Remember what is wrong with a parameter."""
        self.faults.append(FieldFault(name, message))

    def one(self, name: str) -> str | None:
        """Return the value of a parameter that may be sent once; empty is as not sent."""
        self.known.add(name)
        values = self.parameters.get(name, ())
        if len(values) > 1:
            self.fault(name, "send it once")
        return values[0] if values and values[0] != "" else None

    def choice(self, name: str, choices: Iterable[str]) -> str | None:
        """Return one of some values."""
        value = self.one(name)
        if value is not None and value not in choices:
            self.fault(name, f"give one of {', '.join(choices)}")
            return None
        return value

    def truth(self, name: str) -> bool:
        """Return whether a switch is on."""
        return self.choice(name, ("true", "false", "1", "0")) in {"true", "1"}

    def names(self, name: str, allowed: Iterable[str]) -> list[str]:
        """Return a list of names, sent with commas or several times."""
        self.known.add(name)
        found: list[str] = []
        for text in self.parameters.get(name, ()):
            for item in (part.strip() for part in text.split(",")):
                if not item or item in found:
                    continue
                if item not in allowed and not (allowed is COLUMNS and _is_tag(item)):
                    self.fault(name, f"{item[:50]!r} is not one of {', '.join(allowed)}")
                    continue
                found.append(item)
        return found

    def instant(self, name: str) -> datetime | None:
        """Return an instant that has a zone."""
        text = self.one(name)
        if text is None:
            return None
        # A plus sign that was not encoded arrives as a blank.
        try:
            at = msgspec.convert(text.replace(" ", "+") if "T" in text else text, datetime, strict=False)
            at = at.astimezone(UTC) if at.tzinfo is not None else at
        except (msgspec.ValidationError, OverflowError, ValueError):
            self.fault(name, "give an instant as RFC 3339, such as 2026-11-20T00:00:00Z")
            return None
        if at.tzinfo is None:
            self.fault(name, "give the zone too, such as Z or +01:00")
            return None
        if not EARLIEST <= at <= LATEST:
            self.fault(name, f"give an instant from {EARLIEST.year} to {LATEST.year}")
            return None
        return at

    def range(self) -> tuple[datetime, datetime]:
        """Return the half-open range; by default the last 24 hours."""
        start, end = self.instant("from"), self.instant("to")
        end = end if end is not None else self.now
        if start is None:
            start = max(end - DEFAULT_RANGE, EARLIEST)
        if start >= end:
            self.fault("to", "give an instant after `from`")
        return start, end

    def filters(self) -> tuple[Filter, ...]:
        """Return the filters: parameters named as the dimensions; several values of one mean any of them."""
        found = []
        for name in sorted(self.parameters):
            if name not in self.columns and not (name.startswith(TAG_PREFIX) and self.columns is COLUMNS):
                continue
            self.known.add(name)
            if name.startswith(TAG_PREFIX) and not _is_tag(name):
                self.fault(name[:80], f"a tag's name has 1 to {MAX_TAG_NAME_CHARS} characters")
                continue
            values = [self._value(name, text) for text in self.parameters[name][:MAX_VALUES]]
            if len(self.parameters[name]) > MAX_VALUES:
                self.fault(name, f"give {MAX_VALUES} values at most")
            found.append(Filter(name, tuple(dict.fromkeys(values))))
        return tuple(found)

    def _value(self, name: str, text: str) -> Any:
        if "\x00" in text or len(text) > MAX_VALUE_CHARS:
            self.fault(name, f"give at most {MAX_VALUE_CHARS} characters, without NUL")
        elif name == "key":
            try:
                return UUID(text) if text else None
            except ValueError:
                self.fault(name, "give the id of an access key, a UUID; nothing for calls without a key")
        elif name == "status_code":
            if text.isascii() and text.isdigit() and len(text) <= 3:
                return int(text)
            self.fault(name, "give a whole number from 0 to 999")
        else:
            return text
        return None

    def finish(self) -> None:
        """Raise `InvalidRequest` with every fault, unknown parameters included."""
        for name in self.parameters:
            if name not in self.known:
                self.fault(name[:80] or "(nameless)", "there is no such parameter here")
        if self.faults:
            text = "; ".join(f"{fault.field}: {fault.message}" for fault in self.faults)
            raise InvalidRequest(text[:2000], faults=self.faults)


def _is_tag(name: str) -> bool:
    tag = name.removeprefix(TAG_PREFIX)
    return name.startswith(TAG_PREFIX) and 0 < len(tag) <= MAX_TAG_NAME_CHARS and "\x00" not in tag


def read_question(parameters: Parameters, now: datetime, *, is_series: bool) -> tuple[Question, str | None]:
    """Read the parameters of a summary or a series; returns the question and the format that is asked for."""
    reader = Reader(parameters, now)
    start, end = reader.range()
    group_by = reader.names("group_by", COLUMNS)
    if len(group_by) > MAX_GROUP_BY:
        reader.fault("group_by", f"give {MAX_GROUP_BY} dimensions at most")
    interval = reader.choice("interval", tuple(INTERVALS)) if is_series else None
    if is_series and interval is None and not reader.parameters.get("interval"):
        reader.fault("interval", f"give one of {', '.join(INTERVALS)}")
    tz = (reader.one("tz") or "UTC") if is_series else "UTC"
    if not is_zone(tz):
        reader.fault("tz", "give the name of a time zone, such as Europe/Berlin")
    # Counting who was there at each of many points costs more than the rest, so a series does it on request only.
    usual = frozenset(METRICS) - DISTINCT_METRICS if is_series else frozenset(METRICS)
    metrics = frozenset(reader.names("metrics", METRICS)) or usual
    exact = reader.truth("exact")
    form = reader.choice("format", FORMATS)
    filters = reader.filters()
    reader.finish()
    question = Question(
        start=start,
        end=end,
        group_by=tuple(group_by),
        filters=filters,
        exact=exact,
        metrics=metrics,
        interval=interval,
        tz=tz,
    )
    return question, form


def read_calls_question(parameters: Parameters, now: datetime) -> tuple[CallsQuestion, str | None]:
    """Read the parameters of the list of calls; returns the question and the format that is asked for."""
    reader = Reader(parameters, now)
    start, end = reader.range()
    limit_text = reader.one("limit")
    limit = 50
    if limit_text is not None:
        if limit_text.isascii() and limit_text.isdigit() and 1 <= int(limit_text[:6]) <= MAX_LIMIT:
            limit = int(limit_text[:6])
        else:
            reader.fault("limit", f"give a whole number from 1 to {MAX_LIMIT}")
    cursor = reader.one("cursor")
    sort = reader.choice("sort", [sign + name for name in SORTS for sign in ("", "-")]) or "-timestamp"
    errors, unpriced = reader.truth("errors"), reader.truth("unpriced")
    refused = reader.truth("refused") if "refused" in parameters else None
    form = reader.choice("format", FORMATS)
    request_id = reader.one("request_id")
    if request_id is not None and ("\x00" in request_id or len(request_id) > MAX_VALUE_CHARS):
        reader.fault("request_id", f"give at most {MAX_VALUE_CHARS} characters, without NUL")
    filters = reader.filters()
    reader.finish()
    after, after_value = _place(cursor, is_by_time=sort.removeprefix("-") == "timestamp") if cursor else (None, None)
    question = CallsQuestion(
        start=start,
        end=end,
        filters=filters,
        only_errors=errors,
        refused=refused,
        only_unpriced=unpriced,
        request_id=request_id,
        after=after,
        after_value=after_value,
        sort=sort.removeprefix("-"),
        is_ascending=not sort.startswith("-"),
        limit=limit,
    )
    return question, form


def read_call_instant(parameters: Parameters, now: datetime) -> datetime | None:
    """Read the only parameter of one call: `at`, its timestamp."""
    reader = Reader(parameters, now)
    at = reader.instant("at")
    reader.finish()
    return at


def _place(cursor: str, *, is_by_time: bool) -> tuple[tuple[datetime, UUID], Decimal | None]:
    if is_by_time:
        return decode_cursor(cursor, tuple[datetime, UUID]), None
    at, last, value = decode_cursor(cursor, tuple[datetime, UUID, Decimal | None])
    # Nothing that is stored is as large as this, and the database takes no exponent of any size.
    if value is not None and not _is_storable(value):
        raise InvalidCursor(
            "take `cursor` from the last answer's next_cursor", faults=[FieldFault("cursor", "no such")]
        )
    return (at, last), value


def _is_storable(value: Decimal) -> bool:
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent > -MAX_DECIMALS and abs(value) < MAX_SORTED


def is_zone(name: str) -> bool:
    """Tell whether there is a time zone of this name."""
    if len(name) > 64:
        return False
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True
