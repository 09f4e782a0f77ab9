"""System configuration: typed, validated, with defaults in code and changes in an audited table.

Applied without restart: whoever needs a value reads it in its transaction, or from a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from nexus.kit.errors import FieldFault, InvalidRequest, NotFound
from nexus.platform.db.pool_types import SqlConnection
from nexus.platform.db.schema import load_queries

Value = bool | int | float | str
_SQL = load_queries("nexus.platform.db")


class UnknownConfigurationKey(NotFound):
    """There is no such key in the system configuration."""

    code = "unknown_configuration_key"


@dataclass(frozen=True)
class ConfigurationKey:
    """One key: its type is the type of its default."""

    key: str
    default: Value
    what: str
    minimum: float | None = None
    maximum: float | None = None

    def parse(self, value: object) -> Value:
        """Take a value of the right type and range; `InvalidRequest` names the key and the remedy."""
        kind = type(self.default)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if kind is float and number:
            value = float(value)  # type: ignore[arg-type]
        if type(value) is not kind:
            raise self._fault(f"give {_KIND_NAMES[kind]}")
        if number and (
            value != value
            or (self.minimum is not None and value < self.minimum)  # type: ignore[operator]
            or (self.maximum is not None and value > self.maximum)  # type: ignore[operator]
        ):
            raise self._fault(f"give a number from {self.minimum} to {self.maximum}")
        if isinstance(value, str) and (len(value) > 2000 or "\x00" in value):
            raise self._fault("give at most 2,000 characters, without NUL")
        return value

    def _fault(self, message: str) -> InvalidRequest:
        return InvalidRequest(f"{self.key}: {message}", faults=[FieldFault(self.key, message)])


_KIND_NAMES: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _keys() -> Iterator[ConfigurationKey]:
    k = ConfigurationKey
    yield k("auth.session_timeout_hours", 24, "hours after which a sign-in session ends", 1, 24 * 90)
    yield k("auth.session_idle_minutes", 720, "minutes without a request after which a session ends", 5, 60 * 24 * 90)
    yield k(
        "auth.reauthentication_minutes", 15, "minutes a proof of who one is lasts for sensitive changes", 1, 24 * 60
    )
    yield k("auth.max_login_attempts", 5, "failed sign-ins after which an account is locked to whoever fails", 1, 1000)
    yield k("auth.lockout_duration_minutes", 15, "minutes a lock lasts", 1, 24 * 60)
    yield k("auth.min_password_length", 12, "characters a new password needs", 8, 128)
    yield k("analytics.enabled", True, "whether use of Nexus's own pages is measured")
    yield k(
        "dashboard.refresh_interval_ms",
        5000,
        "milliseconds between refreshes of a page that is not live",
        500,
        3_600_000,
    )
    yield k("retention.raw_calls_days", 90, "days raw call records are kept", 1, 36_500)
    yield k("retention.rollup_minute_days", 14, "days minute rollups are kept", 2, 36_500)
    yield k("retention.rollup_quarter_hour_days", 395, "days quarter-hour rollups are kept", 35, 36_500)
    yield k("retention.rollup_hour_days", 395, "days hour rollups are kept", 35, 36_500)
    yield k("retention.seen_ids_days", 35, "days by receipt in which a record's own id is recognised again", 1, 3650)
    yield k("retention.audit_days", 365, "days the audit log is kept", 30, 36_500)
    yield k("retention.sessions_days", 7, "days an expired sign-in session is kept", 0, 3650)
    yield k("retention.product_analytics_days", 365, "days the counts of Nexus's own use are kept", 31, 36_500)
    yield k("retention.security_log_days", 90, "days the security log is kept", 7, 36_500)
    yield k("retention.token_transactions_days", 365, "days the limiter's token transactions are kept", 7, 36_500)
    yield k("retention.refusals_days", 90, "days the counts of refused calls are kept", 7, 36_500)
    yield k(
        "limits.sign_in_per_address_per_minute", 300, "attempts to sign in from one address; 0 is no limit", 0, 10**6
    )
    yield k("limits.sign_in_per_account_per_minute", 300, "attempts to sign in to one account; 0 is no limit", 0, 10**6)
    yield k(
        "limits.api_requests_per_caller_per_second",
        500,
        "requests to /api by one person or key, or by one address that is neither; 0 is no limit",
        0,
        10**6,
    )
    yield k("limits.ingest_records_per_second", 500_000, "records sent in by one organization; 0 is no limit", 0, 10**9)
    yield k(
        "limits.ingest_bytes_per_second",
        10**9,
        "bytes of records sent in by one organization; 0 is no limit",
        0,
        10**12,
    )
    yield k("limits.ingest_records_per_key_per_second", 0, "records sent in with one key; 0 is no limit", 0, 10**9)
    yield k(
        "limits.ingest_bytes_per_key_per_second", 0, "bytes of records sent in with one key; 0 is no limit", 0, 10**12
    )
    yield k(
        "limits.metric_series",
        100_000,
        "active series of metrics that one organization may have; 0 is no limit",
        0,
        10**9,
    )
    yield k("limits.metric_series_idle_hours", 24, "hours without a point after which a series counts no more", 1, 8760)
    yield k("limits.older_headers", False, "whether answers tell of limits in X-RateLimit-* too, for older clients")
    yield k("admission.low_tokens_seconds", 60, "seconds a bucket is low before it is noted as an event", 0, 86_400)
    yield k("admission.default_burst_duration_seconds", 60, "seconds a burst may last", 1, 86_400)
    yield k("retention.loans_days", 365, "days a loan is kept after it was repaid or ended otherwise", 7, 36_500)
    yield k(
        "admission.max_borrow_ratio", 1.5, "how many times its capacity a bucket may have or owe by borrowing", 1, 100
    )
    yield k("admission.default_interest_rate", 0.1, "interest on a loan, as a fraction", 0, 10)
    yield k("admission.default_repay_share", 0.5, "share of what a borrower refills that repays its loan", 0.001, 1)
    yield k("admission.max_borrow_duration_seconds", 3600, "seconds a loan may last", 1, 86_400)


CONFIGURATION_KEYS: Mapping[str, ConfigurationKey] = {item.key: item for item in _keys()}


class Configuration(Mapping[str, Value]):
    """The configuration in force: the defaults with the changes on top."""

    def __init__(self, changed: Mapping[str, Value]) -> None:
        self._values = {key: changed.get(key, item.default) for key, item in CONFIGURATION_KEYS.items()}
        self.changed = frozenset(changed)

    def __getitem__(self, key: str) -> Value:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def integer(self, key: str) -> int:
        """Return the value of a key that holds a whole number."""
        value = self._values[key]
        if not isinstance(value, int):
            raise TypeError(f"{key} holds no whole number")
        return value

    def exact(self, key: str) -> Decimal:
        """Return the value of a key that holds a number, as it is written."""
        value = self._values[key]
        if isinstance(value, (bool, str)):
            raise TypeError(f"{key} holds no number")
        return Decimal(str(value))


async def get_configuration(connection: SqlConnection) -> Configuration:
    """Read the configuration in force. A stored value that no longer fits its type falls back to the default."""
    changed: dict[str, Value] = {}
    for row in await connection.fetch(_SQL["read_configuration"]):
        item = CONFIGURATION_KEYS.get(row["key"])
        if item is not None:
            try:
                changed[item.key] = item.parse(row["value"])
            except InvalidRequest:
                continue
    return Configuration(changed)


async def set_configuration(
    connection: SqlConnection, key: str, value: object, *, actor_label: str = "system"
) -> Value:
    """Change one value, as nexus_system; the audit log keeps the old one. Returns the value as stored."""
    item = CONFIGURATION_KEYS.get(key)
    if item is None:
        raise UnknownConfigurationKey(
            f"there is no configuration key {key[:100]!r}", faults=[FieldFault("key", "see the list of keys")]
        )
    parsed = item.parse(value)
    await connection.execute(_SQL["write_configuration"], key, parsed, actor_label)
    return parsed


async def reset_configuration(connection: SqlConnection, key: str) -> Any:
    """Go back to the default of one key, as nexus_system."""
    if key not in CONFIGURATION_KEYS:
        raise UnknownConfigurationKey(
            f"there is no configuration key {key[:100]!r}", faults=[FieldFault("key", "see the list of keys")]
        )
    await connection.execute(_SQL["delete_configuration"], key)
    return CONFIGURATION_KEYS[key].default
