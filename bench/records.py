"""Records as a busy application sends them: 20 fields, three providers, priced from the shipped book."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import msgspec

from nexus.kit.ids import uuid7

MODELS = {
    "openai": ("gpt-4o", "gpt-4o-mini"),
    "anthropic": ("claude-3-5-sonnet-latest", "claude-3-5-haiku-latest"),
    "mistral": ("mistral-large-latest",),
}


def bodies(batches: int, size: int, *, seed: int) -> list[bytes]:
    """Make request bodies of `size` records each, all from the last minute; ids are new at every call."""
    chance = random.Random(seed)
    now = datetime.now(UTC)
    return [msgspec.json.encode([_record(chance, now) for _ in range(size)]) for _ in range(batches)]


def _record(chance: random.Random, now: datetime) -> dict[str, object]:
    provider = chance.choice(list(MODELS))
    tokens = {"input": chance.randrange(100, 4000), "output": chance.randrange(800)}
    tokens["cached_input"] = chance.randrange(tokens["input"])
    return {
        "type": "api_call",
        "id": str(uuid7()),
        "timestamp": (now - timedelta(seconds=chance.random() * 60)).isoformat(),
        "provider": provider,
        "model": chance.choice(MODELS[provider]),
        "endpoint": "/v1/chat/completions",
        "method": "POST",
        "status_code": chance.choice([200] * 19 + [429]),
        "response_time_ms": round(chance.random() * 2000, 3),
        "time_to_first_byte_ms": round(chance.random() * 500, 3),
        "request_size_bytes": chance.randrange(10_000),
        "response_size_bytes": chance.randrange(10_000),
        "tokens": tokens,
        "application": chance.choice(["web", "batch"]),
        "user": f"user-{chance.randrange(50)}",
        "region": "eu",
        "session_id": f"session-{chance.randrange(1000)}",
        "request_id": f"req_{chance.getrandbits(64):016x}",
        "tags": {"team": "search", "feature": "chat"},
    }
