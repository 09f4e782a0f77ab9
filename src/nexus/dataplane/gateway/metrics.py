"""What the gateway counts of itself, for `/metrics`."""

from __future__ import annotations

from collections import Counter as Tally

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram


class BodyMetrics:
    """What one process counts of the bodies it keeps."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = REGISTRY if registry is None else registry
        self.stored = Counter(
            "nexus_gateway_bodies_stored", "Bodies of calls stored, by side.", ("side",), registry=registry
        )
        self.lost = Counter(
            "nexus_gateway_bodies_lost",
            "Calls whose bodies were to be kept and are not, by reason.",
            ("reason",),
            registry=registry,
        )
        self.held_bytes = Gauge(
            "nexus_gateway_bodies_held_bytes",
            "Bytes of bodies that pass or wait to be stored.",
            registry=registry,
            multiprocess_mode="livesum",
        )


class CollectorMetrics:
    """What one process counts of the records it brings into ingest."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = REGISTRY if registry is None else registry
        self.collected = Counter(
            "nexus_gateway_records_collected", "Records of calls brought from journals into ingest.", registry=registry
        )
        self.interrupted = Counter(
            "nexus_gateway_calls_interrupted", "Of these, calls whose process died.", registry=registry
        )
        self.refused = Counter(
            "nexus_gateway_records_refused",
            "Records of calls that ingest refused: a person must look.",
            registry=registry,
        )
        self.deferred = Counter(
            "nexus_gateway_records_deferred",
            "Times records had to wait for ingest, by reason.",
            ("reason",),
            registry=registry,
        )
        self.first_byte_seconds = Histogram(
            "nexus_gateway_first_byte_seconds",
            "From the call to the first byte of the provider's answer, counted as records are collected.",
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        )


class GatewayMetrics:
    """The counters of one process that serves."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = REGISTRY if registry is None else registry

        def counter(name: str, what: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"nexus_gateway_{name}", what, labels, registry=registry)

        self.calls = counter("calls", "Calls forwarded, by provider and class of status.", ("provider", "status"))
        self.refused_calls = counter("calls_refused", "Calls answered by the gateway itself, by reason.", ("reason",))
        self.hang_ups = counter("hang_ups", "Calls whose client left before the answer ended.")
        self.estimated = counter("calls_estimated", "Calls whose usage had to be estimated.")
        self.collector = CollectorMetrics(registry)
        self.unjournaled = counter("calls_unjournaled", "Calls served though the journal could not be written.")
        self.waiting = Gauge(
            "nexus_gateway_records_waiting",
            "Finished calls waiting for ingest.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.open = Gauge(
            "nexus_gateway_calls_open", "Calls being forwarded.", registry=registry, multiprocess_mode="livesum"
        )
        self._ended: Tally[tuple[str, int]] = Tally()

    def ended(self, provider: str, status_code: int) -> None:
        """Count a call that ended; told by the next `publish`: Prometheus's own counters cost more than the rest of its end."""
        self._ended[provider, status_code // 100] += 1

    def publish(self) -> None:
        """Tell what was counted since the last time."""
        ended, self._ended = self._ended, Tally()
        for (provider, kind), count in ended.items():
            self.calls.labels(provider, f"{kind}xx").inc(count)
