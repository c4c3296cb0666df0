"""A Prometheus server of the test's own, on a free port, with its data in a folder: Debian's, skipped without."""

import contextlib
import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import yaml

from tests.tracking.test_tracker import free_port

READY_S, STOPPING_S = 60.0, 20.0


class Prometheus:
    """A server that runs."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, promql: str) -> list[Any]:
        """The series that a query has now."""
        return self._get("query", query=promql)["result"]

    def label_values(self, label: str, series: str) -> list[str]:
        """What Grafana's label_values(series, label) lists."""
        return self._get(f"label/{label}/values", **{"match[]": series})

    def wait_for(self, promql: str, seconds: float = READY_S) -> list[Any]:
        """The first answer to a query that is not empty, or the last one."""
        return _until(lambda: self.query(promql), seconds)

    def _get(self, what: str, **words: str) -> Any:
        with urllib.request.urlopen(f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(words)}", timeout=30) as answer:
            return json.load(answer)["data"]


@contextlib.contextmanager
def prometheus(
    folder: Path, target: str, every_s: int = 1, *, more: list[dict[str, Any]] | None = None
) -> Iterator[Prometheus]:
    """A server that asks `target` (HOST:PORT) every `every_s` seconds; `more` are further scrape configs."""
    program = shutil.which("prometheus")
    if not program:
        pytest.skip("no prometheus on this machine: apt-get install prometheus")
    config, port = folder / "prometheus.yml", free_port()
    scrape = {"job_name": "platform", "static_configs": [{"targets": [target]}]}
    config.write_text(
        yaml.safe_dump({"global": {"scrape_interval": f"{every_s}s"}, "scrape_configs": [scrape, *(more or [])]})
    )
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        assert _until(lambda: _answers(f"{url}/-/ready"), READY_S), (folder / "log").read_text()
        yield Prometheus(url)
    finally:
        server.terminate()
        try:
            server.wait(STOPPING_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _until(ask: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while not (found := ask()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def _answers(url: str) -> bool:
    with contextlib.suppress(URLError):
        return urllib.request.urlopen(url, timeout=5).status == 200
    return False
