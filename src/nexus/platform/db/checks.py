"""Looks whether the database keeps to the rules of roles and tenants; start-up refuses to serve when it does not."""

from __future__ import annotations

from dataclasses import dataclass

from nexus.kit.errors import Unavailable
from nexus.platform.db.pool import Database
from nexus.platform.db.pool_types import SqlConnection
from nexus.platform.db.schema import load_queries

_SQL = load_queries("nexus.platform.db")
SUPPORTED_VERSIONS = range(15, 19)


class UnsafeDatabase(Unavailable):
    """The database would not keep tenants apart, so Nexus does not serve from it."""

    code = "unsafe_database"


@dataclass(frozen=True)
class Fault:
    """What is wrong, and how to mend it."""

    what: str
    remedy: str


async def role_faults(connection: SqlConnection) -> list[Fault]:
    """Check the login of this connection: no superuser, no BYPASSRLS, no owner of tables nor member of one."""
    row = await connection.fetchrow(_SQL["check_role"])
    name = row["name"]
    faults: list[Fault] = []
    if row["is_superuser"]:
        faults.append(Fault(f"{name} is a superuser", f"log in as a role of its own, or ALTER ROLE {name} NOSUPERUSER"))
    if row["bypasses"]:
        faults.append(Fault(f"{name} bypasses row-level security", f"ALTER ROLE {name} NOBYPASSRLS"))
    if row["owned"]:
        faults.append(
            Fault(
                f"{name} owns {row['owned']} or is a member of a role that does",
                f"ALTER TABLE … OWNER TO nexus_owner, and REVOKE that role FROM {name}",
            )
        )
    return faults


async def schema_faults(connection: SqlConnection) -> list[Fault]:
    """Check the tables: forced row-level security and a policy on every tenant table, no grant on a partition."""
    faults: list[Fault] = []
    for row in await connection.fetch(_SQL["check_tenant_tables"]):
        if not row["enabled"] or not row["forced"]:
            faults.append(
                Fault(
                    f"{row['name']} does not force row-level security",
                    f"ALTER TABLE {row['name']} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
                )
            )
        elif not row["policies"]:
            faults.append(Fault(f"{row['name']} has no policy", "run `nexus db migrate`, or make the policy again"))
    faults += [
        Fault(
            f"{row['grantee']} was granted {row['privileges']} on the partition {row['name']}",
            f"REVOKE ALL ON {row['name']} FROM {row['grantee']}",
        )
        for row in await connection.fetch(_SQL["check_partition_grants"])
    ]
    version = int(await connection.fetchval("SELECT current_setting('server_version_num')::int / 10000"))
    if version not in SUPPORTED_VERSIONS:
        faults.append(Fault(f"PostgreSQL {version} is not supported", "use PostgreSQL 15, 16, 17 or 18"))
    return faults


async def database_faults(database: Database) -> list[Fault]:
    """Check all that start-up asks for, as the service's own logins."""
    faults: list[Fault] = []
    for role in ("service", "writer"):
        pool = await database.pool(role)
        async with pool.acquire() as connection, connection.transaction(readonly=True):
            faults += await role_faults(connection)
            if role == "service":
                faults += await schema_faults(connection)
    return faults


async def refuse_unsafe(database: Database) -> None:
    """Raise `UnsafeDatabase`, with every remedy, unless the database keeps tenants apart."""
    faults = await database_faults(database)
    if faults:
        raise UnsafeDatabase("; ".join(f"{fault.what}: {fault.remedy}" for fault in faults))
