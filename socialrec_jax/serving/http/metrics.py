"""What the service counts, in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

# Bounds of buckets: a call of the model takes about a tenth of a second on two cores.
_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_JOINED = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counters of one service; each has a registry of its own.

    generation, newest_event (unix seconds): of the run that the service answers from.
    """

    def __init__(self, generation: int, newest_event: int):
        # Not the registry of the library: a process has one of it, and tests make many services.
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory, processor seconds, open files
        self._set("socialrec_generation", "Generation of the run that answers.", generation)
        self._set(
            "socialrec_newest_event_timestamp_seconds", "Time of its newest event.", newest_event
        )
        self._requests = Counter(
            "socialrec_requests",
            "Requests by task and status.",
            ["task", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "socialrec_request_seconds",
            "Seconds from a request to its answer.",
            ["task"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._joined = Histogram(
            "socialrec_joined_requests",
            "Requests that one call of the model answered.",
            buckets=_JOINED,
            registry=self._registry,
        )
        self._waiting = Gauge(
            "socialrec_waiting_requests", "Requests in the queue.", registry=self._registry
        )

    def _set(self, name: str, text: str, value: int) -> None:
        Gauge(name, text, registry=self._registry).set(value)

    def observe_request(self, task: str, status: int, seconds: float) -> None:
        self.count_request(task, status)
        self._seconds.labels(task).observe(seconds)

    def count_request(self, task: str, status: int) -> None:
        """Count a request that was answered at once: its seconds would hide those of others."""
        self._requests.labels(task, str(status)).inc()

    def observe_call(self, num_requests: int) -> None:
        self._joined.observe(num_requests)

    def text(self, num_waiting: int) -> bytes:
        # Read for each answer, because the queue changes all the time.
        self._waiting.set(num_waiting)
        return generate_latest(self._registry)
