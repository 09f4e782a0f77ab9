"""Bodies of gateway calls: what an organization wants kept of them, and reading what was kept.

Words: *settings* say which calls' bodies are kept and what is masked in them; to *purge* is to delete all that is kept
so far. `docs/decisions/0015-bodies-of-calls.md` shows the way of a body.
"""

# Annotations are read when the API is built, so this module does not postpone them.
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from nexus.contracts.bodies import (
    MASKS,
    MAX_BODY_BYTES,
    MAX_KEEP_DAYS,
    MAX_NAMES,
    MIN_BODY_BYTES,
    Mask,
    body_context,
    is_sampled,
    unpack,
)
from nexus.kit.errors import FieldFault, InvalidRequest, NotFound
from nexus.kit.ids import uuid7_time
from nexus.metering import store
from nexus.platform.db import Connection
from nexus.platform.sealing import CannotOpen, Sealer

_ON_ITS_WAY = timedelta(seconds=30)

Why = Literal[
    "kept", "over_its_time", "purged", "off", "off_then", "other_provider", "not_failed", "session", "not_through_gateway",
    "not_sampled", "on_its_way", "not_kept",
]  # fmt: skip
"""`kept`, or why there is nothing."""


class UnknownCall(NotFound):
    """There is no such call in this organization, or it is no longer kept."""

    code = "call_not_found"


FieldName = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00\r\n]*$")]
Word = Annotated[str, msgspec.Meta(min_length=3, max_length=200, pattern=r"^[^\x00\r\n]*$")]
Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class BodySettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is kept of the bodies of gateway calls. Secrets are masked always, whatever `masks` says."""

    is_on: bool = False
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    max_body_bytes: Annotated[int, msgspec.Meta(ge=MIN_BODY_BYTES, le=MAX_BODY_BYTES)] = 65_536
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=MAX_KEEP_DAYS)] = 7
    only_failed: bool = False
    providers: Annotated[list[Slug], msgspec.Meta(min_length=1, max_length=100)] | None = None
    masks: Annotated[list[Mask], msgspec.Meta(max_length=len(MASKS))] = msgspec.field(
        default_factory=lambda: list(MASKS)
    )
    fields: Annotated[list[FieldName], msgspec.Meta(max_length=MAX_NAMES)] = []
    words: Annotated[list[Word], msgspec.Meta(max_length=MAX_NAMES)] = []


class BodySettingsInForce(msgspec.Struct, kw_only=True):
    """The settings, and since when they are so."""

    is_on: bool
    share: float
    max_body_bytes: int
    keep_days: int
    only_failed: bool
    providers: list[str] | None
    masks: list[str]
    fields: list[str]
    words: list[str]
    on_since: datetime | None = None
    changed_at: datetime | None = None
    purged_at: datetime | None = None


class KeptBody(msgspec.Struct, kw_only=True):
    """One side of a call: its text, or why there is none."""

    state: Literal["text", "empty", "binary", "unreadable", "sealed"]
    """`unreadable`: in an encoding we cannot unpack. `sealed`: under a key that `NEXUS_SECRET_KEY` lists no more."""
    media_type: str
    size_bytes: int
    """As it passed, compressed or not."""
    is_cut: bool
    masked: Mapping[str, int]
    """How many masks of each kind were put."""
    text: str | None = None


class CallBodies(msgspec.Struct, kw_only=True):
    """What is kept of a call's bodies."""

    call_id: UUID
    why: Why
    until: datetime | None = None
    """When they are deleted."""
    request: KeptBody | None = None
    response: KeptBody | None = None


async def settings(connection: Connection, organization_id: UUID) -> BodySettingsInForce:
    """Return the settings in force; the defaults, turned off, where nobody ever set any."""
    row = await store.body_settings(connection, organization_id)
    known = msgspec.structs.asdict(BodySettings()) if row is None else dict(row)
    return msgspec.convert(known, BodySettingsInForce)


async def put_settings(
    connection: Connection, organization_id: UUID, wanted: BodySettings, *, at: datetime
) -> BodySettingsInForce:
    """Change the settings; in force in every gateway within a second. What is kept already stays as it was masked."""
    for name in ("providers", "masks", "fields", "words"):
        listed = getattr(wanted, name)
        if listed is not None and len({item.lower() for item in listed}) < len(listed):
            raise InvalidRequest(f"{name}: name each once", faults=[FieldFault(name, "name each once")])
    if any(not word.strip() for word in wanted.words):
        raise InvalidRequest("words: give more than spaces", faults=[FieldFault("words", "give more than spaces")])
    await store.put_body_settings(connection, organization_id, msgspec.structs.astuple(wanted), at)
    return await settings(connection, organization_id)


async def purge(connection: Connection, organization_id: UUID, *, at: datetime) -> None:
    """Delete all that is kept so far: hidden at once, deleted by the worker within a minute."""
    await store.purge_bodies(connection, organization_id, at)


async def read(
    connection: Connection, organization_id: UUID, call_id: UUID, sealer: Sealer, *, at: datetime
) -> CallBodies:
    """Return what is kept of a call's bodies, which is written to the audit log, or why there is nothing.

    `UnknownCall` where there is no such call, nor bodies of one.
    """
    key_at = uuid7_time(call_id)
    if key_at is None:
        # Not of the gateway, whose ids carry their time.
        raise UnknownCall
    known = await settings(connection, organization_id)
    until = key_at + timedelta(days=known.keep_days)
    if at < until and (known.purged_at is None or key_at >= known.purged_at):
        rows = await store.bodies_of_call(connection, organization_id, call_id, key_at)
        if rows:
            sides = {
                row["side"]: _opened(row, sealer, body_context(organization_id, call_id, row["side"])) for row in rows
            }
            await store.record_bodies_read(connection, call_id, sorted(sides))
            return CallBodies(call_id=call_id, why="kept", until=until, **sides)
    call = await store.call_of_bodies(connection, organization_id, call_id, key_at)
    if call is None:
        raise UnknownCall
    return CallBodies(call_id=call_id, why=_why_not(call, known, call_id, key_at, until, at))


def _opened(row: store.Row, sealer: Sealer, context: bytes) -> KeptBody:
    state, text = row["state"], None
    if row["sealed"] is not None:
        try:
            text = unpack(sealer.open(bytes(row["sealed"]), context))
        except (CannotOpen, ValueError):
            state = "sealed"
    return KeptBody(
        state=state,
        media_type=row["media_type"],
        size_bytes=row["size_bytes"],
        is_cut=row["is_cut"],
        masked=row["masked"],
        text=text,
    )


def _why_not(
    call: store.Row, known: BodySettingsInForce, call_id: UUID, key_at: datetime, until: datetime, at: datetime
) -> Why:
    details = (call["metadata"] or {}).get("gateway")
    if not isinstance(details, dict):
        return "not_through_gateway"
    if call["status_code"] == 101:
        return "session"
    if known.purged_at is not None and key_at < known.purged_at:
        return "purged"
    if not known.is_on:
        return "off"
    if known.on_since is not None and key_at < known.on_since:
        return "off_then"
    if at >= until:
        return "over_its_time"
    if known.providers is not None and call["provider"] not in known.providers:
        return "other_provider"
    if known.only_failed and 0 < call["status_code"] < 400 and not call["error_type"]:
        return "not_failed"
    if not is_sampled(call_id, known.share):
        return "not_sampled"
    return "on_its_way" if at - key_at < _ON_ITS_WAY else "not_kept"
