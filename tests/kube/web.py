"""HTTP servers of tests, and what one answers."""

import contextlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import HTTPServer
from threading import Thread


@contextlib.contextmanager
def serving(server: HTTPServer) -> Iterator[str]:
    """Answers on a thread for the time of the block; yields its address, as 127.0.0.1:PORT."""
    with server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def status(
    url: str, user: str | None = None, password: str = "", body: bytes | None = None, **headers: str
) -> int | None:
    """HTTP status of a GET, or of a POST with this JSON; None where nobody listens."""
    if body is not None:
        headers["Content-Type"] = "application/json"
    passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
    if user:
        passwords.add_password(None, url, user, password, is_authenticated=True)
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
    try:
        with opener.open(urllib.request.Request(url, body, headers), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
