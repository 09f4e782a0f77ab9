"""What every report begins with: where, on what and how it was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime

import psutil


def heading(workers: int) -> str:
    """Return title, command, commit and machine."""
    memory = psutil.virtual_memory().total / 2**30
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        "# Results\n\n"
        f"`make bench` on {datetime.now(UTC):%Y-%m-%d}, commit {_commit()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, embedded PostgreSQL and Redis, "
        f"{workers} web processes; load before: {load}. Client, server and database share the machine.\n"
        "Ratios within a run mean something on other machines; times and rates are this one's."
    )


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
