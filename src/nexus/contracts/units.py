"""What can be priced: token classes and other units, and which of them contain which.

A unit is a set of dimensions (family, direction, modality, …); it contains every unit that has its dimensions and more.
Cached input is contained in input, reasoning in output, as the OpenTelemetry conventions count them. The dimensions, and
the sizes that list prices are given for, follow the unit registry of `genai-prices` (MIT licence, 0.2.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

Dimensions = frozenset[tuple[str, str]]


def _dimensions(**values: str) -> Dimensions:
    return frozenset(values.items())


_MODALITIES = ("text", "audio", "image", "video")
# Names of ours for the classes a record has fields for; the rest keeps the registry's names.
_OUR_NAMES = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_tokens": "cached_input",
    "cache_write_tokens": "cache_write",
    "cache_write_5m_tokens": "cache_write_5m",
    "cache_write_1h_tokens": "cache_write_1h",
    "output_reasoning_tokens": "reasoning",
    "input_audio_tokens": "audio_input",
    "output_audio_tokens": "audio_output",
    "input_image_tokens": "image_input",
    "output_image_tokens": "image_output",
    "cache_audio_read_tokens": "cached_audio_input",
}


def _registry() -> dict[str, tuple[str, int, Dimensions]]:
    """Every unit by the registry's usage key: name of its price, the count the price is for, dimensions."""
    units: dict[str, tuple[str, int, Dimensions]] = {}
    mega = 1_000_000

    def tokens(stem: str, **dimensions: str) -> None:
        units[f"{stem}_tokens"] = (f"{stem}_mtok", mega, _dimensions(family="tokens", **dimensions))

    for direction in ("input", "output"):
        tokens(direction, direction=direction)
        for modality in _MODALITIES:
            tokens(f"{direction}_{modality}", direction=direction, modality=modality)
    for modality in ("", *_MODALITIES):
        more = {"modality": modality} if modality else {}
        infix = f"_{modality}" if modality else ""
        tokens(f"cache{infix}_read", direction="input", token_type="cache_read", **more)
        tokens(f"cache{infix}_write", direction="input", token_type="cache_write", **more)
        for ttl in ("5m", "1h"):
            tokens(f"cache{infix}_write_{ttl}", direction="input", token_type="cache_write", cache_ttl=ttl, **more)
        tokens(f"input{infix}_tool", direction="input", token_type="tool", **more)
        for kind in ("reasoning", "citation"):
            tokens(f"output{infix}_{kind}", direction="output", token_type=kind, **more)
    units["input_characters"] = ("input_mchars", mega, _dimensions(family="characters", direction="input"))
    units["input_text_messages"] = (
        "input_text_messages_kcount",
        1000,
        _dimensions(family="messages", direction="input", modality="text"),
    )
    units["audio_seconds"] = ("audio_hours", 3600, _dimensions(family="durations", modality="audio"))
    for direction in ("input", "output"):
        units[f"{direction}_audio_seconds"] = (
            f"{direction}_audio_hours",
            3600,
            _dimensions(family="durations", direction=direction, modality="audio"),
        )
    units["input_pixels"] = ("input_gpixels", 10**9, _dimensions(family="pixels", direction="input"))
    pages = {"family": "document_pages", "direction": "input"}
    units["input_document_pages"] = ("input_document_kpages", 1000, _dimensions(**pages))
    units["input_annotated_document_pages"] = (
        "input_annotated_document_kpages",
        1000,
        _dimensions(page_type="annotated", **pages),
    )
    units["rerank_searches"] = ("rerank_searches_kcount", 1000, _dimensions(family="rerank"))
    for name in ("web_search", "social_search", "storage_search", "code_execution"):
        plural = f"{name}es" if name.endswith("search") else f"{name}s"
        units[plural] = (f"{plural}_kcount", 1000, _dimensions(family="tool_calls", tool_type=name))
    units["requests"] = ("requests_kcount", 1000, _dimensions(family="requests"))
    return units


_UNITS = _registry()
DIMENSIONS: Mapping[str, Dimensions] = MappingProxyType(
    {
        **{_OUR_NAMES.get(key, key): dimensions for key, (_, _, dimensions) in _UNITS.items()},
        "images": _dimensions(family="images"),
        "characters": _dimensions(family="characters"),
        "pages": _dimensions(family="pages"),
        "video_seconds": _dimensions(family="durations", modality="video"),
    }
)
"""Every unit by name, with its dimensions."""

PRICE_KEYS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {price_key: (_OUR_NAMES.get(key, key), per) for key, (price_key, per, _) in _UNITS.items()}
)
"""Price keys of `genai-prices`: the unit each prices, and the count its amount is for."""

USAGE_KEYS: Mapping[str, str] = MappingProxyType({key: _OUR_NAMES.get(key, key) for key in _UNITS})
"""Usage keys of `genai-prices`, by our name of the unit."""


def dimensions_of(unit: str) -> Dimensions:
    """Return a unit's dimensions; a unit nobody knows stands alone."""
    return DIMENSIONS.get(unit) or _dimensions(unit=unit)


def contains(whole: str, part: str) -> bool:
    """Tell whether a unit's count includes another's."""
    return whole != part and dimensions_of(whole) < dimensions_of(part)
