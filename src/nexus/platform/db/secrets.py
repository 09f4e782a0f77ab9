"""The generated passwords of the embedded server: one file in the data directory, readable by its owner only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from urllib.parse import quote

import msgspec

from nexus.platform.settings import Settings

ROLES = ("nexus_owner", "nexus_service", "nexus_writer", "nexus_system", "nexus_readonly", "nexus_backup")
DATABASE_NAME = "nexus"


class Secrets(msgspec.Struct):
    """What a node generated for itself."""

    passwords: dict[str, str] = {}
    """Password by role; `postgres` is the embedded server's superuser."""
    urls: dict[str, str] = {}
    """URL by role, where the server is not embedded (made by `nexus db init`)."""
    secret_key: str = ""
    socket_dir: str = ""
    """Where the embedded server's socket is."""


def secrets_path(data_dir: Path) -> Path:
    """Return where the secrets of a data directory are."""
    return data_dir / "secrets.json"


def read_secrets(data_dir: Path) -> Secrets:
    """Read the secrets; empty ones where there are none yet."""
    try:
        return msgspec.json.decode(secrets_path(data_dir).read_bytes(), type=Secrets)
    except FileNotFoundError:
        return Secrets()


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all, and synced."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(path)


def write_secrets(data_dir: Path, value: Secrets) -> None:
    """Keep the secrets of a data directory."""
    write_private(secrets_path(data_dir), msgspec.json.format(msgspec.json.encode(value), indent=2))


def ensure_secrets(data_dir: Path) -> Secrets:
    """Read the secrets of a data directory, and generate those that are missing."""
    value = read_secrets(data_dir)
    missing = [role for role in ("postgres", *ROLES) if role not in value.passwords]
    if missing or not value.secret_key:
        for role in missing:
            value.passwords[role] = secrets.token_urlsafe(24)
        value.secret_key = value.secret_key or secrets.token_urlsafe(32)
        write_secrets(data_dir, value)
    return value


def socket_url(*, role: str, password: str, socket_dir: str, database: str = DATABASE_NAME) -> str:
    """Return the URL of a login over a Unix socket."""
    return f"postgresql://{role}:{quote(password, safe='')}@/{database}?host={quote(socket_dir, safe='/')}&port=5432"


def embedded_urls(settings: Settings) -> dict[str, str]:
    """Return the URLs, by role, that this node knows without being told."""
    value = read_secrets(settings.data_dir)
    if not settings.embeds_postgres:
        return value.urls
    if not value.socket_dir:
        return {}
    return {
        role: socket_url(
            role=role,
            password=password,
            socket_dir=value.socket_dir,
            database="postgres" if role == "postgres" else DATABASE_NAME,
        )
        for role, password in value.passwords.items()
    }


def secret_keys(settings: Settings) -> list[str]:
    """Return the keys that encrypt secrets at rest, newest first: from the environment, else this node's own."""
    if settings.secret_key:
        return [part.strip() for part in settings.secret_key.split(",") if part.strip()]
    return [ensure_secrets(settings.data_dir).secret_key]
