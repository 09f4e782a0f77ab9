"""Reads the parameters of questions about metrics; all faults are reported at once, each with its field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from nexus.contracts.metric_records import KINDS, MAX_LABEL_NAME_CHARS, MAX_METRIC_NAME_CHARS
from nexus.metering.parameters import Parameters, Reader
from nexus.metrics.types import (
    AGGREGATIONS,
    LABEL_PREFIX,
    OWN_LABELS,
    PERIODS,
    MetricQuestion,
    MetricsQuestion,
    Period,
    SeriesQuestion,
    begin,
)
from nexus.platform.web.pages import MAX_LIMIT, decode_cursor

MAX_POINTS = 1_500
"""Points of one group."""
MAX_GROUP_BY = 4
MAX_NAMES = 100
DEFAULT_WITHIN = timedelta(hours=1)
_LONGEST_WITHIN_SECONDS = 86_400
_ALL_AGGREGATIONS = tuple(dict.fromkeys(name for names in AGGREGATIONS.values() for name in names))


def _reader(parameters: Parameters, now: datetime) -> Reader:
    columns = {name: name for name in parameters if _is_label(name)}
    return Reader(parameters, now, columns=columns)


def _is_label(name: str) -> bool:
    label = name.removeprefix(LABEL_PREFIX)
    return name in OWN_LABELS or (
        name.startswith(LABEL_PREFIX) and 0 < len(label) <= MAX_LABEL_NAME_CHARS and "\x00" not in label
    )


def _limit(reader: Reader) -> int:
    text = reader.one("limit")
    if text is None:
        return 50
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MAX_LIMIT:
        return int(text[:6])
    reader.fault("limit", f"give a whole number from 1 to {MAX_LIMIT}")
    return 50


def _text(reader: Reader, name: str) -> str | None:
    text = reader.one(name)
    if text is not None and ("\x00" in text or len(text) > MAX_METRIC_NAME_CHARS):
        reader.fault(name, f"give at most {MAX_METRIC_NAME_CHARS} characters, without NUL")
        return None
    return text


def read_metrics(parameters: Parameters, now: datetime) -> MetricsQuestion:
    """Read the parameters of the list of metrics."""
    reader = Reader(parameters, now, columns={})
    words, kind, limit, cursor = _text(reader, "q"), reader.choice("kind", KINDS), _limit(reader), reader.one("cursor")
    reader.finish()
    after = decode_cursor(cursor, tuple[str, str, str]) if cursor else None
    return MetricsQuestion(words=words, kind=kind, after=after, limit=limit)


def _metric(reader: Reader) -> MetricQuestion:
    name, kind = _text(reader, "name"), reader.choice("kind", KINDS)
    # A metric may have no unit at all: an empty one is an answer, and not the same as none given.
    unit = "" if list(reader.parameters.get("unit", ())) == [""] else _text(reader, "unit")
    reader.known.add("unit")
    if name is None and not reader.faults:
        reader.fault("name", "say which metric: one of those at /api/metrics")
    return MetricQuestion(name=name or "", kind=kind, unit=unit)


def _filters(reader: Reader) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((item.dimension, tuple(text for text in item.values if text is not None)) for item in reader.filters())


def read_labels(
    parameters: Parameters, now: datetime
) -> tuple[MetricQuestion, tuple[tuple[str, tuple[str, ...]], ...]]:
    """Read the parameters of a metric's labels."""
    reader = _reader(parameters, now)
    metric, filters = _metric(reader), _filters(reader)
    reader.finish()
    return metric, filters


def _names(reader: Reader, name: str) -> Iterable[str]:
    reader.known.add(name)
    for text in reader.parameters.get(name, ()):
        yield from (part for part in (one.strip() for one in text.split(",")) if part)


def read_series(parameters: Parameters, now: datetime) -> SeriesQuestion:
    """Read the parameters of a metric over time. The range is widened to whole periods."""
    reader = _reader(parameters, now)
    metric = _metric(reader)
    start, end = reader.range()
    chosen = reader.choice("period", tuple(PERIODS))
    period: Period = next((one for one in PERIODS if one == chosen), "1m")
    group_by = tuple(dict.fromkeys(_names(reader, "group_by")))
    for name in group_by:
        if not _is_label(name):
            reader.fault("group_by", f"{name[:50]!r} is none of {', '.join(OWN_LABELS)} and `{LABEL_PREFIX}…`")
    if len(group_by) > MAX_GROUP_BY:
        reader.fault("group_by", f"give {MAX_GROUP_BY} labels at most")
    aggregations = frozenset(reader.names("aggregations", _ALL_AGGREGATIONS))
    length = PERIODS[period]
    start = begin(start, length)
    if begin(end, length) != end:
        end = begin(end, length) + length
    if (end - start) / length > MAX_POINTS:
        reader.fault(
            "period",
            f"gives {int((end - start) / length)} points in this range: take a longer one, {MAX_POINTS} at most",
        )
    filters = _filters(reader)
    reader.finish()
    return SeriesQuestion(
        metric=metric,
        start=start,
        end=end,
        period=period,
        group_by=group_by,
        filters=filters,
        aggregations=aggregations,
    )


@dataclass(frozen=True)
class ExpositionQuestion:
    """Which metrics are exposed."""

    names: tuple[str, ...]
    """Empty: all."""
    since: datetime
    """Series without a point since are left out."""


def read_exposition(parameters: Parameters, now: datetime) -> ExpositionQuestion:
    """Read the parameters of an exposition."""
    reader = Reader(parameters, now, columns={})
    reader.known.add("name")
    names = tuple(dict.fromkeys(name for name in parameters.get("name", ()) if name))
    if len(names) > MAX_NAMES or any("\x00" in name or len(name) > MAX_METRIC_NAME_CHARS for name in names):
        reader.fault(
            "name", f"give at most {MAX_NAMES} names of at most {MAX_METRIC_NAME_CHARS} characters, without NUL"
        )
    within, text = DEFAULT_WITHIN, reader.one("within_seconds")
    if text is not None:
        if text.isascii() and text.isdigit() and 1 <= int(text[:8]) <= _LONGEST_WITHIN_SECONDS:
            within = timedelta(seconds=int(text[:8]))
        else:
            reader.fault("within_seconds", f"give a whole number from 1 to {_LONGEST_WITHIN_SECONDS}")
    reader.finish()
    return ExpositionQuestion(names, now - within)
