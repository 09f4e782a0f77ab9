"""Whose the hosts are that clients call: ours, a provider's of the catalog, or nobody's we know."""

from __future__ import annotations

from uuid import UUID

from yarl import URL

from nexus.contracts.gateway import GatewayTable
from nexus.dataplane.ingest.otlp.http_spans import Address

# Providers of whom every customer has a host of its own.
_SUFFIXES = {
    ".openai.azure.com": "azure", ".services.ai.azure.com": "azure", ".cognitiveservices.azure.com": "azure",
    ".amazonaws.com": "aws", ".aiplatform.googleapis.com": "google",
}  # fmt: skip


class Hosts:
    """Knows hosts by the catalog of the moment."""

    def __init__(self, own_urls: tuple[str, ...]) -> None:
        self._own = {address for url in own_urls for address in _addresses(url)}
        self._table: GatewayTable | None = None
        self._providers: dict[tuple[UUID | None, str], str] = {}

    def is_own(self, address: Address, asked_at: str) -> bool:
        """Tell whether a client that connected there connected to us; `asked_at` is the Host we were just asked at."""
        own = self._own if not asked_at else self._own | set(_addresses(f"http://{asked_at}"))
        return address in own or (address.port is None and any(host == address.host for host, _ in own))

    def provider_at(self, table: GatewayTable, organization_id: UUID, host: str) -> str | None:
        """Return the provider whose base URL has this host."""
        if self._table is not table:
            self._table = table
            self._providers = {
                (organization, URL(entry.base_url).host or ""): entry.slug
                for (organization, _), entry in table.providers.items()
                if entry.base_url
            }
        known = self._providers.get((None, host)) or self._providers.get((organization_id, host))
        return known or next((slug for suffix, slug in _SUFFIXES.items() if host.endswith(suffix)), None)


def _addresses(url: str) -> list[Address]:
    try:
        found = URL(url)
    except ValueError:
        return []
    return [Address(found.host.lower(), found.port)] if found.host else []
