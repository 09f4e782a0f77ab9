"""What Nexus tells of itself: structured logs with request ids, and metrics added up over its processes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import psutil
import structlog

from nexus.kit.redaction import REDACTED, is_secret_name, redact_text
from nexus.platform.settings import Settings

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = REDACTED if is_secret_name(name) else redact_text(value)
    return event


def configure_logging(settings: Settings, *, role: str) -> None:
    """Write logs to standard error, as JSON lines or for people; secrets are redacted whoever logs them."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    level = getattr(logging, settings.log_level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Any] = (
        [structlog.processors.format_exc_info, _redact, structlog.processors.JSONRenderer()]
        if as_json
        else [_redact, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role, pid=os.getpid())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last,
        ])
    )  # fmt: skip
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))


def metrics_folder(settings: Settings) -> Path:
    """Return where the processes of a node leave their metrics for each other."""
    return settings.data_dir / "run" / "metrics"


def clear_metrics(settings: Settings) -> None:
    """Begin with empty counters: whose they were is gone. Nothing of this node may run."""
    folder = metrics_folder(settings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file in folder.glob("*.db"):
        file.unlink(missing_ok=True)


def forget_dead_metrics(settings: Settings, *, live_only: bool) -> None:
    """Remove files of processes that are gone: all of them, or only the figures that mean nothing without the process.

    Counters of dead processes are kept while the node runs, so that sums never fall.
    """
    for file in metrics_folder(settings).glob("gauge_live*.db" if live_only else "*.db"):
        pid = file.stem.rsplit("_", 1)[-1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            file.unlink(missing_ok=True)


def render_metrics() -> tuple[bytes, str]:
    """Return the metrics of all processes of this node, and their media type (Prometheus text format)."""
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    folder = os.environ.get(METRICS_FOLDER)
    if not folder:
        return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
