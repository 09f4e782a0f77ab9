"""MCP servers that an organization offers through the gateway: how they are reached, with which secret, and at what price.

A secret goes in and never comes out: the gateway opens it in memory, from its snapshot. A server with a command is a program
that Nexus starts on its own machine, as its own user. So defining one is the operator's: it takes the permission
`mcp_server:run`, which no role of an organization has, and the setting NEXUS_MCP_COMMANDS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from nexus.contracts.mcp_servers import AUTH_FORMS, HTTP, STDIO, TRANSPORTS, server_context
from nexus.kit.errors import Conflict, FieldFault, Forbidden, InvalidRequest, NotFound
from nexus.kit.ids import uuid7
from nexus.kit.money import parse_decimal
from nexus.platform.db import Connection, load_queries
from nexus.platform.sealing import CannotOpen, Sealer

QUERIES = load_queries("nexus.mcp")
MAX_SECRET_CHARS = 8_192
MAX_VARIABLES = 50
MAX_TOOL_PRICES = 500
MAX_PRICE = Decimal(1_000_000)
_PREFIX_LENGTH = 8
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_URL = re.compile(r"https?://[^/?#@\s]+(/[^?#\s]*)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_RESERVED = frozenset({"PATH", "HOME", "LANG", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT"})


class UnknownMcpServer(NotFound):
    """There is no such MCP server in this organization."""

    code = "unknown_mcp_server"


class McpServerExists(Conflict):
    """The organization has an MCP server of this name already."""

    code = "mcp_server_exists"


class ProgramsOff(Forbidden):
    """Nexus starts no programs on this machine: the operator may allow it with NEXUS_MCP_COMMANDS=on."""

    code = "mcp_commands_off"


class McpServer(msgspec.Struct):
    """An MCP server as it may be seen: not its secret, and of its variables the names only."""

    id: UUID
    name: str
    description: str
    transport: str
    url: str | None
    command: list[str] | None
    auth_form: str
    prefix: str
    """The secret's beginning, to recognise it; empty where there is none."""
    variables: list[str]
    timeout_seconds: int
    price: str | None
    """Of one tool call, in the organization's currency."""
    tool_prices: dict[str, str]
    is_enabled: bool
    created_at: datetime
    updated_at: datetime


def _server(record: Any) -> McpServer:
    return msgspec.convert(dict(record), McpServer)


def _faults(values: Mapping[str, Any], transport: str) -> list[FieldFault]:
    """Return what is wrong with the fields that are given."""
    faults: list[FieldFault] = []

    def expect(ok: bool, name: str, message: str) -> None:
        if not ok:
            faults.append(FieldFault(name, message))

    name, url, command = values.get("name"), values.get("url"), values.get("command")
    form, secret, environment = values.get("auth_form"), values.get("secret"), values.get("environment")
    if name is not None:
        expect(_NAME.fullmatch(name) is not None, "name", "give up to 40 of a-z, 0-9 and hyphens, such as `files`")
    if transport == STDIO:
        for field in ("url", "secret"):
            expect(values.get(field) is None, field, "a program has none: give its `command` and `environment`")
        expect(form in {None, "none"}, "auth_form", "a program has none: give its secrets in `environment`")
    else:
        for field in ("command", "environment"):
            expect(not values.get(field), field, "a server over HTTP has none: give its `url` and `secret`")
    if url is not None:
        is_url = _URL.fullmatch(url) is not None and len(url) <= 500
        expect(is_url, "url", "give the endpoint's http or https URL without query, such as https://example.com/mcp")
    if command is not None:
        is_command = 0 < len(command) <= 50 and all(0 < len(part) <= 1000 and "\x00" not in part for part in command)
        expect(is_command, "command", "give the program and its arguments, each as a text of its own")
    expect(form is None or form in AUTH_FORMS, "auth_form", f"give one of {', '.join(AUTH_FORMS)}")
    if secret is not None:
        is_secret = 4 <= len(secret) <= MAX_SECRET_CHARS and secret.isascii() and secret.isprintable()
        expect(is_secret, "secret", "give the server's key: 4 or more printable ASCII characters")
        expect(form != "basic" or ":" in secret, "secret", "for `basic` give user and password with a colon between")
    if environment:
        expect(len(environment) <= MAX_VARIABLES, "environment", f"give at most {MAX_VARIABLES} variables")
        for variable, value in environment.items():
            is_ok = _VARIABLE.fullmatch(variable) is not None and variable not in _RESERVED
            expect(is_ok, "environment", f"{variable[:40]!r} is no name of a variable that may be set")
            is_ok = len(value) <= MAX_SECRET_CHARS and "\x00" not in value
            expect(is_ok, "environment", f"the value of {variable[:40]!r} is too long, or holds NUL")
    prices = values.get("tool_prices") or {}
    expect(len(prices) <= MAX_TOOL_PRICES, "tool_prices", f"give prices of at most {MAX_TOOL_PRICES} tools")
    for field, text in [("price", values.get("price")), *(("tool_prices", price) for price in prices.values())]:
        expect(text is None or _is_price(text), field, "give a decimal number from 0 up, such as 0.002")
    for tool in prices:
        expect(
            0 < len(tool) <= 200 and "\x00" not in tool, "tool_prices", "name each price's tool in 1 to 200 characters"
        )
    return faults


def _is_price(text: str) -> bool:
    try:
        return 0 <= parse_decimal(text) <= MAX_PRICE
    except ValueError:
        return False


def _check(faults: list[FieldFault]) -> None:
    if faults:
        raise InvalidRequest("; ".join(f"{item.field}: {item.message}" for item in faults), faults=faults)


def _sealed(
    sealer: Sealer, organization_id: UUID, server_id: UUID, secret: str | None, environment: Mapping[str, str] | None
) -> tuple[bytes | None, str, list[str]]:
    """Seal what is secret of a server; returns it, what the secret is recognised by, and the variables' names."""
    context = server_context(organization_id, server_id)
    if secret:
        return sealer.seal(secret.encode(), context), secret[: min(_PREFIX_LENGTH, len(secret) // 3)], []
    if environment:
        return sealer.seal(msgspec.json.encode(environment), context), "", sorted(environment)
    return None, "", []


async def create(
    connection: Connection,
    organization_id: UUID,
    sealer: Sealer,
    values: Mapping[str, Any],
    *,
    may_run: bool,
    commands_are_on: bool,
    created_by: UUID | None = None,
) -> McpServer:
    """Offer a server. In force in every gateway within a second. `Forbidden` for a program that the caller may not define."""
    transport = values.get("transport") or HTTP
    faults = _faults(values, transport)
    if transport not in TRANSPORTS:
        faults.append(FieldFault("transport", f"give one of {', '.join(TRANSPORTS)}"))
    needed = "command" if transport == STDIO else "url"
    if values.get(needed) is None:
        faults.append(FieldFault(needed, "is required"))
    if values.get("secret") and values.get("auth_form") in {None, "none"}:
        faults.append(FieldFault("auth_form", "say how the secret is sent, such as `bearer`"))
    _check(faults)
    if transport == STDIO:
        _may_define_programs(may_run=may_run, commands_are_on=commands_are_on)
    server_id = uuid7()
    sealed, prefix, variables = _sealed(
        sealer, organization_id, server_id, values.get("secret"), values.get("environment")
    )
    try:
        await connection.execute(
            QUERIES["insert_server"], server_id, organization_id, values["name"], values.get("description") or "",
            transport, values.get("url"), values.get("command"), values.get("auth_form") or "none", prefix, variables,
            sealed, values.get("timeout_seconds") or 300, values.get("price"), values.get("tool_prices") or {},
            values.get("is_enabled", True), created_by,
        )  # fmt: skip
    except asyncpg.UniqueViolationError:
        raise McpServerExists(faults=[FieldFault("name", "is taken")]) from None
    return await get(connection, organization_id, server_id)


def _may_define_programs(*, may_run: bool, commands_are_on: bool) -> None:
    if not may_run:
        raise Forbidden("defining a program that Nexus runs on its machine needs the permission mcp_server:run")
    if not commands_are_on:
        raise ProgramsOff


async def get(connection: Connection, organization_id: UUID, server_id: UUID) -> McpServer:
    """Return a server of the organization, without its secret."""
    record = await connection.fetchrow(QUERIES["server_by_id"], organization_id, server_id)
    if record is None:
        raise UnknownMcpServer
    return _server(record)


async def list_all(connection: Connection, organization_id: UUID, *, after: str | None, limit: int) -> list[McpServer]:
    """Return the organization's servers by name."""
    return [
        _server(record) for record in await connection.fetch(QUERIES["list_servers"], organization_id, after, limit)
    ]


async def change(
    connection: Connection,
    organization_id: UUID,
    sealer: Sealer,
    server_id: UUID,
    changes: Mapping[str, Any],
    *,
    may_run: bool,
    commands_are_on: bool,
) -> McpServer:
    """Change a server. A program's own way, its command and variables, takes what defining it takes; `secret` null forgets it."""
    known = await get(connection, organization_id, server_id)
    faults = _faults(changes, known.transport)
    form = changes.get("auth_form", known.auth_form)
    for needed in ("name", "url", "command"):
        if needed in changes and changes[needed] is None and (needed == "name" or getattr(known, needed) is not None):
            faults.append(FieldFault(needed, "is required"))
    if changes.get("secret") and form == "none":
        faults.append(FieldFault("auth_form", "say how the secret is sent, such as `bearer`"))
    _check(faults)
    # A program's name and price may be an administrator's affair; what runs on the machine is not, nor is to let it run again.
    decides_what_runs = bool(changes.keys() & {"command", "environment"} or changes.get("is_enabled"))
    if known.transport == STDIO and decides_what_runs:
        _may_define_programs(may_run=may_run, commands_are_on=commands_are_on)
    try:
        await connection.execute(
            QUERIES["update_server"], organization_id, server_id, changes.get("name"), changes.get("description"),
            changes.get("url"), changes.get("command"), changes.get("auth_form"), changes.get("timeout_seconds"),
            "price" in changes, changes.get("price"), changes.get("tool_prices"), changes.get("is_enabled"),
        )  # fmt: skip
    except asyncpg.UniqueViolationError:
        raise McpServerExists(faults=[FieldFault("name", "is taken")]) from None
    if changes.keys() & {"secret", "environment"}:
        sealed, prefix, variables = _sealed(
            sealer, organization_id, server_id, changes.get("secret"), changes.get("environment")
        )
        await connection.execute(
            QUERIES["replace_server_secret"], organization_id, server_id, prefix, variables, sealed
        )
    return await get(connection, organization_id, server_id)


async def delete(connection: Connection, organization_id: UUID, server_id: UUID) -> None:
    """Offer a server no longer; its records stay."""
    await get(connection, organization_id, server_id)
    await connection.execute(QUERIES["delete_server"], organization_id, server_id)


async def reseal(connection: Connection, sealer: Sealer) -> tuple[int, int]:
    """Seal again, under the newest key, what an older one sealed; as nexus_system. Returns how many, and how many do not open."""
    count = failed = 0
    for record in await connection.fetch(QUERIES["sealed_servers"]):
        sealed = bytes(record["sealed"])
        if sealer.is_current(sealed):
            continue
        context = server_context(record["organization_id"], record["id"])
        try:
            plain = sealer.open(sealed, context)
        except CannotOpen:
            failed += 1
            continue
        await connection.execute(
            QUERIES["reseal_server"], record["organization_id"], record["id"], sealer.seal(plain, context)
        )
        count += 1
    return count, failed
