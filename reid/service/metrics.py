"""Metrics for Prometheus."""

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["CONTENT_TYPE", "Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts requests, and measures the queue, the memory of bodies and the gallery."""

    def __init__(
        self,
        *,
        num_waiting: Callable[[], int],
        num_held_bytes: Callable[[], int],
        num_images: Callable[[], int],
    ) -> None:
        """Start at zero; the arguments return the current values of the gauges."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "reid_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "reid_request_seconds",
            "Seconds from a request's header to the end of its answer.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._gauge("reid_queue_images", "Images that wait for the encoder.", num_waiting)
        self._gauge("reid_held_bytes", "Bytes of bodies in memory.", num_held_bytes)
        self._gauge("reid_gallery_images", "Images in the gallery.", num_images)

    def count(self, method: str, route: str, *, status: int, seconds: float) -> None:
        """Count a request by its route's pattern, since paths contain labels without end."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, text: str, value: Callable[[], int]) -> None:
        Gauge(name, text, registry=self._registry).set_function(value)
