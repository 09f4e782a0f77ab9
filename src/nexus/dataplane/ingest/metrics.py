"""What ingest counts of itself, for `/metrics`: whatever is not stored is counted here."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram


class IngestMetrics:
    """The counters of one process; several processes are added up by prometheus-client's multi-process mode."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = REGISTRY if registry is None else registry

        def counter(name: str, what: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"nexus_ingest_{name}", what, labels, registry=registry)

        self.received = counter("records_received", "Records that came in, well-formed or not.")
        self.stored = counter("records_stored", "Records committed for the first time.")
        self.duplicates = counter("records_duplicate", "Records whose id was stored before.")
        self.refused = counter("records_refused", "Records refused by index, with the field and the reason.")
        self.unpriced = counter("records_unpriced", "Records whose cost could not be computed.")
        self.spooled = counter("records_spooled", "Records acknowledged from the spool while PostgreSQL was away.")
        self.drained = counter("records_drained", "Spooled records committed, or found committed before.")
        self.quarantined = counter(
            "records_quarantined", "Acknowledged records kept in quarantine: a person must look."
        )
        self.damaged = counter("spool_damages", "Damaged parts of spool segments kept in quarantine.")
        self.torn = counter("spool_torn_bytes", "Bytes of torn, never acknowledged tails of spool segments, discarded.")
        self.turned_away = counter("requests_turned_away", "Requests answered 429 or 503, by reason.", ("reason",))
        self.poisoned = counter("records_poisoned", "Records that PostgreSQL refused though they were well-formed.")
        self.commits = counter("commits", "Group commits, by outcome.", ("outcome",))
        self.live_lost = counter("live_messages_lost", "Live messages that Redis did not take.")
        self.queue_rows = Gauge(
            "nexus_ingest_queue_rows", "Rows waiting for a commit.", registry=registry, multiprocess_mode="livesum"
        )
        self.spool_bytes = Gauge(
            "nexus_ingest_spool_bytes", "Bytes in the node's spool.", registry=registry, multiprocess_mode="livemax"
        )
        self.quarantine_bytes = Gauge(
            "nexus_ingest_quarantine_bytes", "Bytes in quarantine.", registry=registry, multiprocess_mode="livemax"
        )
        self.is_spooling = Gauge(
            "nexus_ingest_spooling", "1 while PostgreSQL is away.", registry=registry, multiprocess_mode="livemax"
        )
        self.commit_seconds = Histogram(
            "nexus_ingest_commit_seconds",
            "Duration of a group commit.",
            registry=registry,
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
        )
        self.commit_rows = Histogram(
            "nexus_ingest_commit_rows",
            "Rows of a group commit.",
            registry=registry,
            buckets=(1, 10, 100, 500, 1000, 2000, 5000, 10_000, 20_000),
        )
