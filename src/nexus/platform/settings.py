"""Every setting of Nexus, read from the environment in one place and listed by `nexus doctor`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from nexus.kit.errors import FieldFault, InvalidRequest


class InvalidSettings(InvalidRequest):
    """Some settings in the environment are not valid."""

    code = "invalid_settings"


def _setting(env: str, default: Any, what: str, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"env": env, "what": what, "secret": secret})


def _default_data_dir() -> Path:
    # The embedded servers run as an unprivileged user when the service runs as root, and root's home is closed to them.
    if os.geteuid() == 0:
        return Path("/var/lib/nexus")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "nexus"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process. Names of the environment's variables stand beside the fields."""

    data_dir: Path = _setting("NEXUS_DATA_DIR", None, "folder of the embedded servers, the spool and secrets")
    host: str = _setting("NEXUS_HOST", "127.0.0.1", "address to listen on")
    port: int = _setting("NEXUS_PORT", 8420, "port to listen on")
    workers: int = _setting("NEXUS_WORKERS", 2, "number of web processes")
    public_url: str | None = _setting(
        "NEXUS_PUBLIC_URL", None, "address people use, where it differs from host and port"
    )
    trusted_proxies: str | None = _setting(
        "NEXUS_TRUSTED_PROXIES",
        None,
        "addresses and networks of reverse proxies that are believed who the client is, comma separated; unset: none",
    )
    proxy_header: str = _setting(
        "NEXUS_PROXY_HEADER",
        "x-forwarded",
        "what trusted proxies write: x-forwarded (X-Forwarded-For and -Proto) or forwarded (RFC 7239)",
    )

    admin_url: str | None = _setting(
        "NEXUS_ADMIN_URL", None, "superuser or CREATEROLE login; used by `nexus db init` only", secret=True
    )
    owner_url: str | None = _setting("NEXUS_OWNER_URL", None, "login of nexus_owner, for migrations", secret=True)
    database_url: str | None = _setting(
        "NEXUS_DATABASE_URL", None, "login of nexus_service; unset: PostgreSQL is embedded", secret=True
    )
    writer_url: str | None = _setting("NEXUS_WRITER_URL", None, "login of nexus_writer, for records", secret=True)
    system_url: str | None = _setting(
        "NEXUS_SYSTEM_URL", None, "login of nexus_system, for sign-in and background work", secret=True
    )
    redis_url: str | None = _setting("NEXUS_REDIS_URL", None, "Redis or Valkey; unset: Redis is embedded", secret=True)
    database_pool_size: int = _setting("NEXUS_DATABASE_POOL_SIZE", 4, "connections of each role in each process")

    secret_key: str | None = _setting(
        "NEXUS_SECRET_KEY",
        None,
        "key that encrypts secrets at rest; several, comma separated, newest first, rotate it; unset: generated",
        secret=True,
    )
    admin_email: str | None = _setting("NEXUS_ADMIN_EMAIL", None, "first start: the administrator's e-mail address")
    admin_password: str | None = _setting(
        "NEXUS_ADMIN_PASSWORD", None, "first start: the administrator's password; unset: generated", secret=True
    )
    bootstrap_key: str | None = _setting(
        "NEXUS_BOOTSTRAP_KEY", None, "first start: the first access key (nx_ and 37 or more characters)", secret=True
    )

    log_level: str = _setting("NEXUS_LOG_LEVEL", "info", "debug, info, warning or error")
    log_format: str = _setting("NEXUS_LOG_FORMAT", "auto", "json, console or auto (console on a terminal)")
    metrics_token: str | None = _setting(
        "NEXUS_METRICS_TOKEN",
        None,
        "bearer token that /metrics asks for; unset: open to whoever reaches the port",
        secret=True,
    )

    ingest_batch_rows: int = _setting("NEXUS_INGEST_BATCH_ROWS", 5000, "rows at which a group commit closes")
    ingest_batch_delay_ms: int = _setting(
        "NEXUS_INGEST_BATCH_DELAY_MS", 5, "milliseconds after which a group commit closes"
    )
    ingest_queue_rows: int = _setting("NEXUS_INGEST_QUEUE_ROWS", 50_000, "rows that may wait for a commit; beyond: 503")
    ingest_max_records: int = _setting("NEXUS_INGEST_MAX_RECORDS", 10_000, "records in one request")
    ingest_max_bytes: int = _setting("NEXUS_INGEST_MAX_BYTES", 16 * 2**20, "bytes of one request after decompression")
    ingest_max_record_bytes: int = _setting("NEXUS_INGEST_MAX_RECORD_BYTES", 256 * 1024, "bytes of one record")
    ingest_commit_timeout_ms: int = _setting(
        "NEXUS_INGEST_COMMIT_TIMEOUT_MS", 10_000, "milliseconds a commit may take before the spool takes the batch"
    )
    spool_limit_bytes: int = _setting("NEXUS_SPOOL_LIMIT_BYTES", 4 * 2**30, "bytes the spool may hold; beyond: 503")

    admission_timeout_ms: int = _setting(
        "NEXUS_ADMISSION_TIMEOUT_MS",
        5,
        "milliseconds Redis may be silent before a limit's failure policy decides; 100 at least while nothing failed",
    )

    gateway_allow: str | None = _setting(
        "NEXUS_GATEWAY_ALLOW",
        None,
        "private hosts (name or name:port) and networks the gateway may call, comma separated; unset: none",
    )

    mcp_commands: str = _setting(
        "NEXUS_MCP_COMMANDS",
        "off",
        "`on`: MCP servers may be programs that Nexus starts on this machine, as its own user; off: none are started",
    )

    otlp_endpoint: str | None = _setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "OpenTelemetry collector (OTLP over HTTP, protobuf) that the worker tells of the gateway's calls; unset: none",
    )
    otlp_headers: str | None = _setting(
        "OTEL_EXPORTER_OTLP_HEADERS",
        None,
        "headers for it, such as its key: name=value, comma separated, percent-encoded",
        secret=True,
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings; `InvalidSettings` names every faulty variable at once."""
        source = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        faults: list[FieldFault] = []
        for item in fields(cls):
            env = item.metadata["env"]
            text = source.get(env, "").strip()
            if not text:
                if item.name == "data_dir":
                    values["data_dir"] = _default_data_dir()
                continue
            if item.name == "data_dir":
                values["data_dir"] = Path(text).expanduser().absolute()
            elif isinstance(item.default, int):
                try:
                    values[item.name] = int(text)
                except ValueError:
                    faults.append(FieldFault(env, f"{text!r} is no whole number"))
            else:
                values[item.name] = text
        faults += _check(values)
        if faults:
            raise InvalidSettings("; ".join(f"{fault.field}: {fault.message}" for fault in faults), faults=faults)
        return cls(**values)

    @property
    def url(self) -> str:
        """The address people open in a browser."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = self.host if self.host not in {"0.0.0.0", "::"} else "localhost"  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def local_url(self) -> str:
        """The address at which this machine reaches it, whatever it listens on and is called elsewhere."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def mcp_commands_are_on(self) -> bool:
        """Whether MCP servers may be programs on this machine."""
        return self.mcp_commands == "on"

    @property
    def embeds_postgres(self) -> bool:
        """Whether this node runs its own PostgreSQL."""
        return self.database_url is None and self.admin_url is None

    @property
    def embeds_redis(self) -> bool:
        """Whether this node runs its own Redis."""
        return self.redis_url is None


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _check(values: Mapping[str, Any]) -> list[FieldFault]:
    faults: list[FieldFault] = []

    def expect(ok: bool, env: str, message: str) -> None:
        if not ok:
            faults.append(FieldFault(env, message))

    expect(0 < values.get("port", 8420) < 65_536, "NEXUS_PORT", "give a port from 1 to 65535")
    expect(values.get("mcp_commands", "off") in {"on", "off"}, "NEXUS_MCP_COMMANDS", "give on or off")
    expect(0 < values.get("workers", 2) <= 256, "NEXUS_WORKERS", "give a number from 1 to 256")
    for item in fields(Settings):
        value = values.get(item.name)
        if item.name.startswith(("ingest_", "spool_", "database_pool")) and isinstance(value, int):
            expect(value > 0, item.metadata["env"], "give a number above 0")
        if item.name in {"admin_url", "owner_url", "database_url", "writer_url", "system_url"} and isinstance(
            value, str
        ):
            expect(value.startswith(("postgresql://", "postgres://")), item.metadata["env"], "begin with postgresql://")
    for part in (values.get("trusted_proxies") or "").split(","):
        expect(
            not part.strip() or _is_network(part.strip()),
            "NEXUS_TRUSTED_PROXIES",
            f"{part.strip()!r} is no address and no network such as 10.0.0.0/8",
        )
    expect(
        values.get("proxy_header", "x-forwarded") in {"x-forwarded", "forwarded"},
        "NEXUS_PROXY_HEADER",
        "x-forwarded or forwarded",
    )
    collector = values.get("otlp_endpoint", "http://")
    expect(
        collector.startswith(("http://", "https://")), "OTEL_EXPORTER_OTLP_ENDPOINT", "begin with http:// or https://"
    )
    redis_url = values.get("redis_url", "redis://")
    expect(
        redis_url.startswith(("redis://", "rediss://", "unix://")),
        "NEXUS_REDIS_URL",
        "begin with redis://, rediss:// or unix://",
    )
    key = values.get("bootstrap_key")
    expect(
        key is None
        or (key.startswith("nx_") and len(key) >= 40 and key.isascii() and key.isprintable() and " " not in key),
        "NEXUS_BOOTSTRAP_KEY",
        "begin with nx_ and have 40 or more characters, letters, digits, - and _",
    )
    password = values.get("admin_password")
    expect(password is None or len(password) >= 8, "NEXUS_ADMIN_PASSWORD", "give 8 or more characters")
    email = values.get("admin_email")
    expect(email is None or "@" in email[1:-1], "NEXUS_ADMIN_EMAIL", "give an e-mail address")
    expect(
        values.get("log_level", "info") in {"debug", "info", "warning", "error"},
        "NEXUS_LOG_LEVEL",
        "debug, info, warning or error",
    )
    expect(values.get("log_format", "auto") in {"json", "console", "auto"}, "NEXUS_LOG_FORMAT", "json, console or auto")
    return faults


@dataclass(frozen=True)
class SettingEntry:
    """One line of the list of settings."""

    env: str
    default: str
    what: str
    is_secret: bool
    name: str


SETTINGS: tuple[SettingEntry, ...] = tuple(
    SettingEntry(
        item.metadata["env"],
        "" if item.default is None else str(item.default),
        item.metadata["what"],
        item.metadata["secret"],
        item.name,
    )
    for item in fields(Settings)
)
