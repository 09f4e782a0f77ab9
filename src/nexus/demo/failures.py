"""Which errors an application's programs told of in an hour: a few causes, each with a course of its own."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from nexus.demo.traffic import HOUR, Call, expected_calls, id_at, outage
from nexus.demo.world import Application, Company

_VERSIONS = ("4.1.0", "4.2.0", "4.2.1")
_HIGH_TIDE = 25.0
"""How many times as often a provider's clients fail while it is down."""


@dataclass(frozen=True)
class Failure:
    """One cause: what it says, with places that differ each time, and how often it comes."""

    per_call: float
    kind: str
    message: str
    category: str
    level: str = "error"
    impact: str = "medium"
    frames: tuple[tuple[str, str], ...] = ()
    """File and function, the outermost first."""
    days_ago: int = 1_000
    """Since when it is known."""
    is_of_outage: bool = False


_CLIENT = (("app/main.py", "handle"), ("app/answers.py", "ask_model"), ("app/clients/http.py", "post"))
FAILURES: tuple[Failure, ...] = (
    Failure(
        0.0030, "httpx.ReadTimeout", "no answer from https://api.anthropic.com/v1/messages within {seconds} s",
        "external_api", impact="high", frames=_CLIENT, is_of_outage=True,
    ),
    Failure(
        0.0012, "ConnectionRefusedError", "connection to db-{small}.internal:{port} refused after {number} ms", "database",
        level="fatal", impact="critical", frames=(("app/main.py", "handle"), ("app/store.py", "open_session")),
    ),
    Failure(
        0.0020, "ValidationError", "answer of request {uuid} is no valid JSON at line {small}, column {number}",
        "validation", impact="low", frames=(("app/answers.py", "read_answer"), ("app/schema.py", "check")),
    ),
    Failure(
        0.0008, "KeyError", "'customer_{number}'", "validation",
        frames=(("app/main.py", "handle"), ("app/cart.py", "price_of")),
    ),
    Failure(0.0015, "CacheMiss", "cache entry /var/cache/app/{uuid}.bin is stale", "", level="warn", impact="low"),
    Failure(
        0.0025, "TokenExpired", "session of user {uuid} expired {number} s ago", "authentication", level="warn", impact="low",
        frames=(("app/main.py", "handle"), ("app/sessions.py", "check_session")), days_ago=3,
    ),
)  # fmt: skip


def errors(
    company: Company, application: Application, hour: datetime, began_on: datetime, *, volume: float = 1.0
) -> list[Call]:
    """Return the errors of an hour, in order."""
    chance = random.Random(f"errors/{company.slug}/{application.name}/{hour.isoformat()}/{began_on.date()}")  # noqa: S311 - a story, no secret
    mean = expected_calls(company, application, hour, began_on) * volume
    down_from, down_until = outage(began_on)
    is_down = down_from < hour + HOUR and hour < down_until
    found: list[Call] = []
    for failure in FAILURES:
        if hour < began_on - timedelta(days=failure.days_ago):
            continue
        expected = mean * failure.per_call * (_HIGH_TIDE if failure.is_of_outage and is_down else 1)
        # Rare things come or do not: the part below one is a chance.
        for _ in range(int(expected) + (chance.random() < expected % 1)):
            at = hour + HOUR * chance.random()
            found.append(Call(at, at, _told(chance, application, failure, at, began_on)))
    return sorted(found, key=lambda one: one.ended_at)


def _told(
    chance: random.Random, application: Application, failure: Failure, at: datetime, began_on: datetime
) -> dict[str, Any]:
    days = (at - began_on) / timedelta(days=1)
    record: dict[str, Any] = {
        "type": "error",
        "id": id_at(chance, at),
        "message": _filled(chance, failure.message),
        "level": failure.level,
        "error_type": failure.kind,
        "impact_level": failure.impact,
        "service": application.name,
        "service_version": _VERSIONS[0 if days < -12 else 1 if days < -4 else 2],
        "environment": "staging" if chance.random() < 0.1 else "production",
        "tags": {"team": application.team},
        "context": {"feature": chance.choice(application.features), "attempt": chance.randrange(1, 4)},
        "trace_id": f"{chance.getrandbits(128):032x}",
    }
    if failure.category:
        record["category"] = failure.category
    if application.end_users:
        record["end_user"] = f"customer-{chance.randrange(application.end_users):04d}"
    if failure.frames:
        lines = [
            f'  File "/srv/{application.name}/{file}", line {chance.randrange(20, 400)}, in {function}'
            for file, function in failure.frames
        ]
        said = f"{failure.kind}: {record['message']}"
        record["stack_trace"] = "\n".join(["Traceback (most recent call last):", *lines, said])
    return record


def _filled(chance: random.Random, message: str) -> str:
    number = f"{chance.getrandbits(128):032x}"
    return message.format(
        seconds=chance.randrange(20, 61),
        small=chance.randrange(1, 9),
        port=chance.randrange(5432, 5440),
        number=chance.randrange(10, 9_000),
        uuid=f"{number[:8]}-{number[8:12]}-4{number[13:16]}-8{number[17:20]}-{number[20:]}",
    )
