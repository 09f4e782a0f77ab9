"""Reads LiteLLM's price list (`model_prices_and_context_window.json`, MIT): a flat map, USD for a single unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nexus.catalog.importers.files import amount_of, read_json
from nexus.catalog.importers.types import (
    ImportedBook,
    ImportedComponent,
    ImportedModel,
    ImportedPrice,
    ImportedProvider,
    UnreadablePriceList,
)
from nexus.kit.errors import FieldFault

SOURCE = "litellm"
# Where the list's name of a provider is another than the catalog's.
PROVIDERS = {
    "gemini": "google", "vertex_ai": "google", "bedrock": "aws", "bedrock_converse": "aws", "xai": "x-ai",
    "together_ai": "together", "fireworks_ai": "fireworks", "azure_ai": "azure", "text-completion-openai": "openai",
    "cohere_chat": "cohere",
}  # fmt: skip
_UNITS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "cache_read_input_audio_token_cost": "cached_audio_input",
    "output_cost_per_image": "images",
    "input_cost_per_character": "characters",
    "input_cost_per_second": "audio_seconds",
    "input_cost_per_query": "requests",
    "ocr_cost_per_page": "pages",
}
_ABOVE = re.compile(r"^(?P<key>.+)_above_(?P<thousands>\d+)k_tokens$")
_VARIANTS = {
    "_batches": ("processing", "batch"),
    "_flex": ("service_tier", "flex"),
    "_priority": ("service_tier", "priority"),
}
_POSITION = 1_000_000
"""These models are looked at after those of the list that has rules for names."""


def read(path: Path) -> ImportedBook:
    """Read the list; keys nobody knows are left alone, as it grows from release to release."""
    document, digest = read_json(path)
    if not isinstance(document, dict) or not any(
        isinstance(item, dict) and "litellm_provider" in item for item in document.values()
    ):
        message = "it is no map of models with litellm_provider"
        raise UnreadablePriceList(f"{path}: {message}", faults=[FieldFault("file", message)])
    book = ImportedBook(SOURCE, digest)
    providers: set[str] = set()
    seen: set[tuple[str, str]] = set()
    for key, raw in document.items():
        if key == "sample_spec" or not isinstance(raw, dict) or not isinstance(raw.get("litellm_provider"), str):
            continue
        provider, model = _names(key, raw["litellm_provider"])
        prices = _prices(book, provider, model, raw)
        if not prices or (provider, model) in seen:
            continue
        seen.add((provider, model))
        if provider not in providers:
            providers.add(provider)
            book.providers.append(ImportedProvider(provider, provider))
        book.models.append(
            ImportedModel(
                provider, model, {"equals": model.lower()}, model, _POSITION + len(book.models),
                _whole(raw.get("max_input_tokens")) or _whole(raw.get("max_tokens")), _whole(raw.get("max_output_tokens")),
                "deprecation_date" in raw,
            )
        )  # fmt: skip
        book.prices += prices
    return book


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**62 else None


def _names(key: str, raw_provider: str) -> tuple[str, str]:
    family = raw_provider.split("-", 1)[0] if raw_provider.startswith("vertex_ai") else raw_provider
    provider = re.sub(r"[^a-z0-9._-]", "-", PROVIDERS.get(family, family).lower())[:63].strip("-") or "unknown"
    prefix, slash, rest = key.partition("/")
    model = rest if slash and prefix.lower() in {raw_provider.lower(), family.lower(), provider} else key
    return provider, model[:300]


def _prices(book: ImportedBook, provider: str, model: str, raw: Mapping[str, Any]) -> list[ImportedPrice]:
    base: dict[tuple[str, int], ImportedComponent] = {}
    variants: dict[tuple[tuple[str, str], ...], dict[tuple[str, int], ImportedComponent]] = {}
    for key, value in raw.items():
        target, name, above = base, key, 0
        for suffix, when in _VARIANTS.items():
            if name.endswith(suffix):
                name = name.removesuffix(suffix)
                target = variants.setdefault((when,), {})
        step = _ABOVE.match(name)
        if step is not None:
            name, above = step["key"], int(step["thousands"]) * 1000
        unit = _UNITS.get(name)
        if unit is None or value is None:
            continue
        amount = amount_of(value)
        if amount is None:
            book.skipped.append(f"{provider}/{model}: {key} is no amount: {str(value)[:40]}")
            continue
        target[unit, above] = ImportedComponent(unit, above, amount, 1)
    context = raw.get("search_context_cost_per_query")
    if isinstance(context, Mapping):
        amount = amount_of(context.get("search_context_size_medium"))
        if amount is not None:
            base["web_searches", 0] = ImportedComponent("web_searches", 0, amount, 1)
    # A tier needs a base to start from.
    base = {key: item for key, item in base.items() if not key[1] or (key[0], 0) in base}
    found = [ImportedPrice(provider, model, tuple(sorted(base.values())))] if base else []
    found += [
        ImportedPrice(provider, model, tuple(sorted(parts.values())), when, number)
        for number, (when, parts) in enumerate(sorted(variants.items()))
        if parts and base
    ]
    return found
