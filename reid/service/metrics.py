"""Metrics for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from reid.service.bodies import Bodies
from reid.service.gallery_service import GalleryService
from reid.service.worker import Worker

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts requests, and measures the queue, the memory of bodies and the gallery."""

    def __init__(self, worker: Worker, bodies: Bodies, service: GalleryService) -> None:
        """Start at zero; the gauges are read from the parts whenever they are asked for."""
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
        gauges = (
            ("reid_queue_images", "Images that wait for the encoder.", lambda: worker.num_waiting),
            ("reid_held_bytes", "Bytes of bodies in memory.", lambda: bodies.num_bytes),
            ("reid_gallery_images", "Images in the gallery.", lambda: service.num_images),
        )
        for name, text, value in gauges:
            Gauge(name, text, registry=self._registry).set_function(value)

    def count(self, method: str, route: str, *, status: int, seconds: float) -> None:
        """Count a request by its route's pattern, since paths contain labels without end."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
