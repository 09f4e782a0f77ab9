"""`/gw/v1/…`: OpenAI-format requests for `provider/model` or an alias, tried again and elsewhere while nothing was sent.

An attempt may be followed by another when the provider could not be reached or answered 408, 429 or 5xx, the request is
whole in memory, and the client got no byte yet. First the same endpoint again (once, after a pause), then the next:
another credential of the provider, then the alias's next model.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from nexus.contracts.gateway import CredentialEntry, RouteEntry
from nexus.contracts.keys import KeyEntry
from nexus.dataplane.gateway.errors import NoCredential, UnknownModel, UpstreamError, UpstreamTimeout
from nexus.dataplane.gateway.exchange import Target
from nexus.dataplane.gateway.health import HealthBook
from nexus.dataplane.gateway.usage import Wire
from nexus.dataplane.snapshots import Snapshots
from nexus.kit.errors import NexusError

NAME = "v1"
"""The name that stands where a provider's would: `/gw/v1/chat/completions`."""
MAX_ATTEMPTS = 4
RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 5.0
_KEYS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Candidate:
    """One endpoint a request may be sent to, and the model's name there."""

    target: Target
    model: str


def is_retried(error: NexusError) -> bool:
    """Tell whether another attempt may help."""
    return isinstance(error, (UpstreamError, UpstreamTimeout))


def pause_seconds(number: int, retry_after: float | None) -> float | None:
    """Return how long to wait before the same endpoint is tried again; None when it asks for more than is sensible."""
    if retry_after is not None:
        return retry_after if retry_after <= _LONGEST_PAUSE_SECONDS else None
    longest: float = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**number)
    return longest * (0.5 + random.random() / 2)  # noqa: S311


def retry_after_of(headers: dict[str, str]) -> float | None:
    """Return how many seconds an answer asks to wait."""
    milliseconds = headers.get("retry-after-ms", "")
    if milliseconds.replace(".", "", 1).isdigit():
        return float(milliseconds) / 1000
    seconds = headers.get("retry-after", "")
    return float(seconds) if seconds.replace(".", "", 1).isdigit() else None


def with_model(body: bytes, model: str) -> bytes:
    """Return a JSON body that names another model, all else as it was."""
    fields = _KEYS.decode(body)
    fields["model"] = msgspec.Raw(_encode(model))
    return _encode(fields)


class Router:
    """Finds endpoints for names of models."""

    def __init__(self, snapshots: Snapshots, wire: Wire, health: HealthBook) -> None:
        self._snapshots = snapshots
        self._wire = wire
        self._health = health

    def candidates(self, key: KeyEntry, name: str, path: str, query: bytes, now: Any) -> list[Candidate]:
        """Return the endpoints for a model or alias, in the order in which they are tried."""
        found: list[Candidate] = []
        missing: str | None = None
        for way in self._ways(key, name):
            endpoints = list(self._endpoints(key, way, path, query, now))
            if not endpoints:
                missing = missing or way.provider
            found += endpoints
        if found:
            return found
        if missing is not None:
            raise NoCredential(f"your organization has no credential for {missing}: add one")
        raise UnknownModel(f"{name[:100]!r} is no alias, and no `provider/model` of a known provider")

    def _ways(self, key: KeyEntry, name: str) -> list[RouteEntry]:
        routes = self._snapshots.gateway.routes.get((key.organization_id, name))
        if routes:
            return _shuffled(routes)
        provider, slash, model = name.partition("/")
        if not slash or self._snapshots.gateway.provider(key.organization_id, provider.lower()) is None:
            return []
        return [RouteEntry(provider.lower(), model)]

    def _endpoints(self, key: KeyEntry, way: RouteEntry, path: str, query: bytes, now: Any) -> Iterator[Candidate]:
        table = self._snapshots.gateway
        provider = table.provider(key.organization_id, way.provider)
        if provider is None or not provider.is_active:
            return
        # The client of this entry reads errors as OpenAI tells them.
        facts = msgspec.structs.replace(
            self._wire.facts(provider.slug, provider.options), error="openai", stream_error="openai"
        )
        credentials: list[CredentialEntry | None] = [
            item
            for item in table.credentials.get((key.organization_id, provider.slug), ())
            if item.is_valid_at(now) and item.weight > 0
        ]
        if not credentials and "none" in provider.auth_types:
            credentials = [None]
        for credential in sorted(credentials, key=lambda item: -_drawn(item.weight if item else 1)):
            base_url = (credential.base_url if credential else "") or provider.base_url
            if base_url:
                form = (credential.auth_form if credential else "none") or facts.openai_auth or facts.auth or "bearer"
                target = Target(provider, facts, credential, base_url, form, facts.openai_path + path, query)
                yield Candidate(target, way.model)

    def models(self, key: KeyEntry) -> list[str]:
        """Return the organization's aliases."""
        return sorted(
            alias for organization_id, alias in self._snapshots.gateway.routes if organization_id == key.organization_id
        )


def _drawn(weight: int) -> float:
    """Draw a number that is the largest among several in proportion to the weights (Efraimidis and Spirakis)."""
    return float(random.random() ** (1 / weight))  # noqa: S311


def _shuffled(routes: tuple[RouteEntry, ...]) -> list[RouteEntry]:
    """Order ways by priority, and among equals at random in proportion to their weights."""
    return sorted(
        (item for item in routes if item.weight > 0),
        key=lambda item: (item.priority, -_drawn(item.weight)),
    )
