"""Makes the roles and the database: what `nexus db init` and the embedded server's first start do, as administrator.

Re-runnable: what is there is brought to the state described here, passwords included.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from nexus.kit.errors import Unavailable
from nexus.platform.db.pool_types import SqlConnection
from nexus.platform.db.secrets import DATABASE_NAME, ROLES

LOGIN_LIMITS = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"


class DatabaseNotInitialised(Unavailable):
    """The database cannot be made ready."""

    code = "database_not_initialised"


@dataclass(frozen=True)
class InitReport:
    """What `initialise` did."""

    created_roles: tuple[str, ...]
    created_database: bool
    warnings: tuple[str, ...]


def url_for(admin_url: str, *, role: str, password: str, database: str) -> str:
    """Derive the URL of a role from the administrator's: the same server, another login and database."""
    parts = urlsplit(admin_url)
    place = parts.netloc.rsplit("@", 1)[-1]
    login = f"{role}:{quote(password, safe='')}@{place}"
    return urlunsplit((parts.scheme, login, f"/{database}", parts.query, ""))


def _literal(text: str) -> str:
    if "\x00" in text:
        raise ValueError("a password cannot hold a NUL")
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


async def initialise(admin: SqlConnection, passwords: dict[str, str], *, database: str = DATABASE_NAME) -> InitReport:
    """Make the six roles and the database, as a superuser or a CREATEROLE login.

    nexus_owner becomes a member of nexus_system without inheriting from it: that lets it hand functions over to
    nexus_system, and no more.
    """
    warnings: list[str] = []
    created: list[str] = []
    is_superuser: bool = await admin.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    existing = {
        row["rolname"] for row in await admin.fetch("SELECT rolname FROM pg_roles WHERE rolname LIKE 'nexus\\_%'")
    }
    for role in ROLES:
        bypass = "BYPASSRLS" if role == "nexus_backup" else "NOBYPASSRLS"
        if role not in existing:
            await admin.execute(f"CREATE ROLE {role} LOGIN")
            created.append(role)
        attributes = f"LOGIN {'INHERIT' if role != 'nexus_owner' else 'NOINHERIT'} PASSWORD {_literal(passwords[role])}"
        if is_superuser:
            await admin.execute(f"ALTER ROLE {role} {attributes} {LOGIN_LIMITS} {bypass}")
        else:
            await admin.execute(f"ALTER ROLE {role} {attributes}")
            if role == "nexus_backup":
                warnings.append(
                    "nexus_backup has no BYPASSRLS, as this login may not give it: run "
                    "ALTER ROLE nexus_backup BYPASSRLS as a superuser, or back up by another way"
                )
    await admin.execute("GRANT nexus_system TO nexus_owner")
    try:
        # Allowed to read every table without a grant on any, partitions included.
        await admin.execute("GRANT pg_read_all_data TO nexus_backup")
    except asyncpg.InsufficientPrivilegeError:
        warnings.append("nexus_backup may read nothing yet: run GRANT pg_read_all_data TO nexus_backup as a superuser")
    made = not await admin.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database)
    if made:
        if not is_superuser:
            await admin.execute("GRANT nexus_owner TO CURRENT_USER")
        await admin.execute(f"CREATE DATABASE {database} OWNER nexus_owner TEMPLATE template0 ENCODING 'UTF8'")
    await admin.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    for role in ROLES[1:]:
        await admin.execute(f"GRANT CONNECT ON DATABASE {database} TO {role}")
    for role in ("nexus_writer", "nexus_system"):
        await admin.execute(f"GRANT TEMPORARY ON DATABASE {database} TO {role}")
    return InitReport(tuple(created), made, tuple(warnings))
