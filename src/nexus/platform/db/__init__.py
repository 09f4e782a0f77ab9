"""The way to PostgreSQL: pools by role, transactions of one organization, schema, partitions, audit, configuration.

Vocabulary. *Owner*: the login that owns every object and migrates. *Service*: the login of web and control plane, one
organization per transaction. *Writer*: the login that stores records of many organizations. *System*: the login of the
few paths that see all tenants.
"""

from nexus.platform.db.pool import (
    SYSTEM_ACTOR,
    Actor,
    Connection,
    Database,
    DatabaseUrls,
    open_database,
)
from nexus.platform.db.schema import load_queries
from nexus.platform.db.trouble import DATABASE_TROUBLE

__all__ = [
    "DATABASE_TROUBLE",
    "SYSTEM_ACTOR",
    "Actor",
    "Connection",
    "Database",
    "DatabaseUrls",
    "load_queries",
    "open_database",
]
