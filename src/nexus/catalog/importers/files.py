"""Reads files as they come: plain, gzip or zstd, JSON with exact numbers."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from nexus.catalog.importers.types import UnreadablePriceList
from nexus.kit.errors import FieldFault

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_BYTES = 512 * 2**20


def _refuse(path: Path, message: str) -> UnreadablePriceList:
    return UnreadablePriceList(f"{path}: {message}", faults=[FieldFault("file", message)])


def read_bytes(path: Path) -> bytes:
    """Return a file's content, decompressed where it is compressed; `UnreadablePriceList` says what is wrong."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _refuse(path, error.strerror or "it cannot be read") from error
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        elif content.startswith(b"\x28\xb5\x2f\xfd"):
            content = zstd.decompress(content)
    except (OSError, EOFError, zlib.error, zstd.ZstdError) as error:
        raise _refuse(path, f"it is damaged: {error}") from error
    if len(content) > MAX_BYTES:
        raise _refuse(path, "it is larger than 512 MiB")
    return content


def digest_of(content: bytes) -> str:
    """Return what tells this content from any other."""
    return sha256(content).hexdigest()


def read_json(path: Path) -> tuple[Any, str]:
    """Return a JSON document with exact numbers, and the content's digest."""
    content = read_bytes(path)
    try:
        return json.loads(content, parse_float=Decimal, parse_int=int, parse_constant=_no_constant), digest_of(content)
    except (ValueError, RecursionError) as error:
        raise _refuse(path, f"it is no JSON: {error}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of a price")


def amount_of(value: object) -> Decimal | None:
    """Return a price's amount; None where it is no finite number of zero or more."""
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        return None
    try:
        amount = Decimal(value)
    except ArithmeticError:
        return None
    if not amount.is_finite() or not 0 <= amount < Decimal("1e12"):
        return None
    # Some lists were written from floats; what lies behind the fifteenth place is their noise.
    return round(amount, 15).normalize()
