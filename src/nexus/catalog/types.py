"""What the catalog shows."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec


class Provider(msgspec.Struct, frozen=True):
    """Who sells an API."""

    id: UUID
    slug: str
    name: str
    description: str
    category: str
    status: str
    pricing_model: str
    base_url: str | None
    docs_url: str | None
    status_url: str | None
    website_url: str | None
    icon: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    auth_types: list[str]
    regions: list[str]
    metadata: dict[str, Any]
    source: str
    is_shared: bool


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint of a provider."""

    id: UUID
    provider: str
    method: str
    path_template: str
    name: str
    category: str
    expected_response_ms: int | None
    requests_per_minute: int | None
    is_deprecated: bool
    source: str
    is_shared: bool


class Model(msgspec.Struct, frozen=True):
    """One model of a provider."""

    id: UUID
    provider: str
    slug: str
    name: str
    description: str
    context_window: int | None
    max_output: int | None
    is_deprecated: bool
    source: str
    is_shared: bool


class PriceComponent(msgspec.Struct, frozen=True):
    """The amount asked for `per` of a unit, above a context of so many input tokens."""

    unit: str
    amount: str
    per: int
    context_above: int = 0


class Price(msgspec.Struct, frozen=True):
    """What a subject costs from one instant to another."""

    id: UUID
    provider: str
    model: str | None
    endpoint: str | None
    method: str | None
    tier: str
    region: str
    currency: str
    variant: dict[str, str]
    daily_from: str | None
    daily_to: str | None
    valid_from: datetime | None
    valid_to: datetime | None
    source: str
    import_id: UUID | None
    created_at: datetime
    superseded_at: datetime | None
    is_shared: bool
    components: list[PriceComponent]


class PriceConflict(msgspec.Struct, frozen=True):
    """Where another source says otherwise."""

    id: UUID
    price_id: UUID
    provider: str
    model: str | None
    in_force_source: str
    source: str
    in_force: list[PriceComponent]
    proposed: list[PriceComponent]
    resolution: str | None
    created_at: datetime


class ImportSummary(msgspec.Struct):
    """What an import did, or would do."""

    source: str
    digest: str
    providers_added: int = 0
    models_added: int = 0
    providers_changed: int = 0
    models_changed: int = 0
    prices_added: int = 0
    prices_changed: int = 0
    prices_unchanged: int = 0
    conflicts: int = 0
    new_conflicts: int = 0
    skipped: list[str] = []
    is_dry_run: bool = False

    @property
    def changes(self) -> int:
        """How many rows it changed."""
        added = self.providers_added + self.models_added + self.prices_added
        return added + self.providers_changed + self.models_changed + self.prices_changed + self.new_conflicts


class Import(msgspec.Struct, frozen=True):
    """One import that changed something."""

    id: UUID
    source: str
    digest: str
    imported_at: datetime
    imported_by: str
    summary: dict[str, Any]
