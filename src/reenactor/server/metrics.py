"""Prometheus metrics of one server."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from reenactor.server.store import State


class Metrics:
    """Counters and gauges of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        r = self._registry
        self._requests = Counter("reenactor_requests", "Requests", ["method", "route", "status"], registry=r)
        self._jobs = Counter("reenactor_jobs", "Jobs that ended", ["state"], registry=r)
        self._job_seconds = Histogram(
            "reenactor_job_seconds", "Work on a finished job", buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 1800), registry=r
        )
        self._frames = Counter("reenactor_live_frames", "Pictures of live drivers", ["fate"], registry=r)
        for state in State:
            if state.over:
                self._jobs.labels(state.value)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is computed when Prometheus asks."""
        Gauge(f"reenactor_{name}", text, registry=self._registry).set_function(value)

    def request(self, method: str, route: str, status: int) -> None:
        """Count an answered request."""
        self._requests.labels(method, route, str(status)).inc()

    def job_ended(self, state: State, seconds: float | None) -> None:
        """Count a job that is over; `seconds` is the time it took if it is done."""
        self._jobs.labels(state.value).inc()
        if seconds is not None:
            self._job_seconds.observe(seconds)

    def live_frame(self, fate: str) -> None:
        """Count a picture of a live driver: "drawn", "dropped" for a newer one, or "refused"."""
        self._frames.labels(fate).inc()

    def text(self) -> bytes:
        """All values in Prometheus's text format."""
        return generate_latest(self._registry)
