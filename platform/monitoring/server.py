"""The HTTP server that Prometheus asks, by prometheus_client.

In: a host, a port, and a function that says what is known now. Out: a server on a daemon thread, which asks that
function at each request.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from platform.monitoring.metrics import METRICS, Sample


def start_server(host: str, port: int, samples: Callable[[], Iterable[Sample]]) -> tuple[WSGIServer, threading.Thread]:
    """Start it, with a registry of its own: what Ray and others put into the default one has other names.

    Raises:
        OSError: the port is taken, or the host is none of this machine's.
    """
    return start_http_server(port, host, _registry(samples))


def exposition(samples: Callable[[], Iterable[Sample]]) -> bytes:
    """The page that Prometheus gets now."""
    return generate_latest(_registry(samples))


def _registry(samples: Callable[[], Iterable[Sample]]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Samples(samples))
    return registry


class _Samples(Collector):
    """Samples as prometheus_client's families, each with a help text."""

    def __init__(self, samples: Callable[[], Iterable[Sample]]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Family]:
        families = {
            each.name: (CounterMetricFamily if each.is_counter else GaugeMetricFamily)(
                each.name, f"{each.meaning} ({each.unit})", labels=each.labels
            )
            for each in METRICS
        }
        for sample in self._samples():
            families[sample.name].add_metric(sample.labels, sample.value)
        yield from families.values()
