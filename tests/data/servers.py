"""Real servers for tests: HTTP with ranges and with faults on demand, and an S3-compatible store."""

import contextlib
import http.server
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote
from urllib.request import urlopen

# What a request meets instead of its file: called with the handler, the name and the bytes due.
Fault = Callable[["Handler", str, bytes], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a folder; each request first takes the next fault of its file, if there is one."""

    protocol_version = "HTTP/1.1"
    server: "Server"  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        object_ = re.search(r"/storage/v1/b/[^/]+/o/([^?]+)", self.path)  # as GCS's JSON API addresses it
        name = unquote(object_[1]) if object_ else self.path.lstrip("/")
        path = self.server.folder / name
        self.server.requests[name] += 1
        if not path.is_file():
            self.send_error(404)
            return
        content, status = path.read_bytes(), 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted and self.server.ranges:
            content, status = content[int(wanted[1]) : int(wanted[2]) + 1], 206
        faults = self.server.faults.get(name)
        if faults:
            self.close_connection = True
            faults.pop(0)(self, name, content)
            return
        self.answer(status, content)

    def hang(self) -> None:
        """What changes something gets no answer here."""
        self.server.requests[self.command] += 1
        self.server.stalls.wait(30)
        self.close_connection = True

    do_PUT = do_POST = do_DELETE = hang

    def answer(self, status: int, content: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Server(http.server.ThreadingHTTPServer):
    """One folder over HTTP."""

    daemon_threads = True
    request_queue_size = 64  # connections: of more than the usual five at once the others wait for seconds

    def __init__(self, folder: Path, *, ranges: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.ranges = folder, ranges
        self.requests: Counter[str] = Counter()
        self.faults: dict[str, list[Fault]] = {}
        self.stalls = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def http_server(folder: Path, *, ranges: bool = True) -> Iterator[Server]:
    server = Server(folder, ranges=ranges)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.stalls.set()
        server.shutdown()
        server.server_close()
        thread.join()


def status(code: int) -> Fault:
    return lambda handler, name, content: handler.send_error(code)


def held(until: threading.Event) -> Fault:
    """Sends a little, and the rest once the test says so."""

    def fault(handler: Handler, name: str, content: bytes) -> None:
        handler.answer(206, content[:10], length=len(content))
        handler.wfile.flush()
        until.wait(120)
        handler.wfile.write(content[10:])

    return fault


def cut_short(handler: Handler, name: str, content: bytes) -> None:
    """Promises everything, sends half, hangs up."""
    handler.answer(206, content[: len(content) // 2], length=len(content))


def too_little(handler: Handler, name: str, content: bytes) -> None:
    """Says that half is all there is."""
    handler.answer(206, content[: len(content) // 2])


def other_bytes(handler: Handler, name: str, content: bytes) -> None:
    handler.answer(206, bytes(len(content)))


def stall(handler: Handler, name: str, content: bytes) -> None:
    """Sends a little, then nothing."""
    handler.answer(206, content[:10], length=len(content))
    handler.wfile.flush()
    handler.server.stalls.wait(30)


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """moto's S3 in a process of its own; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with open(folder / "moto.log", "wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | {"MOTO_S3_DEFAULT_MAX_KEYS": "1000"}
        )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with contextlib.suppress(OSError), urlopen(f"{address}/moto-api/"):
                break
            if process.poll() is not None:
                raise RuntimeError((folder / "moto.log").read_text())
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(10)
