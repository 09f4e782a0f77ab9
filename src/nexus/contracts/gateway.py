"""Providers and provider credentials as the gateway sees them: small immutable entries of a snapshot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from nexus.contracts.bodies import BodyRule
from nexus.contracts.mcp_servers import McpServerEntry

AUTH_FORMS = ("bearer", "x-api-key", "api-key", "x-goog-api-key", "x-subscription-token", "query_key", "basic", "none")
"""How a credential is sent: `basic` takes `user:password`, `query_key` is `?key=`, `none` sends nothing."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def credential_context(organization_id: UUID, credential_id: UUID) -> bytes:
    """Return what a sealed credential is bound to, so that it opens in its own row only."""
    return b"provider credential" + organization_id.bytes + credential_id.bytes


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """What the gateway knows of a provider."""

    slug: str
    base_url: str = ""
    auth_types: tuple[str, ...] = ()
    is_active: bool = True
    options: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """`gateway` of the provider's metadata: what differs from the shipped facts (`dataplane/gateway/data/wire.json`)."""
    organization_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class CredentialEntry:
    """What the gateway sends upstream for an organization."""

    id: UUID
    organization_id: UUID
    provider: str
    secret: str = field(repr=False)
    auth_form: str = ""
    """One of `AUTH_FORMS`; empty: as the provider's own client does."""
    base_url: str = ""
    """Where it is valid, when that is not the provider's base URL (an Azure resource, a region, a server of one's own)."""
    weight: int = 1
    expires_at: datetime | None = None

    def is_valid_at(self, at: datetime) -> bool:
        """Tell whether it may be used at an instant."""
        return self.expires_at is None or at < self.expires_at


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """One way an alias of a model leads: the lowest priority first, among equals in proportion to the weights."""

    provider: str
    model: str
    priority: int = 0
    weight: int = 1


def _patterns(texts: Iterable[str]) -> re.Pattern[str]:
    """Compile patterns in which `*` stands for anything."""
    return re.compile("|".join(".*".join(map(re.escape, text.lower().split("*"))) for text in texts), re.DOTALL)


class Reach:
    """What an access key may use through the gateway; None is everything."""

    __slots__ = ("_endpoints", "_mcp_servers", "_mcp_tools", "_models", "_providers")

    def __init__(
        self,
        providers: Iterable[str] | None = None,
        models: Iterable[str] | None = None,
        endpoints: Iterable[str] | None = None,
        mcp_servers: Iterable[str] | None = None,
        mcp_tools: Iterable[str] | None = None,
    ) -> None:
        self._providers = None if providers is None else frozenset(providers)
        self._models = None if models is None else _patterns(models)
        self._endpoints = None if endpoints is None else _patterns(endpoints)
        self._mcp_servers = None if mcp_servers is None else frozenset(mcp_servers)
        self._mcp_tools = None if mcp_tools is None else _patterns(mcp_tools)

    @property
    def names_models(self) -> bool:
        """Whether only certain models may be used."""
        return self._models is not None

    def allows(self, provider: str, path: str) -> bool:
        """Tell whether a provider's endpoint may be called; the path is the one below the provider's base URL."""
        if self._providers is not None and provider not in self._providers:
            return False
        return self._endpoints is None or self._endpoints.fullmatch(path.lower()) is not None

    def allows_model(self, model: str) -> bool:
        """Tell whether a model may be used, by the name it has at its provider."""
        return self._models is None or self._models.fullmatch(model.lower()) is not None

    def allows_server(self, server: str) -> bool:
        """Tell whether an MCP server may be used."""
        return self._mcp_servers is None or server in self._mcp_servers

    def allows_tool(self, server: str, tool: str) -> bool:
        """Tell whether a tool of an MCP server may be listed and called; patterns are of `server/tool`."""
        if not self.allows_server(server):
            return False
        return self._mcp_tools is None or self._mcp_tools.fullmatch(f"{server}/{tool}".lower()) is not None

    @property
    def names_tools(self) -> bool:
        """Whether only certain tools may be used."""
        return self._mcp_tools is not None


@dataclass(frozen=True, slots=True)
class GatewayTable:
    """All providers and credentials at one version. Never changed: a newer one replaces it whole."""

    version: int = 0
    providers: Mapping[tuple[UUID | None, str], ProviderEntry] = field(default_factory=lambda: MappingProxyType({}))
    """By organization (None: shared) and slug or alias."""
    credentials: Mapping[tuple[UUID, str], tuple[CredentialEntry, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """By organization and provider."""
    routes: Mapping[tuple[UUID, str], tuple[RouteEntry, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """By organization and alias, lowest priority first."""
    reaches: Mapping[UUID, Reach] = field(default_factory=lambda: MappingProxyType({}))
    """By access key, of those that may not use everything."""
    bodies: Mapping[UUID, BodyRule] = field(default_factory=lambda: MappingProxyType({}))
    """By organization, of those that want bodies kept."""
    mcp_servers: Mapping[tuple[UUID, str], McpServerEntry] = field(default_factory=lambda: MappingProxyType({}))
    """By organization and name, of those that are enabled."""

    def provider(self, organization_id: UUID, name: str) -> ProviderEntry | None:
        """Return a provider; a shared name goes before one of the organization's own, as in the price book."""
        return self.providers.get((None, name)) or self.providers.get((organization_id, name))
