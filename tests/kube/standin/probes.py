"""Probes of a container, as the kubelet makes them: by HTTP without a token, or by a command in the container.

In: the probe's manifest. Out: whether it succeeds or fails, by its thresholds.
"""

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path

import requests

from tests.kube.standin.derive import Manifest
from tests.kube.standin.machine import Places


class Probe:
    """One probe of a container: asks in a thread, and counts."""

    def __init__(self, spec: Manifest, ask: Callable[[], bool], threads: Executor) -> None:
        self._spec, self._ask, self._threads = spec, ask, threads
        self._due = time.monotonic() + spec.get("initialDelaySeconds", 0)
        self._answer: Future[bool] | None = None
        self.successes = self.failures = 0  # in a row

    def tick(self) -> None:
        if self._answer is not None and self._answer.done():
            if self._answer.result():
                self.successes, self.failures = self.successes + 1, 0
            else:
                self.successes, self.failures = 0, self.failures + 1
            self._answer, self._due = None, self._due + self._spec.get("periodSeconds", 10)
        if self._answer is None and time.monotonic() >= self._due:
            self._due = time.monotonic()
            self._answer = self._threads.submit(self._ask)

    @property
    def succeeds(self) -> bool:
        return self.successes >= self._spec.get("successThreshold", 1)

    @property
    def fails(self) -> bool:
        return self.failures >= self._spec.get("failureThreshold", 3)


def http(places: Places, address: str, spec: Manifest) -> Callable[[], bool]:
    """Asks by HTTP; every status from 200 to 399 is a yes."""
    get = spec["httpGet"]
    url = f"http://{address}:{places.ports[int(get['port'])]}{get.get('path', '/')}"

    def ask() -> bool:
        try:
            answer = requests.get(url, timeout=spec.get("timeoutSeconds", 1), allow_redirects=False)
        except requests.RequestException:
            return False
        return 200 <= answer.status_code < 400

    return ask


def command(words: list[str], variables: dict[str, str], folder: Path, spec: Manifest) -> Callable[[], bool]:
    """Runs a command with the container's variables: 0 is a yes, and too late is a no. Its output goes nowhere, as the
    kubelet's: it is in an event only."""

    def ask() -> bool:
        try:
            done = subprocess.run(
                words, env=variables, cwd=folder, timeout=spec.get("timeoutSeconds", 1),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    return ask
