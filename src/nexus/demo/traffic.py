"""Which calls an application made in an hour: believable, and the same whenever it is asked."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nexus.demo.world import Application, Company, Model

HOUR = timedelta(hours=1)
DAYS = 30
OUTAGE_PROVIDER = "anthropic"
_OUTAGE_DAYS_AGO = 9
_OUTAGE_BEGINS = timedelta(hours=13, minutes=40)
_OUTAGE_LASTS = timedelta(minutes=75)
_INSTEAD = {
    "openai": ("gpt-4o", "/v1/chat/completions"),
    "google": ("gemini-2.5-flash", "/v1beta/models/{model}:generateContent"),
}
_RHYTHMS = {
    "office": (1, 1, 1, 1, 1, 2, 6, 20, 60, 95, 100, 90, 60, 85, 100, 95, 80, 55, 25, 12, 8, 5, 3, 2),
    "consumer": (14, 9, 6, 4, 4, 6, 14, 30, 48, 60, 68, 74, 80, 74, 68, 66, 70, 80, 95, 100, 96, 80, 52, 28),
    "nightly": (30, 100, 100, 70, 12, 4, 4, 6, 8, 9, 9, 9, 9, 9, 9, 9, 8, 8, 7, 6, 6, 6, 8, 14),
    "steady": (60, 52, 46, 44, 44, 50, 62, 76, 88, 95, 98, 100, 100, 98, 96, 95, 94, 94, 92, 90, 88, 84, 76, 68),
}
"""Share of each hour of the day, local time."""
_WEEKEND = {"office": 0.12, "consumer": 1.15, "nightly": 1.0, "steady": 0.95}


@dataclass(frozen=True)
class Amount:
    """How much traffic there is."""

    days: int = DAYS
    """Before now, at the start."""
    volume: float = 1.0
    """1 is about 4,000 calls a day."""


@dataclass(frozen=True)
class Call:
    """One call: when it began and ended, and what is recorded of it."""

    began_at: datetime
    ended_at: datetime
    record: dict[str, Any]


def outage(began_on: datetime) -> tuple[datetime, datetime]:
    """Return when the provider was down, for a demo that began on that day."""
    day = began_on.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=_OUTAGE_DAYS_AGO)
    return day + _OUTAGE_BEGINS, day + _OUTAGE_BEGINS + _OUTAGE_LASTS


def hours(start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the beginning of each hour that has a part in a range."""
    hour = start.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        yield hour
        hour += HOUR


def expected_calls(company: Company, application: Application, hour: datetime, began_on: datetime) -> float:
    """Return how many calls to expect in an hour."""
    local = hour + timedelta(hours=company.utc_offset_hours)
    shares = _RHYTHMS[application.rhythm]
    days: float = (hour - began_on) / timedelta(days=1)
    daily = application.calls_per_day * math.exp(application.growth_per_day * days)
    weekend = _WEEKEND[application.rhythm] if local.weekday() >= 5 else 1.0
    return daily * weekend * shares[local.hour] / sum(shares)


def calls(
    company: Company, application: Application, hour: datetime, began_on: datetime, *, volume: float = 1.0
) -> list[Call]:
    """Return the calls that an application began in an hour, in the order in which they ended."""
    # What is random follows from names and time alone, so that the same hour never has two stories.
    chance = random.Random(f"{company.slug}/{application.name}/{hour.isoformat()}/{began_on.date()}")  # noqa: S311 - a story, no secret
    mean = expected_calls(company, application, hour, began_on) * volume * chance.lognormvariate(0, 0.12)
    count = max(0, round(chance.gauss(mean, math.sqrt(mean))))
    found: list[Call] = []
    for _ in range(count):
        at = hour + HOUR * chance.random()
        found.extend(_story(chance, application, at, began_on))
    found.sort(key=lambda call: call.ended_at)
    return found


def _story(chance: random.Random, application: Application, at: datetime, began_on: datetime) -> Iterator[Call]:
    model = chance.choices(application.models, [item.weight for item in application.models])[0]
    who = _who(chance, application)
    down_from, down_until = outage(began_on)
    if model.provider == OUTAGE_PROVIDER and down_from <= at < down_until and chance.random() < 0.9:
        failed = _failure(chance, model, who, at, *_outage_failure(chance))
        yield failed
        if model.instead is not None:
            name, endpoint = _INSTEAD[model.instead]
            other = Model(
                model.instead,
                name,
                endpoint,
                1,
                model.input_tokens,
                model.output_tokens,
                latency_ms=model.latency_ms * 1.3,
            )
            yield _success(chance, other, who, failed.ended_at)
        return
    dice = chance.random()
    if dice < 0.006 and model.input_tokens:
        refused = _failure(chance, model, who, at, 429, "rate_limit_exceeded", 40)
        yield refused
        yield _success(chance, model, who, refused.ended_at + timedelta(seconds=2))
    elif dice < 0.009:
        yield _failure(chance, model, who, at, 400, "invalid_request_error", 60)
    elif dice < 0.012:
        yield _failure(chance, model, who, at, 500, "server_error", model.latency_ms)
    elif dice < 0.013:
        yield _failure(chance, model, who, at, 0, "ReadTimeout", 30_000)
    else:
        yield _success(chance, model, who, at)


def _who(chance: random.Random, application: Application) -> dict[str, Any]:
    who: dict[str, Any] = {"tags": {"team": application.team, "feature": chance.choice(application.features)}}
    who["user"] = chance.choice(application.users) if application.users else application.name
    if application.end_users:
        # A few of them do most of it.
        number = int(application.end_users * chance.random() ** 2.2)
        who["end_user"] = f"customer-{number:04d}"
        who["session_id"] = f"{number:04d}-{chance.randrange(20)}"
    return who


def _outage_failure(chance: random.Random) -> tuple[int, str, float]:
    return chance.choices(
        [(529, "overloaded_error", 900.0), (503, "api_error", 250.0), (0, "ReadTimeout", 30_000.0)], [6, 3, 1]
    )[0]


def _success(chance: random.Random, model: Model, who: dict[str, Any], at: datetime) -> Call:
    record = _begin(chance, model, who, at)
    first_byte_ms = model.latency_ms * chance.lognormvariate(0, 0.35)
    # One in a hundred hangs: what a tail is made of.
    if chance.random() < 0.01:
        first_byte_ms *= chance.uniform(4, 12)
    output = 0
    if model.input_tokens:
        asked = max(1, round(model.input_tokens * chance.lognormvariate(0, 0.6)))
        output = round(model.output_tokens * chance.lognormvariate(0, 0.55))
        tokens = {"input": asked, "output": output}
        if model.cached_fraction and chance.random() < 0.8:
            tokens["cached_input"] = round(asked * min(0.95, model.cached_fraction * chance.uniform(0.6, 1.4)))
        if model.reasoning_fraction:
            tokens["reasoning"] = round(output * min(0.95, model.reasoning_fraction * chance.uniform(0.5, 1.4)))
        record["tokens"] = {name: count for name, count in tokens.items() if count}
    elapsed_ms = first_byte_ms + output / model.tokens_per_second * 1000 * chance.lognormvariate(0, 0.15)
    record |= {
        "status_code": 200,
        "response_time_ms": round(elapsed_ms, 1),
        "time_to_first_byte_ms": round(first_byte_ms, 1),
        "request_size_bytes": 300 + 4 * record.get("tokens", {}).get("input", chance.randrange(40, 400)),
        "response_size_bytes": 500 + 5 * output + chance.randrange(600),
    }
    if model.cost is not None:
        record["cost"] = model.cost
        record["currency"] = "USD"
    return Call(at, at + timedelta(milliseconds=elapsed_ms), record)


def _failure(
    chance: random.Random, model: Model, who: dict[str, Any], at: datetime, status: int, kind: str, typical_ms: float
) -> Call:
    record = _begin(chance, model, who, at)
    elapsed_ms = typical_ms * chance.lognormvariate(0, 0.1)
    record |= {"status_code": status, "error_type": kind, "response_time_ms": round(elapsed_ms, 1)}
    record |= {"cost": "0", "currency": "USD"}
    return Call(at, at + timedelta(milliseconds=elapsed_ms), record)


def _begin(chance: random.Random, model: Model, who: dict[str, Any], at: datetime) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": id_at(chance, at), "provider": model.provider, "endpoint": model.endpoint, "method": "POST", **who,
    }  # fmt: skip
    if model.model is not None:
        record["model"] = model.model
    return record


def id_at(chance: random.Random, at: datetime) -> str:
    """Make a UUIDv7 of a time, whose other bits are drawn like everything else here."""
    micros = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    number = (micros // 1000) << 80 | 0x7 << 76 | chance.getrandbits(12) << 64 | 0b10 << 62 | chance.getrandbits(62)
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
