"""Records of API calls: turned into rows, names resolved against the snapshots, costs computed, secrets left out.

This is the hot loop of ingest. What repeats from record to record is resolved and encoded once and kept as bytes
until the snapshot it came from is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from types import MappingProxyType
from uuid import UUID

from nexus.contracts.calls import (
    CALL_COLUMN_TYPES,
    MAX_COST,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    MAX_NAME_CHARS,
    NOT_NULL_COLUMNS,
    ApiCall,
    Tokens,
)
from nexus.contracts.pricing import price_call, usage_faults
from nexus.contracts.sightings import sighting_of
from nexus.dataplane.endpoints import guess_template, strip_query
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.identity import (
    DAY_US,
    EARLIEST_US,
    LATEST_AHEAD_US,
    PG_EPOCH,
    id_and_time,
    microseconds,
)
from nexus.dataplane.ingest.record_type import Caller, Prepared, RecordType
from nexus.dataplane.ingest.sense import are_too_large, metadata_fault, shared_faults
from nexus.dataplane.snapshots import PriceTable
from nexus.kit.errors import FieldFault
from nexus.kit.ids import positional_uuid
from nexus.kit.redaction import redact_headers, redact_text

_NANO = Decimal("1e-9")
_MONEY = Context(prec=60)
_NO_NAMES = rows.NULL * 4
_NULL_PAIR = rows.NULL * 2
_NOTHING = Decimal(0)
_NO_TRACES = rows.NULL * 6
_CACHE_LIMIT = 50_000
_SEPARATORS = re.compile(r"[\s_]+")
_NO_VARIANT: Mapping[str, str] = MappingProxyType({})


class _Place:
    """Provider, endpoint and method of a call, as names and as bytes."""

    __slots__ = ("encoded", "endpoint", "method", "provider")

    def __init__(self, provider: str, endpoint: str, method: str) -> None:
        self.provider = provider
        self.endpoint = endpoint or None
        self.method = method or None
        self.encoded = rows.text(provider) + rows.text(endpoint) + rows.text(method)


def provider_slug(text: str) -> str:
    """Return a provider's name as a slug: lower case, spaces and underscores as hyphens."""
    return _SEPARATORS.sub("-", text.strip().lower())


class Resolver:
    """Resolves, prices and encodes records against one set of snapshots. Replaced when a snapshot is."""

    def __init__(self, prices: PriceTable) -> None:
        self._table = prices
        self._places: dict[tuple[str, str | None, str | None, str | None], _Place] = {}
        # The caller is kept beside its cache, so that its id() is not given to another while the entry lives.
        self._people: dict[int, tuple[Caller, dict[tuple[str | None, ...], bytes]]] = {}
        self._tails: dict[tuple[str, str, UUID | None, str | None], bytes] = {}

    def prepare(
        self,
        caller: Caller,
        records: Sequence[ApiCall],
        *,
        received_at: datetime,
        idempotency_key: str | None = None,
        positions: Sequence[int],
        into: Prepared | None = None,
    ) -> Prepared:
        """Turn calls into rows, as `Encoder` says."""
        prepared = Prepared() if into is None else into
        people = self._people_of(caller)
        places, tails = self._places, self._tails
        organization_bytes = caller.organization_id.bytes
        received_us = microseconds(received_at)
        latest_us = received_us + LATEST_AHEAD_US
        add_row, add_position, add_day = (
            prepared.rows.append,
            prepared.positions.append,
            prepared.days.add,
        )

        for position, call in zip(positions, records, strict=True):
            try:
                key_us = None
                if call.id is not None:
                    id_bytes, key_us = id_and_time(call.id)
                elif idempotency_key is not None:
                    id_bytes = positional_uuid(caller.organization_id, idempotency_key, position).bytes
                else:
                    raise ValueError("a record without id")
                at = call.timestamp
                if at is None:
                    occurred_us = received_us if key_us is None else key_us
                    at = received_at if key_us is None else PG_EPOCH + timedelta(microseconds=key_us)
                else:
                    span = at - PG_EPOCH
                    occurred_us = span.days * DAY_US + span.seconds * 1_000_000 + span.microseconds
                is_opaque = key_us is None
                if key_us is None:
                    key_us = occurred_us
                if key_us > latest_us or not EARLIEST_US <= occurred_us <= latest_us:
                    raise ValueError("out of time")

                place = places.get((call.provider, call.endpoint, call.path, call.method))
                if place is None:
                    place = self._resolve_place(call)
                who = (call.model, call.region, call.key, call.application, call.user)
                person = people.get(who)
                if person is None:
                    person = _resolve_person(caller, call, people)

                tokens, units, variant = call.tokens, call.units, call.service_variant
                usage: dict[str, int] = {"requests": 1}
                has_rare_tokens = False
                if tokens is None:
                    counts = rows.NO_TOKENS
                else:
                    counts = rows.pack_tokens(
                        8, tokens.input, 8, tokens.output, 8, tokens.cached_input, 8, tokens.cache_write,
                        8, tokens.reasoning, 8, tokens.audio_input, 8, tokens.audio_output,
                        8, tokens.image_input, 8, tokens.image_output,
                    )  # fmt: skip
                    has_rare_tokens = _count_tokens(usage, tokens)
                kept_units = _NULL_PAIR
                if has_rare_tokens or units is not None or variant:
                    kept_units = _keep_units(usage, call)

                cost, source = call.cost, call.price_source
                refused = rows.NULL
                if call.refused_by is not None:
                    if cost:
                        raise ValueError("what was never made costs nothing")
                    cost, source, refused = _NOTHING, "given", rows.text(redact_text(call.refused_by))
                cost_nanos = None if cost is None else given_nanos(cost)
                tail_key: tuple[str, str, UUID | None, str | None]
                if cost is not None and (source is None or source == "given"):
                    tail_key = (call.currency or caller.currency, "given", None, None)
                elif source == "given":
                    raise ValueError("a given cost is missing")
                else:
                    priced = price_call(
                        self._table.book, organization_id=caller.organization_id, tier=caller.tier,
                        provider=place.provider, model=call.model, endpoint=place.endpoint, method=place.method,
                        region=call.region, at=at, usage=usage, variant=variant or _NO_VARIANT,
                        currency=caller.currency, is_failure=call.status_code >= 400 or call.status_code == 0,
                    )  # fmt: skip
                    cost_nanos = priced.cost_nanos
                    if cost_nanos is None:
                        prepared.unpriced += 1
                    tail_key = (
                        priced.currency or caller.currency,
                        priced.source,
                        priced.price_id,
                        priced.reason,
                    )
                tail = tails.get(tail_key)
                if tail is None:
                    tail = self._encode_tail(tail_key)

                row = b"".join(
                    (
                        rows.pack_identity(
                            16,
                            organization_bytes,
                            16,
                            id_bytes,
                            8,
                            key_us,
                            1,
                            is_opaque,
                            8,
                            occurred_us,
                            8,
                            received_us,
                        ),
                        place.encoded,
                        _answer(call),
                        person,
                        _names(call),
                        counts,
                        kept_units,
                        rows.NULL if cost_nanos is None else rows.int8(cost_nanos),
                        tail,
                        _attribution(call),
                        _traces(call),
                        _sighting(call),
                        refused,
                    )
                )
            except (ValueError, ArithmeticError) as error:
                faults = faults_of_call(
                    call,
                    received_at=received_at,
                    has_idempotency_key=idempotency_key is not None,
                )
                if not faults:
                    # The list of faults must never be emptier than the loop is strict.
                    faults = [
                        FieldFault(
                            "",
                            f"cannot be stored: {error or 'a text holds NUL or half a surrogate pair'}",
                        )
                    ]
                prepared.faults.append((position, call.id, faults))
                continue
            add_row(row)
            add_position(position)
            add_day(key_us // DAY_US)
        return prepared

    def _people_of(self, caller: Caller) -> dict[tuple[str | None, ...], bytes]:
        entry = self._people.get(id(caller))
        if entry is None:
            if len(self._people) >= _CACHE_LIMIT:
                self._people.clear()
            entry = self._people[id(caller)] = (caller, {})
        return entry[1]

    def _resolve_place(self, call: ApiCall) -> _Place:
        slug = provider_slug(call.provider)
        verb = (call.method or "").upper()
        template = strip_query(call.endpoint) if call.endpoint else ""
        if not template and call.path:
            path = strip_query(call.path)
            template = self._table.endpoints.find(slug, verb, path) or guess_template(path)[:MAX_NAME_CHARS]
        place = _Place(slug, redact_text(template), verb)
        if not _is_slug(slug):
            raise ValueError("no slug")
        if len(self._places) >= _CACHE_LIMIT:
            self._places.clear()
        self._places[call.provider, call.endpoint, call.path, call.method] = place
        return place

    def _encode_tail(self, key: tuple[str, str, UUID | None, str | None]) -> bytes:
        currency, source, price_id, reason = key
        encoded = b"".join(
            (
                rows.text(currency),
                rows.text(source),
                rows.uuid_bytes(None if price_id is None else price_id.bytes),
                rows.optional_text(reason),
            )
        )
        if len(self._tails) >= _CACHE_LIMIT:
            self._tails.clear()
        self._tails[key] = encoded
        return encoded


_SLUG = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


def _is_slug(slug: str) -> bool:
    return _SLUG.fullmatch(slug) is not None


def given_nanos(cost: Decimal) -> int:
    """Return a given cost in nano-units, rounded once, half to even; `ValueError` beyond what a call may cost."""
    if not cost.is_finite() or not 0 <= cost <= MAX_COST:
        raise ValueError("no cost")
    return int(cost.quantize(_NANO, ROUND_HALF_EVEN, _MONEY).scaleb(9, _MONEY))


def _resolve_person(caller: Caller, call: ApiCall, people: dict[tuple[str | None, ...], bytes]) -> bytes:
    key_id = UUID(call.key) if call.key else caller.key_id
    encoded = b"".join(
        (
            rows.text(call.model or ""),
            rows.text(call.region or ""),
            rows.uuid_bytes(None if key_id is None else key_id.bytes),
            rows.text(caller.application if call.application is None else call.application),
            rows.text(caller.user_ref(call.user)),
        )
    )
    if len(people) >= _CACHE_LIMIT:
        people.clear()
    people[call.model, call.region, call.key, call.application, call.user] = encoded
    return encoded


def _answer(call: ApiCall) -> bytes:
    time_ms, ttfb_ms = call.response_time_ms, call.time_to_first_byte_ms
    sent, got = call.request_size_bytes, call.response_size_bytes
    if time_ms is None:
        if ttfb_ms is None:
            return rows.pack_answer_neither(2, call.status_code, -1, -1, 8, sent, 8, got)
        return rows.pack_answer_no_time(2, call.status_code, -1, 8, round(ttfb_ms * 1000), 8, sent, 8, got)
    if ttfb_ms is None:
        return rows.pack_answer_no_ttfb(2, call.status_code, 8, round(time_ms * 1000), -1, 8, sent, 8, got)
    return rows.pack_answer(
        2,
        call.status_code,
        8,
        round(time_ms * 1000),
        8,
        round(ttfb_ms * 1000),
        8,
        sent,
        8,
        got,
    )


def _names(call: ApiCall) -> bytes:
    end_user, session_id, request_id, trace_id = (
        call.end_user,
        call.session_id,
        call.request_id,
        call.trace_id,
    )
    if end_user is None and session_id is None and request_id is None and trace_id is None:
        return _NO_NAMES
    text = rows.optional_text
    return text(end_user) + text(session_id) + text(request_id) + text(trace_id)


_PARTS = (
    "cached_input", "cache_write", "reasoning", "audio_input", "audio_output", "image_input", "image_output",
)  # fmt: skip
# Classes of tokens without a column of their own: they are kept with the units.
_RARE_TOKENS = ("cache_write_1h", "cache_write_5m", "cached_audio_input")


def _count_tokens(usage: dict[str, int], tokens: Tokens) -> bool:
    """Add the tokens to the usage; tells whether some have no column of their own."""
    if tokens.input:
        usage["input"] = tokens.input
    if tokens.output:
        usage["output"] = tokens.output
    parts = (
        tokens.cached_input, tokens.cache_write, tokens.reasoning, tokens.audio_input, tokens.audio_output,
        tokens.image_input, tokens.image_output,
    )  # fmt: skip
    rare = (tokens.cache_write_1h, tokens.cache_write_5m, tokens.cached_audio_input)
    has_rare = any(rare)
    if has_rare or any(parts):
        usage |= {name: count for name, count in zip(_PARTS, parts, strict=True) if count}
        usage |= {name: count for name, count in zip(_RARE_TOKENS, rare, strict=True) if count}
        if usage_faults(usage):
            raise ValueError("a part is larger than the whole")
    return has_rare


def _keep_units(usage: dict[str, int], call: ApiCall) -> bytes:
    """Add the units to the usage, and encode what has no column of its own: units, the rarer tokens, the variant."""
    kept: dict[str, int] = {name: usage[name] for name in _RARE_TOKENS if name in usage}
    units = call.units
    if units is not None:
        for name in units.__struct_fields__:
            count = getattr(units, name)
            if count:
                usage[name] = kept[name] = count
    return (rows.json(kept) if kept else rows.NULL) + (
        rows.json(call.service_variant) if call.service_variant else rows.NULL
    )


def _attribution(call: ApiCall) -> bytes:
    tags, metadata = call.tags, call.metadata
    if not tags and not metadata:
        return _NULL_PAIR
    kept = rows.NULL
    if metadata:
        kept = rows.json(metadata)
        # Fewer brackets than this cannot be nested too deeply; five bytes are the length and the version.
        is_suspect = len(kept) > MAX_METADATA_BYTES + 5 or kept.count(b"{") + kept.count(b"[") > MAX_METADATA_DEPTH
        if is_suspect and metadata_fault(metadata) is not None:
            raise ValueError("metadata")
    return (rows.json(tags) if tags else rows.NULL) + kept


def _sighting(call: ApiCall) -> bytes:
    """Encode who saw a call; nearly always only the caller did."""
    if call.metadata is None:
        return rows.NULL
    seen = sighting_of(call)
    return rows.NULL if seen is None else rows.json(seen)


def _traces(call: ApiCall) -> bytes:
    error_type, message, agent, address = (
        call.error_type,
        call.error_message,
        call.user_agent,
        call.ip_address,
    )
    asked, answered = call.request_headers, call.response_headers
    if (
        error_type is None
        and message is None
        and agent is None
        and address is None
        and asked is None
        and answered is None
    ):
        return _NO_TRACES
    if (asked and are_too_large(asked)) or (answered and are_too_large(answered)):
        raise ValueError("headers")
    asked = redact_headers(asked) if asked else None
    answered = redact_headers(answered) if answered else None
    return b"".join(
        (
            rows.optional_text(error_type),
            rows.NULL if message is None else rows.text(redact_text(message)),
            rows.optional_text(agent),
            rows.inet(address) if address else rows.NULL,
            rows.json(asked) if asked else rows.NULL,
            rows.json(answered) if answered else rows.NULL,
        )
    )


def faults_of_call(record: ApiCall, *, received_at: datetime, has_idempotency_key: bool) -> list[FieldFault]:
    """Return every fault of a call whose fields are well-formed: what makes no sense, or cannot be stored."""
    faults = shared_faults(record, received_at=received_at, has_idempotency_key=has_idempotency_key)
    if not _is_slug(provider_slug(record.provider)):
        message = "is no slug: use letters, digits, dots and hyphens, such as `openai`"
        faults.append(FieldFault("provider", message))
    if record.cost is not None:
        fault = _cost_fault(record.cost)
        if fault:
            faults.append(FieldFault("cost", fault))
    elif record.price_source == "given":
        faults.append(FieldFault("cost", "is missing, while `price_source` says it is given: send both or neither"))
    if record.refused_by is not None and record.cost:
        faults.append(FieldFault("cost", "is more than nothing, while `refused_by` says that the call was never made"))
    if record.tokens is not None:
        tokens = record.tokens
        faults += usage_faults({name: count for name in tokens.__struct_fields__ if (count := getattr(tokens, name))})
    return faults


def _cost_fault(cost: Decimal) -> str | None:
    if not cost.is_finite():
        return "is no finite number: leave it out to have it computed"
    if cost < 0:
        return "is negative: send what the call cost, 0 or more"
    if cost > MAX_COST:
        return f"is above {MAX_COST}: check the unit, it is whole units of the currency"
    return None


API_CALL = RecordType(
    struct=ApiCall,
    least={"provider": "x", "status_code": 0},
    table="metering.calls",
    staging="staged_calls",
    stage="stage_calls",
    store="store_calls",
    column_types=CALL_COLUMN_TYPES,
    not_null=NOT_NULL_COLUMNS,
    faults_of=faults_of_call,
    encoder=lambda tables: Resolver(tables.prices),
)
