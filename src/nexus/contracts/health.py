"""The health of a provider's endpoints: as the gateway's processes see it in calls, and as the control plane shows it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

State = Literal["well", "half_open", "open"]
"""`well`: calls go there. `open`: none does until an instant. `half_open`: the next call is a trial."""


class ToldHealth(msgspec.Struct, frozen=True):
    """What one process last saw of one endpoint of an organization."""

    process: str
    at: datetime
    base_url: str
    credential_id: UUID | None
    open_until: datetime | None
    """None while calls go there. An instant gone by: the next call is a trial."""
    failures_in_a_row: int
    recent_calls: int
    recent_failures: int
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_failure: str
    """Code of what went wrong, such as `upstream_not_connected` or `http_503`."""


class EndpointHealth(msgspec.Struct, frozen=True):
    """An endpoint as all processes together see it. Of processes that disagree the one that sees most trouble is heard."""

    credential_id: UUID | None
    base_url: str | None
    state: State
    open_until: datetime | None
    processes: int
    """How many processes have called it in the last day."""
    refusing_processes: int
    """How many of them let no call through at this instant."""
    failures_in_a_row: int
    recent_calls: int
    """Of the last 20 of each process."""
    recent_failures: int
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_failure: str
    at: datetime
    """When a process last told of it."""


def together(told: Iterable[ToldHealth], now: datetime) -> list[EndpointHealth]:
    """Put together what processes told, by base URL and credential."""
    groups: dict[tuple[str, str], list[ToldHealth]] = {}
    for one in told:
        groups.setdefault((one.base_url, str(one.credential_id or "")), []).append(one)
    return [_endpoint(groups[name], now) for name in sorted(groups)]


def _endpoint(told: list[ToldHealth], now: datetime) -> EndpointHealth:
    succeeded = max((one.last_success_at for one in told if one.last_success_at), default=None)
    failed = max((one for one in told if one.last_failure_at), key=lambda one: one.last_failure_at or now, default=None)
    refusing = [one for one in told if one.open_until is not None and one.open_until > now]
    # A process that ended while it waited tells nothing any more: a later success elsewhere speaks for the endpoint.
    waiting = [
        one
        for one in told
        if one.open_until is not None
        and one.open_until <= now
        and not (succeeded and one.last_failure_at and succeeded > one.last_failure_at)
    ]
    state: State = "open" if refusing else "half_open" if waiting else "well"
    return EndpointHealth(
        credential_id=told[0].credential_id,
        base_url=told[0].base_url,
        state=state,
        open_until=max((one.open_until for one in refusing if one.open_until), default=None),
        processes=len(told),
        refusing_processes=len(refusing),
        failures_in_a_row=max(one.failures_in_a_row for one in told) if state != "well" else _after(told, succeeded),
        recent_calls=sum(one.recent_calls for one in told),
        recent_failures=sum(one.recent_failures for one in told),
        last_success_at=succeeded,
        last_failure_at=failed.last_failure_at if failed else None,
        last_failure=failed.last_failure if failed else "",
        at=max(one.at for one in told),
    )


def _after(told: list[ToldHealth], succeeded: datetime | None) -> int:
    """Return the most failures in a row that no success anywhere came after."""
    later = [one for one in told if not (succeeded and one.last_failure_at and one.last_failure_at < succeeded)]
    return max((one.failures_in_a_row for one in later), default=0)
