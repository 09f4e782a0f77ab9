"""What we ask of a connection, so that drivers and pool proxies can be handed in alike."""

from __future__ import annotations

from typing import Any

# asyncpg's pool proxies have the methods of its connections without sharing a type with them.
SqlConnection = Any
