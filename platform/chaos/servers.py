"""Servers in processes of their own that can be killed and started again at the same address.

In: a folder. Out: a URL that stays the same while the server is killed and started again.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from platform.chaos import session

START_TIMEOUT_S = 60.0


class Server:
    """A server on a free port of this machine, in processes of its own; a context manager."""

    environment: Mapping[str, str] = {}

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it listens.

        Raises:
            RuntimeError: it ended, or took longer than a minute.
        """
        self._process = subprocess.Popen(
            self._command(self._port), cwd=self._folder, env=os.environ | self.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + START_TIMEOUT_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"{type(self).__name__} did not start at {self.url}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the server and its workers at once, if it runs."""
        if self._process:
            session.kill(self._process.pid)
            self._process.wait()
            self._process = None

    def send(self, number: int) -> None:
        """Send a signal to all its processes, such as SIGSTOP, which makes it hang until SIGCONT."""
        if self._process:
            os.killpg(self._process.pid, number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _command(self, port: int) -> list[str]:
        raise NotImplementedError

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


class MlflowServer(Server):
    """MLflow with an SQLite store and artifacts in the folder, which stay when it is killed."""

    environment: Mapping[str, str] = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven processes less

    def _command(self, port: int) -> list[str]:
        return [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
            "--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}",
            "--artifacts-destination", str(self._folder / "artifacts"),
        ]  # fmt: skip


class ShardServer(Server):
    """A folder of shards over plain HTTP, whole files only: `data.shards` is its URL."""

    def _command(self, port: int) -> list[str]:
        return [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]


class Absences:
    """Keeps servers down for a while on a thread; a context manager, which waits until all are back.

    If the block ends by an exception, servers that are down stay down.
    """

    def __init__(self, down_s: float) -> None:
        self._down_s = down_s
        self._early = threading.Event()
        self._pool = ThreadPoolExecutor(thread_name_prefix="absence")
        self._returns: dict[Server, Future[None]] = {}

    def begin(self, server: Server) -> None:
        """Kill a server and start it again later, on a thread; waits for the end of its earlier absence.

        Raises:
            RuntimeError: it did not start again after that.
        """
        if server in self._returns:
            self._returns.pop(server).result()
        server.kill()
        self._returns[server] = self._pool.submit(self._end, server)

    def _end(self, server: Server) -> None:
        if not self._early.wait(self._down_s):
            server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error:
            self._early.set()
        self._pool.shutdown()
        if not error:
            for each in self._returns.values():
                each.result()
