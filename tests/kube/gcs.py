"""Google Cloud Storage's JSON API: what its client needs to list, read and write whole objects of one bucket."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from tests.kube.web import serving


class Handler(http.server.BaseHTTPRequestHandler):
    """A bucket is a folder, an object a file."""

    protocol_version = "HTTP/1.1"
    bucket: Path

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        query = {key: value[0] for key, value in parse_qs(asked.query).items()}
        named = re.fullmatch(rf"(?:/download)?/storage/v1/b/{self.bucket.name}/o(?:/(.+))?", asked.path)
        if named is None:
            self.answer(404, b'{"error": {"code": 404, "message": "The specified bucket does not exist."}}')
        elif named[1] is None:
            self.list(query)
        elif (file := self.bucket / unquote(named[1])).is_file() and query.get("alt") == "media":
            content = file.read_bytes()
            digest = base64.b64encode(hashlib.md5(content).digest()).decode()
            self.answer(200, content, {"X-Goog-Hash": f"md5={digest}"})
        else:
            self.answer(404, b'{"error": {"code": 404, "message": "No such object"}}')

    def list(self, query: dict[str, str]) -> None:
        """Two a page, so that its pages are turned."""
        names = [path.relative_to(self.bucket).as_posix() for path in self.bucket.rglob("*") if path.is_file()]
        found = sorted(name for name in names if name.startswith(query.get("prefix", "")))
        start, count = int(query.get("pageToken", "0")), min(2, int(query.get("maxResults", "2")))
        items = [self.described(name) for name in found[start : start + count]]
        page: dict[str, object] = {"kind": "storage#objects", "items": items}
        if start + count < len(found):
            page["nextPageToken"] = str(start + count)
        self.answer(200, json.dumps(page).encode())

    def do_POST(self) -> None:
        """An upload in one request: a part with the name, a part with the content."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        mark = self.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
        _, described, content, _ = body.split(b"--" + mark)
        name = json.loads(described.partition(b"\r\n\r\n")[2])["name"]
        file = self.bucket / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n"))
        self.answer(200, json.dumps(self.described(name)).encode())

    def described(self, name: str) -> dict[str, str]:
        stat = (self.bucket / name).stat()
        updated = datetime.fromtimestamp(stat.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {"name": name, "bucket": self.bucket.name, "size": str(stat.st_size), "updated": updated}

    def answer(self, status: int, content: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(content)), "Content-Type": "application/json"} | (more or {})
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextlib.contextmanager
def gcs_server(bucket: Path) -> Iterator[str]:
    """Its address, for STORAGE_EMULATOR_HOST."""
    handler = type("Bucket", (Handler,), {"bucket": bucket})
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as address:
        yield f"http://{address}"
