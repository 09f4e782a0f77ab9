"""Turns records of a type into rows one by one: for every type that is not the hot one, which is API calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from nexus.contracts.bodies import MASKS, BodyRule
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.identity import DAY_US, identify, microseconds
from nexus.dataplane.ingest.record_type import Caller, FindFaults, Prepared, Tables
from nexus.kit.errors import FieldFault
from nexus.kit.masked_text import mask
from nexus.kit.masking import Finder

_DEFAULT_RULE = BodyRule(masks=frozenset(MASKS))
_SECRETS = Finder()


class Masker:
    """Takes out of content what an organization wants masked, and secrets in any case."""

    def __init__(self, tables: Tables) -> None:
        self._rules = tables.bodies
        self._finders: dict[UUID, Finder] = {}

    def _finder(self, organization_id: UUID) -> Finder:
        finder = self._finders.get(organization_id)
        if finder is None:
            rule = self._rules.get(organization_id, _DEFAULT_RULE)
            finder = self._finders[organization_id] = Finder(rule.masks, fields=rule.fields, words=rule.words)
        return finder

    def text(self, organization_id: UUID, value: str) -> str:
        """Mask a text."""
        return mask(value, "plain", self._finder(organization_id)).text

    def name(self, value: str) -> str:
        """Mask secrets alone: in names, versions and ids there is much that only looks like an address or a number of a card."""
        return mask(value, "plain", _SECRETS).text

    def json(self, organization_id: UUID, value: Any) -> str:
        """Write a value as JSON and mask it; `UnstorableTextError` where a text in it cannot be stored."""
        try:
            text = msgspec.json.encode(value, order="deterministic").decode()
        except UnicodeEncodeError:
            raise rows.UnstorableTextError from None
        if "\\u0000" in text and rows.holds_nul(value):
            raise rows.UnstorableTextError
        return mask(text, "json", self._finder(organization_id)).text


class Identify(Protocol):
    """Makes the columns every row begins with, and the time of the row's key in µs since 2000; `ValueError` where it cannot."""

    def __call__(
        self, record: Any, caller: Caller, *, received_us: int, idempotency_key: str | None, position: int
    ) -> tuple[bytes, int]:
        """Return columns and time."""
        ...


def _by_id(
    record: Any, caller: Caller, *, received_us: int, idempotency_key: str | None, position: int
) -> tuple[bytes, int]:
    return identify(
        record,
        caller.organization_id,
        received_us=received_us,
        idempotency_key=idempotency_key,
        position=position,
    )


class PlainEncoder:
    """An `Encoder` made of a function that encodes one record's own columns."""

    def __init__(
        self, fields_of: Callable[[Any, Caller], bytes], faults_of: FindFaults, *, identify_by: Identify = _by_id
    ) -> None:
        self._fields_of = fields_of
        self._faults_of = faults_of
        self._identify = identify_by

    def prepare(
        self,
        caller: Caller,
        records: Sequence[Any],
        *,
        received_at: datetime,
        idempotency_key: str | None = None,
        positions: Sequence[int],
        into: Prepared | None = None,
    ) -> Prepared:
        """Turn records into rows, as `Encoder` says."""
        prepared = Prepared() if into is None else into
        received_us = microseconds(received_at)
        for position, record in zip(positions, records, strict=True):
            try:
                identity, key_us = self._identify(
                    record,
                    caller,
                    received_us=received_us,
                    idempotency_key=idempotency_key,
                    position=position,
                )
                row = identity + self._fields_of(record, caller)
            except (ValueError, ArithmeticError, RecursionError) as error:
                faults = self._faults_of(
                    record, received_at=received_at, has_idempotency_key=idempotency_key is not None
                )
                if not faults:
                    # The list of faults must never be emptier than the loop is strict.
                    what = error or "a text holds NUL or half a surrogate pair"
                    faults = [FieldFault("", f"cannot be stored: {what}")]
                prepared.faults.append((position, record.id, faults))
                continue
            prepared.rows.append(row)
            prepared.positions.append(position)
            prepared.days.add(key_us // DAY_US)
        return prepared
