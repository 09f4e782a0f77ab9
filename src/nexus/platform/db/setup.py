"""Makes a database ready to serve: roles, database, migrations. Used by the first start and by `nexus db init`."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import asyncpg

from nexus.platform.db import migrate
from nexus.platform.db.roles import DatabaseNotInitialised, InitReport, initialise, url_for
from nexus.platform.db.secrets import DATABASE_NAME, ROLES, ensure_secrets, write_secrets
from nexus.platform.settings import InvalidSettings, Settings


async def initialise_database(settings: Settings, *, admin_url: str | None = None) -> InitReport:
    """Make roles and database as the administrator, and keep the URLs of what was made in the data directory.

    For the embedded server `admin_url` is its superuser's; else NEXUS_ADMIN_URL. Passwords are generated once.
    """
    url = admin_url or settings.admin_url
    if url is None:
        raise InvalidSettings("set NEXUS_ADMIN_URL to a superuser or CREATEROLE login of your PostgreSQL")
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    secrets = ensure_secrets(settings.data_dir)
    database = DATABASE_NAME
    if not settings.embeds_postgres and settings.database_url:
        database = urlsplit(settings.database_url).path.strip("/") or DATABASE_NAME
    try:
        admin = await asyncpg.connect(url, timeout=10, statement_cache_size=0)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise DatabaseNotInitialised(f"the administrator's login does not work: {error}") from error
    try:
        report = await initialise(admin, {role: secrets.passwords[role] for role in ROLES}, database=database)
    finally:
        await admin.close()
    if not settings.embeds_postgres:
        secrets.urls = {
            role: url_for(url, role=role, password=secrets.passwords[role], database=database) for role in ROLES
        }
        write_secrets(settings.data_dir, secrets)
    return report


async def migrate_database(owner_url: str | None) -> migrate.MigrationState:
    """Bring the schema to the newest revision, as the owner; in a thread, as the migrations' driver is blocking."""
    if owner_url is None:
        raise InvalidSettings(
            "set NEXUS_OWNER_URL to the login of nexus_owner, or NEXUS_ADMIN_URL and run `nexus db init`"
        )
    return await asyncio.to_thread(migrate.upgrade, owner_url)
