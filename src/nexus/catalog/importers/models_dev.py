"""Reads models.dev (MIT): its `api.json`, or its sources as a folder or archive of TOML files. USD for a million tokens."""

from __future__ import annotations

import io
import json
import tarfile
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from nexus.catalog.importers.files import amount_of, digest_of, read_bytes
from nexus.catalog.importers.types import (
    ImportedBook,
    ImportedComponent,
    ImportedModel,
    ImportedPrice,
    ImportedProvider,
    UnreadablePriceList,
)
from nexus.kit.errors import FieldFault

SOURCE = "models.dev"
PROVIDERS = {"xai": "x-ai", "amazon-bedrock": "aws", "togetherai": "together", "fireworks-ai": "fireworks"}
_UNITS = {
    "input": "input", "output": "output", "reasoning": "reasoning", "cache_read": "cached_input",
    "cache_write": "cache_write", "input_audio": "audio_input", "output_audio": "audio_output",
}  # fmt: skip
_POSITION = 2_000_000
_MEGA = 1_000_000


def read(path: Path) -> ImportedBook:
    """Read an `api.json`, a folder, or a tar archive (plain or compressed) of `providers/<id>/models/*.toml`."""
    if path.is_dir():
        files = [(item.relative_to(path).as_posix(), item.read_bytes()) for item in sorted(path.rglob("*.toml"))]
        digest = sha256(b"".join(name.encode() + content for name, content in files)).hexdigest()
        return _from_toml(path, files, digest)
    content = read_bytes(path)
    if content.lstrip()[:1] == b"{":
        try:
            document = json.loads(content, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            raise _refuse(path, f"it is no JSON: {error}") from error
        return _from_api(path, document, digest_of(content))
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            files = list(_members(archive))
    except tarfile.TarError as error:
        raise _refuse(path, "it is neither api.json nor an archive of models.dev's providers") from error
    return _from_toml(path, files, digest_of(content))


def _refuse(path: Path, message: str) -> UnreadablePriceList:
    return UnreadablePriceList(f"{path}: {message}", faults=[FieldFault("file", message)])


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        if member.isfile() and member.name.endswith(".toml"):
            file = archive.extractfile(member)
            if file is not None:
                yield member.name, file.read()


def _from_toml(path: Path, files: list[tuple[str, bytes]], digest: str) -> ImportedBook:
    book = ImportedBook(SOURCE, digest)
    providers: dict[str, dict[str, Any]] = {}
    for name, content in sorted(files):
        parts = PurePosixPath(name).parts
        if "providers" not in parts:
            continue
        inside = parts[parts.index("providers") + 1 :]
        try:
            raw = tomllib.loads(content.decode("utf-8"), parse_float=Decimal)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            book.skipped.append(f"{name}: {error}")
            continue
        if len(inside) == 2 and inside[1] == "provider.toml":
            providers.setdefault(inside[0], {"models": {}}).update(raw)
        elif len(inside) >= 3 and inside[1] == "models":
            model = "/".join(inside[2:]).removesuffix(".toml")
            providers.setdefault(inside[0], {"models": {}})["models"][model] = raw
    if not providers:
        raise _refuse(path, "it holds no providers/<id>/models/*.toml")
    _fill(book, providers)
    return book


def _from_api(path: Path, document: Any, digest: str) -> ImportedBook:
    book = ImportedBook(SOURCE, digest)
    providers = {
        name: item for name, item in document.items() if isinstance(item, dict) and isinstance(item.get("models"), dict)
    }
    if not providers:
        raise _refuse(path, "it holds no providers with models")
    _fill(book, providers)
    return book


def _fill(book: ImportedBook, providers: Mapping[str, Mapping[str, Any]]) -> None:
    for name, raw in sorted(providers.items()):
        slug = PROVIDERS.get(name, name).lower()[:63]
        found = False
        for model, entry in sorted(raw["models"].items()):
            if not isinstance(entry, dict):
                continue
            components = _components(book, f"{slug}/{model}", entry.get("cost"))
            if not components:
                continue
            found = True
            limit = entry.get("limit") if isinstance(entry.get("limit"), dict) else {}
            book.models.append(
                ImportedModel(
                    slug, model[:300], {"equals": model.lower()}, str(entry.get("name") or model),
                    _POSITION + len(book.models), _whole(limit, "context"), _whole(limit, "output"),
                    entry.get("status") == "deprecated",
                )
            )  # fmt: skip
            book.prices.append(ImportedPrice(slug, model[:300], components))
        if found:
            book.providers.append(
                ImportedProvider(slug, str(raw.get("name") or slug), website_url=_text(raw.get("doc")))
            )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _whole(limit: Mapping[str, Any] | None, key: str) -> int | None:
    value = (limit or {}).get(key)
    return value if isinstance(value, int) and 0 < value < 2**62 else None


def _components(book: ImportedBook, what: str, cost: object) -> tuple[ImportedComponent, ...]:
    if not isinstance(cost, Mapping):
        return ()
    found: dict[tuple[str, int], ImportedComponent] = {}

    def take(values: Mapping[str, Any], above: int) -> None:
        for key, value in values.items():
            unit = _UNITS.get(key)
            if unit is None:
                continue
            amount = amount_of(value)
            if amount is None:
                book.skipped.append(f"{what}: {key} is no amount: {str(value)[:40]}")
            else:
                found[unit, above] = ImportedComponent(unit, above, amount, _MEGA)

    take(cost, 0)
    over = cost.get("context_over_200k")
    if isinstance(over, Mapping):
        take(over, 200_000)
    for item in cost.get("tiers") or ():
        tier = item.get("tier") if isinstance(item, Mapping) else None
        if isinstance(tier, Mapping) and tier.get("type") == "context" and isinstance(tier.get("size"), int):
            take(item, tier["size"])
    return tuple(sorted(item for (unit, above), item in found.items() if not above or (unit, 0) in found))
