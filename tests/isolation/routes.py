"""The documented routes, and requests to them that name somebody else's things."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from nexus.entry.api import Application

METHODS = ("get", "put", "post", "patch", "delete")
MOST_PATHS = 250
"""Paths tried of one route; a route with several parameters gets a sample of the combinations."""

BODIES: dict[str, dict[str, Any]] = {
    "POST /api/admission/loans/{loan_id}/write-off": {"reason": "mine now"},
    "PATCH /api/admission/borrowing-rules/{rule_id}": {"is_active": False},
    "POST /api/catalog/prices/{price_id}/end": {"at": "2026-06-01T00:00:00Z"},
    "POST /api/catalog/price-conflicts/{conflict_id}/resolve": {"take": True},
    "PATCH /api/costs/budgets/{budget_id}": {"amount": "1", "reason": "mine now"},
    "POST /api/identity/access-keys/{key_id}/rotate": {"overlap_seconds": 1},
    "POST /api/identity/access-keys/{key_id}/revoke": {},
    "PATCH /api/identity/members/{user_id}": {"role": "viewer"},
    "PATCH /api/operations/configuration/{key}": {"value": 1},
}
"""Bodies that are sound, so that a refusal is because of the id. `POST …/roles` gets a role of one's own."""

QUERIES: dict[str, dict[str, str]] = {"GET /api/admission/quotas/{quota_id}/difference": {"first": "1", "second": "1"}}
"""What a route asks for beside the id."""


@dataclass(frozen=True)
class Route:
    """One documented operation."""

    method: str
    path: str
    path_parameters: tuple[str, ...]
    query_parameters: tuple[str, ...]
    has_body: bool

    @property
    def name(self) -> str:
        """How the route is called in a message."""
        return f"{self.method} {self.path}"

    def paths(self, values: list[str]) -> list[str]:
        """Return the route's paths with its parameters filled from the values."""
        every = list(itertools.islice(itertools.product(values, repeat=len(self.path_parameters)), 200_000))
        if len(every) > MOST_PATHS and len(self.path_parameters) > 1:
            every = random.Random(7).sample(every, MOST_PATHS)
        return [self.filled(dict(zip(self.path_parameters, chosen, strict=True))) for chosen in every]

    def filled(self, values: dict[str, str]) -> str:
        """Return the route's path with these values."""
        path = self.path
        for name, value in values.items():
            path = path.replace("{" + name + "}", quote(value, safe=""))
        return path


async def documented(application: Application) -> list[Route]:
    """Read the routes from the description that the application serves."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application),  # type: ignore[arg-type]
        base_url="http://testserver",
    ) as client:
        document = msgspec.json.decode((await client.get("/openapi.json")).content)
    return list(_routes(document))


def _routes(document: dict[str, Any]) -> Iterator[Route]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method not in item:
                continue
            given = [*item.get("parameters", []), *item[method].get("parameters", [])]
            names = {place: tuple(one["name"] for one in given if one["in"] == place) for place in ("path", "query")}
            yield Route(method.upper(), path, names["path"], names["query"], "requestBody" in item[method])
