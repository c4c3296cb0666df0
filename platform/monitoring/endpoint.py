"""The page that Prometheus reads: `GET /metrics` of the launcher.

In: an address, and a function that says what is known now. Out: a server, or a warning why there is none: a training is
never ended for the sake of its metrics.
"""

import logging
from collections.abc import Callable, Iterable

from platform.monitoring.metrics import Sample

log = logging.getLogger("platform")


class Endpoint:
    """Answers Prometheus until `close`.

    Args:
        address: HOST:PORT; port 0: a free one. None: nothing answers.
        samples: all that is known; called at each request, in its thread.
    """

    def __init__(self, address: str | None, samples: Callable[[], Iterable[Sample]]) -> None:
        self.url = ""  # empty: nothing answers
        self._server = self._thread = None
        if address is None:
            return
        from platform.monitoring.server import start_server  # takes time to import

        host, _, port = address.rpartition(":")
        try:
            self._server, self._thread = start_server(host.strip("[]"), int(port), samples)
        except OSError as error:  # another launcher's on this machine, most likely
            log.warning(
                "tracking.prometheus_address is %s, where no server can be (%s): metrics are not exported; give "
                "another port, or 0 for a free one",
                address,
                error.strerror or error,
            )
            return
        self.url = f"http://{host}:{self._server.server_port}/metrics"

    def say(self, say: Callable[[str], None]) -> None:
        """Tell where it is, if it is anywhere."""
        if self.url:
            say(f"metrics for Prometheus at {self.url}")

    def close(self) -> None:
        """Free the port."""
        if self._server and self._thread:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
