"""What is asked about issues, and what is answered. Counts are exact at the moment they are read."""

# Annotations are read when the API is built, so this module does not postpone them.
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

Status = Literal["open", "regressed", "resolved", "ignored"]
STATUSES: tuple[Status, ...] = ("open", "regressed", "resolved", "ignored")
UNRESOLVED = "unresolved"
"""Stands for `open` and `regressed` together."""
Sort = Literal["-last_seen", "-first_seen", "-occurrences"]
SORTS: tuple[Sort, ...] = ("-last_seen", "-first_seen", "-occurrences")
FACETS = ("environment", "service", "service_version", "application")
GROUPS = ("level", "environment", "category")
NOBODY, ME = "none", "me"
TREND_HOURS = 24
MAX_BULK = 200
MAX_NOTE_CHARS = 4_000


class Person(msgspec.Struct, frozen=True):
    """A member of the organization."""

    id: UUID
    name: str
    email: str


class Issue(msgspec.Struct, frozen=True):
    """An issue as it stands in a list."""

    id: UUID
    title: str
    """Message of the first error, masked."""
    error_type: str
    culprit: str
    """The innermost frame of the first error."""
    status: Status
    level: str
    category: str
    severity: int
    impact_level: str
    service: str
    environment: str
    service_version: str
    occurrences: int
    first_seen: datetime
    last_seen: datetime
    assignee: Person | None
    status_changed_at: datetime | None
    resolved_at: datetime | None
    resolved_by: str
    resolution_notes: str
    regressions: int
    merged_into: UUID | None
    trend: list[int] = []
    """Errors in each of the last 24 hours, this one last."""


class Cause(msgspec.Struct, frozen=True):
    """Why errors are grouped: one fingerprint of an issue."""

    fingerprint: UUID
    rule: str
    """`explicit`: the program's own fingerprint; `stack`: message and innermost frames; `message`: the message alone."""
    normalised: str
    """The text whose hash is the fingerprint, a line for each part."""
    title: str
    error_type: str
    culprit: str
    occurrences: int
    first_seen: datetime
    last_seen: datetime


class FacetValue(msgspec.Struct, frozen=True):
    """Where an issue was seen."""

    value: str
    occurrences: int
    first_seen: datetime
    last_seen: datetime


class Event(msgspec.Struct, frozen=True):
    """Something that happened to an issue, or a note."""

    id: UUID
    at: datetime
    kind: str
    actor: str
    detail: dict[str, Any]


class IssuePage(msgspec.Struct, frozen=True):
    """All about one issue but its samples and its trend."""

    issue: Issue
    causes: list[Cause]
    facets: dict[str, list[FacetValue]]
    """The most frequent values of each."""
    met: int
    """How many different users it met, as far as errors name them; no more than 10,000 are counted."""
    met_more: bool
    """Whether it met more than were counted."""
    events: list[Event]
    """Newest first."""


@dataclass(frozen=True, kw_only=True)
class IssuesQuestion:
    """Which issues are asked for."""

    statuses: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    severities: tuple[int, ...] = ()
    facets: tuple[tuple[str, tuple[str, ...]], ...] = ()
    assignees: tuple[UUID, ...] = ()
    includes_nobodys: bool = False
    words: str | None = None
    seen_from: datetime | None = None
    seen_to: datetime | None = None
    sort: Sort = "-last_seen"
    after: tuple[datetime | int, UUID] | None = None
    """The last one seen: what it is sorted by, and its id."""
    limit: int = 50


@dataclass(frozen=True, kw_only=True)
class SeriesQuestion:
    """How many errors there were over time."""

    start: datetime
    end: datetime
    unit: Literal["hour", "day"]
    """Of UTC."""
    group_by: str | None = None
    issue_id: UUID | None = None
