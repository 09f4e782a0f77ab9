"""Bodies of gateway calls: what an organization wants kept of them, and the form in which they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Literal
from uuid import UUID

import msgspec
from backports import zstd

SIDES = ("request", "response")
Mask = Literal["email", "phone", "card", "iban", "ip"]
MASKS: tuple[Mask, ...] = ("email", "phone", "card", "iban", "ip")
"""What is masked unless an organization switches it off; secrets always are."""
MIN_BODY_BYTES = 1024
MAX_BODY_BYTES = 1024 * 1024
MAX_KEEP_DAYS = 90
MAX_NAMES = 100
"""Field names, and words, that an organization may list."""

_LEVEL = 3
_MOST_TEXT_BYTES = 8 * MAX_BODY_BYTES


@dataclass(frozen=True, slots=True)
class BodyRule:
    """What an organization that turned it on wants kept of its calls' bodies."""

    share: float = 1.0
    """The part of the calls whose bodies are kept, 0 to 1."""
    max_bytes: int = 64 * 1024
    """Of each body, unpacked."""
    only_failed: bool = False
    providers: frozenset[str] | None = None
    """None: all."""
    masks: frozenset[str] = frozenset(MASKS)
    fields: frozenset[str] = frozenset()
    """Names of fields whose values are masked, lower case."""
    words: tuple[str, ...] = ()

    def wants(self, call_id: UUID, provider: str) -> bool:
        """Tell whether the bodies of a call are to be kept, as far as can be said when it begins."""
        return (self.providers is None or provider in self.providers) and is_sampled(call_id, self.share)


class StoredBody(msgspec.Struct, frozen=True):
    """One side of a call's bodies as it is stored; the fields are the columns, in their order."""

    organization_id: UUID
    key_at: datetime
    call_id: UUID
    side: str
    state: str
    media_type: str
    size_bytes: int
    is_cut: bool
    masked: Mapping[str, int]
    sealed: bytes | None


def is_sampled(call_id: UUID, share: float) -> bool:
    """Tell whether a call belongs to a sample. The same for all who ask; a larger share holds the smaller one."""
    number = int.from_bytes(blake2b(call_id.bytes, digest_size=8).digest())
    return number < share * 2**64


def body_context(organization_id: UUID, call_id: UUID, side: str) -> bytes:
    """Return what a sealed body is bound to, so that it opens in its own row only."""
    return b"call body" + organization_id.bytes + call_id.bytes + side.encode()


def pack(text: str) -> bytes:
    """Compress a body's text before it is sealed."""
    return zstd.compress(text.encode(), _LEVEL)


def unpack(packed: bytes) -> str:
    """Return the text of a packed body. `ValueError` for one that is damaged, or larger than any we store."""
    unpacker = zstd.ZstdDecompressor()
    try:
        plain = unpacker.decompress(packed, _MOST_TEXT_BYTES)
    except zstd.ZstdError as error:
        raise ValueError("the body is damaged") from error
    if not unpacker.eof:
        raise ValueError("the body is larger than any that is stored")
    return plain.decode("utf-8", "replace")
