"""A store that answers late: files over HTTP, with ranges, each request counted.

In: what a name holds. Out: a URL on this machine.
"""

import http.server
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Self

DELAY_S = 0.05  # before an answer


class SlowStore(http.server.ThreadingHTTPServer):
    """Serves what `content` gives for a name. Use with `with`.

    Args:
        content: name -> bytes, for all names but those in `files`.
        delay_s: before each answer.
    """

    daemon_threads = True
    request_queue_size = 64  # connections: of more than the usual five at once the others wait for seconds

    def __init__(self, content: Callable[[str], bytes], delay_s: float = DELAY_S) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.delay_s = content, delay_s
        self.files: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()  # by name
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SlowStore  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.requests[name] += 1
        time.sleep(self.server.delay_s)
        whole = self.server.files.get(name) or self.server.content(name)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        part = whole[int(wanted[1]) : int(wanted[2]) + 1] if wanted else whole
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing is printed."""
