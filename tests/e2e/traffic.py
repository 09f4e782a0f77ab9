"""A week of calls, the same in each run but for its times."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp

MODELS = [
    ("openai", "gpt-4o", "/v1/chat/completions"), ("openai", "gpt-4o-mini", "/v1/chat/completions"),
    ("anthropic", "claude-sonnet-4-5", "/v1/messages"), ("google", "gemini-2.5-flash", "/v1beta/models"),
    ("mistral", "mistral-large-latest", "/v1/chat/completions"), ("acme-search", "", "/search"),
]  # fmt: skip
HOSTILE = "<img src=x onerror=\"document.title='stolen'\"><script>document.title='stolen'</script>"
COUNT = 900


def week(now: datetime, seed: int = 7) -> list[dict[str, Any]]:
    """Calls of the last seven days, more of them by day, with failures and one provider without a price."""
    chance = random.Random(seed)
    records = []
    for number in range(COUNT):
        provider, model, endpoint = chance.choices(MODELS, weights=[30, 25, 20, 15, 6, 4])[0]
        back = timedelta(days=7) * chance.random() ** 1.5
        failed = chance.random() < 0.06
        record: dict[str, Any] = {
            "type": "api_call",
            "id": str(UUID(int=chance.getrandbits(128), version=4)),
            "timestamp": (now - back - timedelta(minutes=1)).isoformat(),
            "provider": provider,
            "endpoint": endpoint,
            "method": "POST",
            "status_code": chance.choice([429, 500, 503]) if failed else 200,
            "response_time_ms": round(chance.lognormvariate(6, 0.7), 1),
            "user": chance.choice(["ada", "grace", "linus", "margaret"]),
            "tags": {
                "team": chance.choice(["search", "support", "billing"]),
                "feature": chance.choice(["chat", "batch"]),
            },
        }
        if model:
            record["model"] = model
            record["tokens"] = {"input": chance.randint(100, 9000), "output": chance.randint(10, 1500)}
        if failed:
            record |= {"error_type": "upstream_error", "error_message": HOSTILE if number % 2 else "overloaded"}
        records.append(record)
    return records


async def send(url: str, key: str, records: list[dict[str, Any]]) -> None:
    """Send records; all must be taken."""
    headers = {"authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{url}/v1/events", json=records, headers=headers) as answer,
    ):
        receipt = await answer.json()
        assert answer.status == 200 and receipt["accepted"] == len(records), receipt


async def send_week(url: str, key: str, *, weeks: int = 1) -> None:
    """Send the week's calls, and those of as many weeks before."""
    now = datetime.now(UTC)
    for back in range(weeks):
        await send(url, key, week(now - timedelta(days=7 * back), seed=7 + back))
