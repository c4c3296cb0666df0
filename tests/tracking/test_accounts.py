"""An MLflow server's accounts, asked before anything is trained: a small real HTTP server that wants one."""

import base64
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from platform.config.checks import ConfigError
from platform.config.tracking import TrackingConfig
from platform.tracking.accounts import require_account
from platform.tracking.answers import status_of
from tests.tracking.test_tracker import free_port

ACCOUNT = base64.b64encode("me:p/ss wörd".encode()).decode()


class Asks(BaseHTTPRequestHandler):
    """401 without the account, 404 for its experiments, and 403 for those of others."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        known = self.headers.get("Authorization") in (f"Basic {ACCOUNT}", "Bearer token-of-mine")
        assert urlsplit(self.path).path == "/base/api/2.0/mlflow/experiments/get-by-name"
        self.seen.append(self.path)
        status = 401 if not known else 403 if self.path.endswith("=theirs") else 404
        self.send_response(status)
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class SendsAway(Asks):
    """Another server is the one to ask."""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.server.target)  # type: ignore[attr-defined]
        self.end_headers()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    with HTTPServer(("127.0.0.1", 0), Asks) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}/base"
        server.shutdown()


def test_the_account_may_be_in_the_address_or_in_the_environment(server: str, monkeypatch: pytest.MonkeyPatch):
    require_account(TrackingConfig(uri=f"http://me:p%2Fss%20w%C3%B6rd@{server}"))
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token-of-mine")
    require_account(TrackingConfig(uri=f"http://{server}"))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p/ss wörd")
    require_account(TrackingConfig(uri=f"http://{server}"))


def test_a_wrong_one_is_one_line_without_it(server: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError) as error:
        require_account(TrackingConfig(uri=f"http://me:wrong-password@{server}"))
    assert str(error.value) == (
        f"MLflow at http://me:***@{server} refuses user and password (status 401); give user and password in "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token-of-mine")
    with pytest.raises(ConfigError, match=r"does not let this user read its experiment theirs \(status 403\)"):
        require_account(TrackingConfig(uri=f"http://{server}", experiment="theirs"))


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 \r\n\r\n", b""])
def test_what_is_no_http_server_stops_nothing(answer: bytes):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        uri = f"http://127.0.0.1:{listening.getsockname()[1]}"
        threading.Thread(target=_answer, args=(listening, answer), daemon=True).start()
        require_account(TrackingConfig(uri=uri))
        with pytest.raises(OSError, match=r"^what answers is no HTTP server: \S"):
            status_of(f"{uri}/health")


def _answer(listening: socket.socket, answer: bytes) -> None:
    for _ in range(2):
        with listening.accept()[0] as asking:
            asking.recv(1000)
            asking.sendall(answer)


@pytest.mark.parametrize("uri", ["http://host:abc", "http://:5000", "https://host:70000/base", "http://"])
def test_what_is_no_address_is_said_at_once(uri: str):
    with pytest.raises(
        ConfigError, match=r"^tracking.uri is 'http.*', which has no host, or a port that is not one of"
    ):
        TrackingConfig(uri=uri)


def test_the_account_is_not_taken_to_where_a_redirect_leads(server: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Asks, "seen", [])
    with HTTPServer(("127.0.0.1", 0), SendsAway) as elsewhere:
        elsewhere.target = f"http://{server}/api/2.0/mlflow/experiments/get-by-name"  # type: ignore[attr-defined]
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        require_account(TrackingConfig(uri=f"http://me:password@127.0.0.1:{elsewhere.server_port}"))
        elsewhere.shutdown()
    assert Asks.seen == []


def test_certificates_are_trusted_as_mlflow_trusts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    key, own = str(tmp_path / "key.pem"), str(tmp_path / "own.pem")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=mine", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, *names, "-keyout", key, "-out", own], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, key)
    with HTTPServer(("127.0.0.1", 0), Asks) as private:
        private.socket = context.wrap_socket(private.socket, server_side=True)
        threading.Thread(target=private.serve_forever, daemon=True).start()
        address = f"https://127.0.0.1:{private.server_port}/base/api/2.0/mlflow/experiments/get-by-name"
        with pytest.raises(OSError, match="certificate verify failed"):
            status_of(address)
        for name, value in (
            ("MLFLOW_TRACKING_INSECURE_TLS", "True"),
            ("MLFLOW_TRACKING_SERVER_CERT_PATH", own),
            ("REQUESTS_CA_BUNDLE", own),
        ):
            with monkeypatch.context() as patch:
                patch.setenv(name, value)
                assert status_of(address) == 401
        private.shutdown()


def test_who_is_away_is_waited_for_and_a_database_has_no_accounts():
    require_account(TrackingConfig(uri=f"http://me:password@127.0.0.1:{free_port()}"))
    require_account(TrackingConfig(uri="sqlite:///nowhere.db"))
