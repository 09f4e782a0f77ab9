"""Looks for ways in which a login reaches another organization's rows. Everything is read from pg_catalog, nothing listed.

Each `*_leaks` returns sentences about what it found; an empty list means that the login is kept out.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from uuid import UUID

import asyncpg

OURS = "pg_get_userbyid(n.nspowner) = 'nexus_owner'"
ROLES = ("nexus_service", "nexus_writer", "nexus_readonly")
Marks = Callable[[str], set[str]]
"""Returns what a text holds of another organization."""


@dataclass(frozen=True)
class Column:
    """A column and its type, as PostgreSQL spells it."""

    name: str
    type: str
    is_generated: bool


@dataclass(frozen=True)
class Relation:
    """A table, a partition or a view of ours."""

    oid: int
    name: str
    kind: str
    is_partition: bool
    columns: tuple[Column, ...]

    @property
    def is_table(self) -> bool:
        """Whether it holds rows of its own, or those of its partitions."""
        return self.kind in {"r", "p"}

    @property
    def is_tenant(self) -> bool:
        """Whether its rows belong to organizations."""
        return any(column.name == "organization_id" for column in self.columns)


@dataclass(frozen=True)
class Function:
    """A function of ours that can be called."""

    oid: int
    name: str
    arguments: tuple[str, ...]
    is_definer: bool


async def relations(admin: asyncpg.Connection) -> list[Relation]:
    """Return every table, partition, view and materialized view of ours."""
    rows = await admin.fetch(
        f"""
        SELECT c.oid::bigint AS oid, format('%I.%I', n.nspname, c.relname) AS name, c.relkind::text AS kind,
               c.relispartition AS is_partition,
               array_agg(a.attname::text ORDER BY a.attnum) AS names,
               array_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum) AS types,
               array_agg(a.attgenerated <> '' OR a.attidentity <> '' ORDER BY a.attnum) AS generated
        FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE {OURS} AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        GROUP BY 1, 2, 3, 4 ORDER BY 2
        """
    )
    return [
        Relation(
            row["oid"], row["name"], row["kind"], row["is_partition"],
            tuple(Column(*item) for item in zip(row["names"], row["types"], row["generated"], strict=True)),
        )
        for row in rows
    ]  # fmt: skip


async def functions(admin: asyncpg.Connection, role: str) -> list[Function]:
    """Return every function of ours that a login may call by itself."""
    rows = await admin.fetch(
        f"""
        SELECT p.oid::bigint AS oid, format('%I.%I', n.nspname, p.proname) AS name, p.prosecdef AS definer,
               ARRAY(SELECT format_type(t.type, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS t (type, place)
                     ORDER BY t.place) AS arguments
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE {OURS} AND p.prokind = 'f' AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
          AND has_function_privilege($1, p.oid, 'EXECUTE')
        ORDER BY 2
        """,
        role,
    )
    return [Function(row["oid"], row["name"], tuple(row["arguments"]), row["definer"]) for row in rows]


async def columns_for(admin: asyncpg.Connection, role: str, relation: Relation, privilege: str) -> list[str]:
    """Return the columns that a login holds a privilege on."""
    rows = await admin.fetch(
        "SELECT name FROM unnest($3::text[]) AS name WHERE has_column_privilege($1, $2::oid, name, $4)",
        role, relation.oid, [column.name for column in relation.columns], privilege,
    )  # fmt: skip
    return [row["name"] for row in rows]


@asynccontextmanager
async def scope(connection: asyncpg.Connection, organization_id: UUID | None) -> AsyncIterator[None]:
    """Open a transaction for an organization, as each role says it, and roll it back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        value = str(organization_id) if organization_id else ""
        await connection.execute("SELECT set_config('app.organization_id', $1, true)", value)
        await connection.execute("SELECT set_config('app.organization_ids', $1, true)", value)
        yield
    finally:
        await transaction.rollback()


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


async def read_leaks(
    admin: asyncpg.Connection, connection: asyncpg.Connection, role: str, organization_id: UUID | None, foreign: Marks
) -> list[str]:
    """Read every column that the login may read, of everything but partitions; by query and by COPY."""
    found = []
    for relation in await relations(admin):
        names = await columns_for(admin, role, relation, "SELECT")
        if relation.is_partition or not names:
            continue
        async with scope(connection, organization_id):
            rows = await connection.fetch(
                f"SELECT to_jsonb(t)::text AS row FROM (SELECT {_quoted(names)} FROM {relation.name}) AS t"
            )
            if organization_id is None and "organization_id" in names:
                owned = await connection.fetchval(
                    f"SELECT count(*) FROM {relation.name} WHERE organization_id IS NOT NULL"
                )
                if owned:
                    found.append(f"{role} sees {owned} rows of {relation.name} with no organization set")
        seen = set().union(*(foreign(row["row"]) for row in rows)) if rows else set()
        if seen:
            found.append(f"{role} reads another's rows of {relation.name}: {sorted(seen)[:3]}")
        buffer = BytesIO()
        async with scope(connection, organization_id):
            await connection.copy_from_query(f"SELECT {_quoted(names)} FROM {relation.name}", output=buffer)
        if foreign(buffer.getvalue().decode()):
            found.append(f"{role} copies another's rows of {relation.name}")
    async with scope(connection, organization_id):
        statistics = await connection.fetch(
            "SELECT schemaname || '.' || tablename AS name, to_jsonb(s)::text AS row FROM pg_stats AS s"
        )
    told = {row["name"] for row in statistics if foreign(row["row"])}
    found += [f"{role} learns another's values from the planner's statistics of {name}" for name in sorted(told)]
    return found


async def _is_refused(connection: asyncpg.Connection, statement: str, *arguments: Any) -> str | None:
    """Run a statement that must be refused for want of privilege or by a policy; return what happened instead."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        done = await connection.execute(statement, *arguments)
    except asyncpg.InsufficientPrivilegeError:
        return None
    except asyncpg.PostgresError as error:
        return f"{statement[:80]}: {type(error).__name__}: {error}"
    finally:
        await transaction.rollback()
    return f"{statement[:80]}: {done}"


async def partition_leaks(admin: asyncpg.Connection, connection: asyncpg.Connection, role: str) -> list[str]:
    """Name each partition in each kind of statement: partitions inherit no policies, so none may be named at all."""
    found = []
    for relation in await relations(admin):
        if not relation.is_partition:
            continue
        first = f'"{relation.columns[0].name}"'
        for statement in (
            f"SELECT 1 FROM {relation.name}",
            f"COPY {relation.name} TO STDOUT",
            f"INSERT INTO {relation.name} DEFAULT VALUES",
            f"UPDATE {relation.name} SET {first} = {first}",
            f"DELETE FROM {relation.name}",
            f"TRUNCATE {relation.name}",
            f"LOCK TABLE {relation.name} IN ACCESS SHARE MODE",
        ):
            happened = await _is_refused(connection, statement)
            if happened is not None:
                found.append(f"{role}: {happened}")
    return found


async def write_leaks(
    admin: asyncpg.Connection, connection: asyncpg.Connection, role: str, mine: UUID, other: UUID
) -> list[str]:
    """Try to change, delete, take over, give away and add rows of the other organization, table by table."""
    found = []
    for relation in await relations(admin):
        if relation.is_partition or not relation.is_table:
            continue
        key = "organization_id" if relation.is_tenant else "id" if relation.name == "identity.organizations" else None
        happened = await _is_refused(connection, f"TRUNCATE {relation.name}")
        if happened is not None:
            found.append(f"{role}: {happened}")
        if key is None:
            continue
        updatable = await columns_for(admin, role, relation, "UPDATE")
        if updatable:
            same = f'"{updatable[0]}"'
            async with scope(connection, mine):
                for statement in (
                    f"UPDATE {relation.name} SET {same} = {same} WHERE {key} = '{other}'",
                    # Without a condition only the policy decides.
                    f"UPDATE {relation.name} SET {same} = {same} WHERE {key} IS DISTINCT FROM '{mine}'",
                ):
                    done = await connection.execute(statement)
                    if done != "UPDATE 0":
                        found.append(f"{role} changes another's rows of {relation.name}: {done}")
        if key in updatable:
            async with scope(connection, mine):
                give = f"UPDATE {relation.name} SET {key} = '{other}' WHERE {key} = '{mine}'"
                happened = await _is_refused(connection, give)
                if happened is not None:
                    found.append(f"{role} gives rows away: {happened}")
        if await admin.fetchval("SELECT has_table_privilege($1, $2::oid, 'DELETE')", role, relation.oid):
            async with scope(connection, mine):
                done = await connection.execute(f"DELETE FROM {relation.name} WHERE {key} IS DISTINCT FROM '{mine}'")
                if done != "DELETE 0":
                    found.append(f"{role} deletes another's rows of {relation.name}: {done}")
        generated = {column.name for column in relation.columns if column.is_generated}
        insertable = [name for name in await columns_for(admin, role, relation, "INSERT") if name not in generated]
        if key in insertable:
            row = await admin.fetchval(
                f"SELECT to_jsonb(t)::text FROM {relation.name} AS t WHERE {key} = $1 LIMIT 1", other
            )
            assert row is not None, f"{relation.name} holds no row of the other organization"
            names = _quoted(insertable)
            async with scope(connection, mine):
                happened = await _is_refused(
                    connection,
                    f"INSERT INTO {relation.name} ({names}) SELECT {names}"
                    f" FROM jsonb_populate_record(NULL::{relation.name}, $1::text::jsonb)",
                    row,
                )
                if happened is not None:
                    found.append(f"{role} adds rows for another: {happened}")
    return found


def _candidates(kind: str, other: UUID, texts: list[str]) -> list[Any]:
    now = datetime.now(UTC)
    known: dict[str, list[Any]] = {
        "uuid": [other], "uuid[]": [[other]], "text": texts, "text[]": [texts], "jsonb": [f'{{"organization_id": "{other}"}}'],
        "json": ["{}"], "integer": [1], "smallint": [1], "bigint": [1], "boolean": [True], "numeric": [1],
        "double precision": [1.0], "timestamp with time zone": [now], "date": [now.date()], "bytea": [b""],
        "integer[]": [[1]], "bigint[]": [[1]], "interval": [now - now],
    }  # fmt: skip
    return known.get(kind, [None])


async def function_leaks(
    admin: asyncpg.Connection,
    connection: asyncpg.Connection,
    role: str,
    mine: UUID | None,
    other: UUID,
    texts: list[str],
    foreign: Marks,
) -> list[str]:
    """Call every function the login may call, with the other organization's id wherever an id fits, and read the answer.

    What a function writes is committed, so that whoever compares the other's rows afterwards sees it.
    """
    found = []
    for function in await functions(admin, role):
        choices = [_candidates(kind, other, texts) for kind in function.arguments]
        for arguments in itertools.islice(itertools.product(*choices), 50):
            given = ", ".join(f"${place}::{kind}" for place, kind in enumerate(function.arguments, 1))
            try:
                async with connection.transaction():
                    value = str(mine) if mine else ""
                    await connection.execute("SELECT set_config('app.organization_id', $1, true)", value)
                    await connection.execute("SELECT set_config('app.organization_ids', $1, true)", value)
                    rows = await connection.fetch(
                        f"SELECT to_jsonb(t)::text AS row FROM {function.name}({given}) AS t", *arguments
                    )
            except asyncpg.PostgresError:
                continue
            echoed = foreign(" ".join(str(item) for item in arguments))
            seen = set().union(*(foreign(row["row"] or "") for row in rows)) - echoed if rows else set()
            if seen:
                found.append(f"{role} reads another's rows from {function.name}: {sorted(seen)[:3]}")
    return found
