"""An API server over TLS, with tokens, for the calls that `platform.kubernetes` makes; with faults on demand.

with ApiServer(folder) as server:       KUBECONFIG=server.kubeconfig
    server.store.on_create(...)         what a controller would do is in apistore.py
    server.fail(r"/pods", 500)          the next such request; "hang" and "reset", too; a text is the message of a 500
    server.rules = role()["rules"]      what the user may do in the namespace platform; without: everything
    server.away(3.0)                    nobody listens for three seconds, open connections end
"""

import base64
import contextlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.kube.apistore import ApiStore, Checks, Object, Pod, StatusError
from tests.kube.certificate import self_signed
from tests.kube.cluster_objects import ClusterObjects
from tests.kube.rbac import Right, Rules, rights

TOKEN, USER = "token-of-the-test", "ann"
RAYJOBS = re.compile(r"/apis/ray\.io/v1/namespaces/([^/]+)/rayjobs(?:/([^/]+)(/status)?)?$")
CORE = re.compile(r"/api/v1/namespaces/([^/]+)/(pods|events)(?:/([^/]+)/(log))?$")


class ApiServer:
    """Use with `with`. `store` is what it keeps, `asked` what it was asked: (method, path, query)."""

    def __init__(
        self,
        folder: Path,
        *,
        namespaces: tuple[str, ...] = ("platform",),
        checks: Checks | None = None,
        has_crds: bool = True,
    ) -> None:
        self.store = ApiStore(namespaces, checks or Checks())
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.rules: Rules | None = None  # of the Role that the user has in the namespace `platform`; None: all rights
        self.used: set[Right] = set()  # rights that requests took
        self.forbidden: dict[str, str] = {}  # "create rayjobs" -> message, of admission say
        self.has_crds = has_crds
        self.objects = ClusterObjects(self.store, namespaces)
        self.objects.used = self.used
        self.ended = threading.Event()
        self.breaks = 0  # of logs, so far
        self._faults: list[tuple[str, int | str]] = []
        self._certificate = self_signed(folder / "server.pem")
        self._server: _Server | None = None
        self._returns: threading.Thread | None = None
        self.port = 0
        self._listen()
        self.kubeconfig = self.write_kubeconfig(folder / "kubeconfig")

    def __enter__(self) -> "ApiServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        if self._returns:
            self._returns.join()
        self._close()

    def write_kubeconfig(self, path: Path, *, token: str = TOKEN, port: int | None = None) -> Path:
        """A kubeconfig with the context `test`."""
        certificate = base64.b64encode(self._certificate.read_bytes()).decode()
        server = {"server": f"https://127.0.0.1:{port or self.port}", "certificate-authority-data": certificate}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def fail(self, path: str, how: int | str, times: int = 1) -> None:
        """The next requests whose method and path match get this status, or "hang", or "reset"."""
        self._faults += [(path, how)] * times

    def away(self, seconds: float) -> None:
        """Go now, and come back at the same port."""
        self._close()

        def come_back() -> None:
            self.ended.wait(seconds)
            self._listen()

        self._returns = threading.Thread(target=come_back)
        self._returns.start()

    def break_logs(self) -> None:
        """Every open log ends in the middle of a line."""
        with self.store.changed:
            self.breaks += 1
            self.store.changed.notify_all()

    def fault(self, request: str) -> int | str | None:
        for number, (path, how) in enumerate(self._faults):
            if re.search(path, request):
                del self._faults[number]
                return how
        return None

    def _listen(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.api = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate, self._certificate.with_suffix(".key"))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _close(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server.end_connections()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    api: ApiServer

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = 60
    VERBS: ClassVar = {"POST": "create", "GET": "get", "DELETE": "delete", "PUT": "update"}

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002
        pass

    def _serve(self) -> None:
        api, url = self.server.api, urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        api.asked.append((self.command, url.path, query))
        try:
            self._suffer(api.fault(f"{self.command} {url.path}"))
            if (answer := self._objects(url.path, query, body)) is not None:
                self._answer(201 if self.command == "POST" else 200, answer)
                return
            self._authorise(url.path)
            if found := RAYJOBS.match(url.path):
                self._answer(200 if self.command != "POST" else 201, self._rayjobs(found, query, body))
            elif found := CORE.match(url.path):
                self._core(found, query)
            else:
                self._page_not_found()
        except StatusError as error:
            self._answer(error.code, error.body)

    def _suffer(self, how: int | str | None) -> None:
        if how == "hang":
            self.server.api.ended.wait()
        if how in ("hang", "reset"):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            raise ConnectionResetError
        if isinstance(how, int):
            raise StatusError(how, "InternalError", "etcdserver: request timed out")
        if how is not None:
            raise StatusError(500, "InternalError", str(how))

    def _authorise(self, path: str) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise StatusError(401, "Unauthorized", "Unauthorized")
        api, (namespace, resource, *rest) = self.server.api, path.split("/namespaces/")[-1].split("/")
        name, part = [*rest, None, None][:2]
        verb = "list" if self.command == "GET" and name is None else self.VERBS[self.command]
        group = path.split("/")[2] if path.startswith("/apis/") else ""
        right = Right(group, f"{resource}/{part}" if part else resource, verb)
        if api.rules is not None and (namespace != "platform" or right not in rights(api.rules)):
            raise StatusError(403, "Forbidden", right.refusal(USER, namespace, name), name=name, kind=resource)
        if message := api.forbidden.get(f"{verb} {right.resource}"):
            raise StatusError(403, "Forbidden", message, kind=resource)
        api.used.add(right)

    def _objects(self, path: str, query: dict[str, str], body: Object) -> Object | None:
        """The answer for everything but RayJobs, lists of pods, logs and events; None: it is for those."""
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return None  # refused by the next step
        rules = self.server.api.rules
        self.server.api.objects.rights = None if rules is None else rights(rules)
        return self.server.api.objects.answer(self.command, path, query, self.headers.get("Accept", ""), body)

    def _rayjobs(self, found: re.Match[str], query: dict[str, str], body: Object) -> Object:
        store, (namespace, name, status) = self.server.api.store, found.groups()
        if not self.server.api.has_crds:
            raise StatusError(404, "", "page")
        if status and self.command == "PUT":
            return store.replace_status(namespace, name, body)
        if self.command == "POST":
            strict = query.get("fieldValidation") == "Strict"
            return store.create(namespace, body, strict=strict, dry_run=query.get("dryRun") == "All")
        if self.command == "DELETE":
            return store.delete(namespace, name, body)
        return store.get(namespace, name) if name else {"kind": "RayJobList", "items": store.jobs(namespace)}

    def _core(self, found: re.Match[str], query: dict[str, str]) -> None:
        store, (namespace, kind, name, log) = self.server.api.store, found.groups()
        if log:
            self._log(store.log(namespace, name), query)
        elif kind == "pods":
            pods = store.find_pods(namespace, query.get("labelSelector", ""))
            self._answer(200, {"kind": "PodList", **_page(pods, query)})
        else:
            self._answer(200, {"kind": "EventList", **_page(store.find_events(query.get("fieldSelector", "")), query)})

    def _log(self, pod: Pod, query: dict[str, str]) -> None:
        if pod.object["status"]["phase"] == "Pending" and not pod.object["status"].get("containerStatuses"):
            self.send_response(204)  # it is on no node yet
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        since = query.get("sinceTime", "")[:19]  # the kubelet is told whole seconds
        try:
            for line in self._lines(pod, follow=query.get("follow") == "true"):
                if line[:19] >= since:
                    self._chunk(f"{line}\n".encode())
            self._chunk(b"")
        except _Broken as broken:
            self._chunk(str(broken).encode())
            self._suffer("reset")

    def _lines(self, pod: Pod, *, follow: bool) -> Iterator[str]:
        """A pod's lines until it ends, or until now."""
        api, sent = self.server.api, 0
        breaks = api.breaks
        while True:
            with api.store.changed:
                while follow and len(pod.lines) == sent and api.breaks == breaks and not _is_over(api.store, pod):
                    api.store.changed.wait(1.0)
                new, over = pod.lines[sent:], _is_over(api.store, pod)
            if api.breaks > breaks:
                time, text = new[0] if new else ("2030-01-01T00:00:00.5Z", "half a line that never was")
                raise _Broken(f"{time} {text[: len(text) // 2]}")
            for time, text in new:
                yield f"{time} {text}"
            sent += len(new)
            if (over or not follow) and not new:
                return

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def _page_not_found(self) -> None:
        self._send(404, "text/plain", b"404 page not found\n")

    def _answer(self, code: int, body: Object) -> None:
        if code == 404 and body.get("message") == "page":
            self._page_not_found()
        else:
            self._send(code, "application/json", json.dumps(body).encode())

    def _send(self, code: int, kind: str, content: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Broken(Exception):
    """A connection that ends in the middle of this line."""


def _page(found: list[Object], query: dict[str, str]) -> Object:
    """By name, as etcd has them; with `limit` so many, and where the rest begins."""
    found.sort(key=lambda each: each["metadata"]["name"])
    first = int(query.get("continue") or 0)
    end = first + int(query.get("limit") or len(found))
    return {"items": found[first:end], "metadata": {"continue": str(end)} if end < len(found) else {}}


def _is_over(store: ApiStore, pod: Pod) -> bool:
    return pod.object["status"]["phase"] in ("Succeeded", "Failed") or all(pod is not p for p in store.pods.values())
