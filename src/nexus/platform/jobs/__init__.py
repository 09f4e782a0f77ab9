"""Background work that comes round: each piece at its own pace, one failing piece never stops another.

A piece that only one node may do takes an advisory lock of its own transaction (`platform.db`), so several workers on
several machines are safe, and a worker that dies leaves no lock behind. Work that is ordered (a repricing) is a row
written in the transaction that orders it; the piece that does it looks for such rows.
"""

from nexus.platform.jobs.periodic import Job, PeriodicRunner
from nexus.platform.jobs.portion import Portion

__all__ = ["Job", "PeriodicRunner", "Portion"]
