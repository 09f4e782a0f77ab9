"""SQL is source: finds the authored files, puts them in order and applies them as the owner.

A file of schema begins with `-- schema.name: purpose` and may say `-- requires: schema.other, …` in its second line. A
file of queries holds blocks that begin with `-- query: name`, with `-- role: nexus_…` below where the role is not the
service's.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType

from nexus.platform.db.pool_types import SqlConnection

_HEADER = re.compile(r"--\s*([a-z_]+\.[a-z_0-9]+):\s*(.+)")
_REQUIRES = re.compile(r"--\s*requires:\s*(.*)")
_QUERY = re.compile(r"^--\s*query:\s*([a-z_0-9]+)[^\n]*\n", re.MULTILINE)
_ROLE = re.compile(r"^--\s*role:\s*([a-z_]+)\s*$", re.MULTILINE)
READING_ROLES = ("nexus_service", "nexus_writer", "nexus_system", "nexus_readonly", "nexus_backup")


class SchemaSourceError(Exception):
    """A file of SQL does not keep to the form."""


@dataclass(frozen=True)
class SchemaFile:
    """One authored file: a table with all that belongs to it, or a function."""

    name: str
    purpose: str
    requires: tuple[str, ...]
    sql: str
    path: str

    @property
    def schema(self) -> str:
        """The PostgreSQL schema, which is the slice's name."""
        return self.name.split(".", 1)[0]


@dataclass(frozen=True)
class Query:
    """One named query and the role that runs it."""

    name: str
    sql: str
    role: str
    package: str


def _slices() -> list[tuple[str, Traversable]]:
    root = importlib.resources.files("nexus")
    found: list[tuple[str, Traversable]] = []
    for slice_ in sorted(root.iterdir(), key=lambda item: item.name):
        if not slice_.is_dir() or slice_.name.startswith(("_", ".")):
            continue
        folder = slice_ / "db" / "sql" if slice_.name == "platform" else slice_ / "sql"
        if folder.is_dir():
            found.append((slice_.name, folder))
    return found


@cache
def schema_files() -> tuple[SchemaFile, ...]:
    """Return every file of schema in an order in which each finds what it requires."""
    files: dict[str, SchemaFile] = {}
    for slice_, folder in _slices():
        for entry in sorted(folder.iterdir(), key=lambda item: item.name):
            if not entry.name.endswith(".sql") or entry.name.endswith("_queries.sql"):
                continue
            text = entry.read_text("utf-8")
            lines = text.splitlines()
            header = _HEADER.match(lines[0]) if lines else None
            if header is None:
                raise SchemaSourceError(f"{slice_}/{entry.name} must begin with '-- schema.name: purpose'")
            required = _REQUIRES.match(lines[1]) if len(lines) > 1 else None
            names = tuple(part.strip() for part in required.group(1).split(",") if part.strip()) if required else ()
            name = header.group(1)
            if name in files:
                raise SchemaSourceError(f"{name} is made in two files")
            files[name] = SchemaFile(name, header.group(2), names, text, f"{slice_}/{entry.name}")
    for file in files.values():
        for name in file.requires:
            if name not in files:
                raise SchemaSourceError(f"{file.path} requires {name}, which no file makes")
    # Sorted input makes the order the same on every machine.
    sorter = TopologicalSorter({name: sorted(files[name].requires) for name in sorted(files)})
    return tuple(files[name] for name in sorter.static_order())


def schema_names(files: Sequence[SchemaFile] | None = None) -> list[str]:
    """Return the PostgreSQL schemas in use."""
    return sorted({file.schema for file in files or schema_files()})


def schema_sql() -> str:
    """Return the whole schema as one script for the owner of an empty database."""
    names = schema_names()
    # An owner of a function must be able to create in its schema at the moment it becomes the owner.
    parts = [
        f"CREATE SCHEMA {name};\n"
        + "".join(f"GRANT USAGE ON SCHEMA {name} TO {role};\n" for role in READING_ROLES)
        + f"GRANT CREATE ON SCHEMA {name} TO nexus_system;\n"
        for name in names
    ]
    parts += [file.sql.rstrip() + "\n" for file in schema_files()]
    parts += [f"REVOKE CREATE ON SCHEMA {name} FROM nexus_system;\n" for name in names]
    return "\n".join(parts)


async def apply_schema(connection: SqlConnection) -> None:
    """Make the whole schema in an empty database, as the owner, in one transaction."""
    async with connection.transaction():
        await connection.execute("SET LOCAL check_function_bodies = off")
        await connection.execute(schema_sql())


def _parse_queries(text: str, package: str) -> dict[str, Query]:
    parts = _QUERY.split(text)
    queries: dict[str, Query] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        role = _ROLE.search(body)
        if name in queries:
            raise SchemaSourceError(f"{package} has two queries of the name {name}")
        queries[name] = Query(name, body.strip().rstrip(";"), role.group(1) if role else "nexus_service", package)
    return queries


@cache
def _package_queries(package: str) -> Mapping[str, Query]:
    folder = importlib.resources.files(package) / "sql"
    queries: dict[str, Query] = {}
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.name.endswith("_queries.sql"):
            for name, query in _parse_queries(entry.read_text("utf-8"), package).items():
                if name in queries:
                    raise SchemaSourceError(f"{package} has two queries of the name {name}")
                queries[name] = query
    return MappingProxyType(queries)


def load_queries(package: str) -> Mapping[str, str]:
    """Return the named queries of a slice, as `QUERIES = load_queries(__package__)`."""
    return MappingProxyType({name: query.sql for name, query in _package_queries(package).items()})


def all_queries() -> list[Query]:
    """Return every named query of the product, for the test that prepares each."""
    packages = [f"nexus.{name}" if name != "platform" else "nexus.platform.db" for name, _ in _slices()]
    return [query for package in packages for query in _package_queries(package).values()]


def package_path() -> Path:
    """Return where the product's sources are."""
    return Path(str(importlib.resources.files("nexus")))
