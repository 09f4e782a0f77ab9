"""Decides where a range's figures come from: the coarsest rollups that fit, finer ones at its edges, raw rows last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from nexus.kit.errors import FieldFault
from nexus.metering.errors import RangeNoLongerKept, RangeTooLong, TooManyPoints
from nexus.metering.types import (
    DIMENSION_SETS,
    INTERVALS,
    LEVEL_SECONDS,
    LEVELS,
    TAG_PREFIX,
    Piece,
    Question,
    RangeFacts,
    Source,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_RAW = timedelta(hours=24)
"""The longest range that is answered from raw rows."""
MAX_POINTS = 2_000


def covering_set(dimensions: frozenset[str], sets: Mapping[int, frozenset[str]] = DIMENSION_SETS) -> int | None:
    """Return the smallest dimension set that keeps all of these apart; None when only the raw rows do."""
    tags = {name for name in dimensions if name.startswith(TAG_PREFIX)}
    if len(tags) > 1:
        return None
    wanted = (dimensions - tags) | ({"tag"} if tags else set())
    for number, kept in sets.items():
        if wanted <= kept:
            return number
    return None


def point_starts(question: Question, calendar: Sequence[datetime]) -> list[datetime]:
    """Return where each point of a series begins: the first at or before the range's start.

    Days, weeks and months begin in the asked zone; hours on its clock hour at the range's start.
    """
    assert question.interval is not None
    step = INTERVALS[question.interval]
    if isinstance(step, str):
        starts = sorted(set(calendar))
        first = max((at for at in starts if at <= question.start), default=question.start)
        points = [at for at in starts if first <= at < question.end]
        if len(points) > MAX_POINTS:
            raise _too_many(len(points))
        return points
    offset = question.start.astimezone(ZoneInfo(question.tz)).utcoffset() or timedelta(0)
    first = question.start - (question.start - EPOCH + offset) % step
    count = -((question.end - first) // -step)
    if count > MAX_POINTS:
        raise _too_many(count)
    return [first + step * index for index in range(count)]


def _too_many(count: int) -> TooManyPoints:
    message = f"the range has {count} of these intervals: choose a longer one or a shorter range, {MAX_POINTS} at most"
    return TooManyPoints(message, faults=[FieldFault("interval", message)])


def cover(question: Question, facts: RangeFacts, inner: Sequence[datetime] = ()) -> list[Piece]:
    """Cut a range into pieces, each answered from one source, so that no bucket crosses an `inner` boundary."""
    levels = [level for level in LEVELS if _nests(level, question, facts, inner)]
    pieces = list(_cover(question.start, question.end, levels, facts))
    for piece in pieces:
        if piece.source == "raw":
            _check_raw(piece, facts.whole_from.get("raw"))
    return pieces


def raw_only(question: Question, facts: RangeFacts, *, why: str, field: str) -> list[Piece]:
    """Plan an answer from raw rows alone; `RangeTooLong` beyond a day."""
    if question.end - question.start > LONGEST_RAW:
        message = f"{why}: ask for 24 hours at most, or for fewer dimensions"
        raise RangeTooLong(message, faults=[FieldFault(field, message)])
    piece = Piece("raw", question.start, question.end)
    _check_raw(piece, facts.whole_from.get("raw"))
    return [piece]


def _check_raw(piece: Piece, whole_from: datetime | None) -> None:
    if whole_from is not None and piece.start < whole_from:
        field = "from"
        message = (
            f"figures as fine as {piece.start.isoformat()} to {piece.end.isoformat()} are no longer kept: "
            "begin and end at whole days of the organization's reporting zone, or after " + whole_from.isoformat()
        )
        raise RangeNoLongerKept(message, faults=[FieldFault(field, message)])
    if piece.end - piece.start > LONGEST_RAW:
        message = "this interval is not kept that long: ask for 24 hours at most, or for a longer interval"
        raise RangeTooLong(message, faults=[FieldFault("interval", message)])


def _nests(level: Source, question: Question, facts: RangeFacts, inner: Sequence[datetime]) -> bool:
    if level == "day":
        if not inner:
            return True
        return isinstance(INTERVALS.get(question.interval or ""), str) and question.tz == facts.day_zone
    seconds = timedelta(seconds=LEVEL_SECONDS[level])
    return all((at - EPOCH) % seconds == timedelta(0) for at in inner)


def _cover(start: datetime, end: datetime, levels: Sequence[Source], facts: RangeFacts) -> Iterator[Piece]:
    if start >= end:
        return
    if not levels:
        yield Piece("raw", start, end)
        return
    level, finer = levels[0], levels[1:]
    low, high = _inside(level, start, end, facts)
    if low >= high:
        yield from _cover(start, end, finer, facts)
        return
    yield from _cover(start, low, finer, facts)
    yield Piece(level, low, high)
    yield from _cover(high, end, finer, facts)


def _inside(level: Source, start: datetime, end: datetime, facts: RangeFacts) -> tuple[datetime, datetime]:
    """Return the part of a range that whole buckets of a level fill, and that retention has left."""
    if level == "day":
        # The day level is asked first, for the whole range, and never loses anything.
        return facts.first_day, facts.last_day
    step = timedelta(seconds=LEVEL_SECONDS[level])
    start = max(start, facts.whole_from.get(level, start))
    low = start + (EPOCH - start) % step
    return low, end - (end - EPOCH) % step


def journal_ranges(pieces: Sequence[Piece]) -> list[tuple[datetime, datetime]]:
    """Return the ranges that rollups answer, which the journal completes; raw rows need no completion."""
    ranges: list[tuple[datetime, datetime]] = []
    for piece in pieces:
        if piece.source == "raw":
            continue
        if ranges and ranges[-1][1] == piece.start:
            ranges[-1] = (ranges[-1][0], piece.end)
        else:
            ranges.append((piece.start, piece.end))
    return ranges


def describe(pieces: Sequence[Piece]) -> Mapping[str, int]:
    """Return how many seconds of a range each source answers; for tests and traces."""
    seconds: dict[str, int] = {}
    for piece in pieces:
        length = int((piece.end - piece.start).total_seconds())
        seconds[piece.source] = seconds.get(piece.source, 0) + length
    return seconds
