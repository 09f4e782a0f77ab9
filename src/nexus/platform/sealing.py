"""Seals secrets for storage: AES-256-GCM under a key derived from NEXUS_SECRET_KEY, bound to where they are kept.

A sealed secret is `form (1 byte), key's name (4), nonce (12), ciphertext with tag`. Several keys may be in force, newest
first: what an older one sealed opens until it has been sealed again (rotation).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from nexus.kit.errors import NexusError

_FORM = b"\x01"
_NAME_BYTES = 4
_NONCE_BYTES = 12
_HEAD_BYTES = len(_FORM) + _NAME_BYTES + _NONCE_BYTES


class CannotOpen(NexusError):
    """A stored secret cannot be opened: it was sealed under a key that NEXUS_SECRET_KEY does not list, or was changed."""

    code = "cannot_open_secret"
    status = 500


class Sealer:
    """Seals under the newest key, opens under any."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ValueError("at least one key is needed")
        self._ciphers: dict[bytes, AESGCM] = {}
        names: list[bytes] = []
        for text in keys:
            material = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"nexus sealing 1").derive(text.encode())
            name = sha256(b"name" + material).digest()[:_NAME_BYTES]
            names.append(name)
            self._ciphers.setdefault(name, AESGCM(material))
        self._newest = names[0]

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Seal a secret; only the same context opens it again."""
        nonce = os.urandom(_NONCE_BYTES)
        return _FORM + self._newest + nonce + self._ciphers[self._newest].encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Open a secret; `CannotOpen` when no known key does, or the context is another."""
        cipher = self._ciphers.get(sealed[1 : 1 + _NAME_BYTES])
        if sealed[:1] != _FORM or cipher is None:
            raise CannotOpen
        try:
            return cipher.decrypt(sealed[1 + _NAME_BYTES : _HEAD_BYTES], sealed[_HEAD_BYTES:], context)
        except InvalidTag:
            raise CannotOpen from None

    def is_current(self, sealed: bytes) -> bool:
        """Tell whether a secret is sealed under the newest key."""
        return sealed[1 : 1 + _NAME_BYTES] == self._newest
