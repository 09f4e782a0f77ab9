"""What is told to an OpenTelemetry collector: a kind of stored records, where its waiting ones are, and its words for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nexus.metering import store
from nexus.metering.call_telemetry import metrics_of, spans_of
from nexus.platform.db import Connection

Waiting = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """A kind of records, noted for export in `metering.calls_to_export` by the function that stores them."""

    record_type: str
    waiting: Callable[[Connection, int], Awaitable[Sequence[Any]]]
    """Returns those that wait, oldest first and locked, each with its key; `occurred_at` is null where it was taken back."""
    spans_of: Callable[[Iterable[Waiting]], bytes]
    """Writes a request for traces."""
    metrics_of: Callable[[Sequence[Waiting], datetime], bytes]
    """Writes a request for metrics, made at an instant."""


CALLS = Source("api_call", store.calls_to_export, spans_of, metrics_of)
