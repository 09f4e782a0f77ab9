"""What going to PostgreSQL may raise while it is away, or answers otherwise than it should."""

from __future__ import annotations

import asyncpg

DATABASE_TROUBLE = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, EOFError, TimeoutError)
"""For `except`: whoever can go on without the database catches these, and leaves faults of our own code alone."""
