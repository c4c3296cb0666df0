"""What `job=check` says of MLflow: as a pod with the job's account and certificates sees it, and without a pod."""

import socket
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from platform.kubernetes.check.finding import MISSING, OK, UNKNOWN, WARNING
from platform.kubernetes.check.from_within import from_within
from tests.kube.apiserver import ApiServer
from tests.kube.certificate import self_signed
from tests.kube.checking import found
from tests.kube.good_cluster import endpoints
from tests.kube.kubelet import Kubelet
from tests.kube.test_check_pod import MlflowAccounts, mlflow, node, seen
from tests.kube.web import serving

__all__ = ["mlflow", "node"]  # fixtures
pytestmark = pytest.mark.slow
HTTPS = "cluster.kube.tracking_uri=https://mlflow:5000"


class LoginPage(BaseHTTPRequestHandler):
    """Takes everybody, and remembers what it was told."""

    accounts: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.accounts.append(self.headers.get("Authorization"))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002
        pass


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that do not trust it are what these tests are about."""


@pytest.fixture
def login_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(LoginPage, "accounts", [])
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), LoginPage)) as address:
        yield f"http://{address}"


@pytest.fixture
def private(node: Kubelet, tmp_path: Path) -> Iterator[Path]:
    """MLflow by TLS, with a certificate of nobody's; the file of it."""
    certificate = self_signed(tmp_path / "mlflow.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server = Quiet(("127.0.0.1", 0), MlflowAccounts)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with serving(server) as address:
        node.services = {"mlflow:5000": address}
        yield certificate


@pytest.mark.parametrize(
    ("status", "state", "says"),
    [
        (401, MISSING, "refuses the account"),
        (403, MISSING, "(403)"),
        (404, OK, "answers"),
        (500, WARNING, "answers 500"),
    ],
)
def test_what_mlflow_answers(node: Kubelet, monkeypatch: pytest.MonkeyPatch, status: int, state: str, says: str):
    monkeypatch.setattr(MlflowAccounts, "status", status)
    found_state, text = seen()["MLflow"]
    assert (found_state, says in text) == (state, True)


def test_mlflow_that_is_not_reached(good_cluster: ApiServer, node: Kubelet):
    node.services = {"mlflow:5000": "127.0.0.1:1"}
    state, text = seen()["MLflow"]
    assert (state, "is not reached from a pod" in text, "metrics wait" in text) == (WARNING, True, True)
    assert seen("tracking.required=true")["MLflow"][0] == MISSING


def test_mlflow_that_wants_an_account(good_cluster: ApiServer, node: Kubelet):
    node.secrets = {}
    state, text = seen()["MLflow"]
    assert (state, "wants an account (401)" in text) == (MISSING, True)


@pytest.mark.parametrize("required", [False, True])
def test_a_redirect_is_not_followed_and_its_target_sees_no_account(
    node: Kubelet, login_page: str, monkeypatch: pytest.MonkeyPatch, required: bool
):
    monkeypatch.setattr(MlflowAccounts, "status", 302)
    monkeypatch.setattr(MlflowAccounts, "location", f"{login_page}/login?state=hunter2")
    state, text = seen(*(["tracking.required=true"] if required else []))["MLflow"]
    assert LoginPage.accounts == []
    assert state == (MISSING if required else WARNING)
    said = f"http://mlflow:5000 answers 302, a redirect to {login_page}, which does not get the account: "
    assert text.startswith(said)
    assert "hunter2" not in text


def test_a_token_is_an_account_and_the_password_is_before_it(node: Kubelet):
    node.secrets = {"platform-credentials": {"MLFLOW_TRACKING_TOKEN": "t0p"}}
    assert seen()["MLflow"] == (OK, "http://mlflow:5000 answers, and takes the token")
    node.secrets = {"platform-credentials": {"MLFLOW_TRACKING_TOKEN": "another"}}
    assert seen()["MLflow"][1].startswith("http://mlflow:5000 refuses the token that the pods are given (401)")
    login = {"MLFLOW_TRACKING_USERNAME": "eve", "MLFLOW_TRACKING_PASSWORD": "no", "MLFLOW_TRACKING_TOKEN": "t0p"}
    node.secrets = {"platform-credentials": login}
    assert seen()["MLflow"][1].startswith("http://mlflow:5000 refuses the account that the pods are given (401)")


def test_a_token_that_no_header_may_have_is_not_shown(node: Kubelet):
    node.secrets = {"platform-credentials": {"MLFLOW_TRACKING_TOKEN": "t0p-s3cret\n"}}
    state, text = seen()["MLflow"]
    assert (state, "the token has a line end or another character" in text) == (WARNING, True)
    assert "s3cret" not in text


def test_a_name_of_the_account_is_plain_environment(node: Kubelet):
    """A password is not, but a Secret may hold it alone."""
    node.secrets = {"platform-credentials": {"MLFLOW_TRACKING_PASSWORD": "battery horse"}}
    assert seen()["MLflow"][0] == MISSING
    said = seen("+cluster.kube.env={MLFLOW_TRACKING_USERNAME: ann}")
    assert said["MLflow"] == (OK, "http://mlflow:5000 answers, and takes the account")
    assert "MLFLOW_TRACKING_USERNAME" in said["environment"][1]


def test_a_certificate_of_ones_own_authority(private: Path, tmp_path: Path):
    state, text = seen(HTTPS)["MLflow"]
    assert (state, "certificate verify failed" in text) == (WARNING, True)
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH in cluster.kube.env names" in text
    for variable in (
        f"MLFLOW_TRACKING_SERVER_CERT_PATH: {private}",
        f"REQUESTS_CA_BUNDLE: {private}",
        "MLFLOW_TRACKING_INSECURE_TLS: 'true'",
    ):
        assert seen(HTTPS, f"+cluster.kube.env={{{variable}}}")["MLflow"] == (
            OK,
            "https://mlflow:5000 answers, and takes the account",
        )
    state, text = seen(HTTPS, f"+cluster.kube.env={{MLFLOW_TRACKING_SERVER_CERT_PATH: {tmp_path}/absent}}")["MLflow"]
    assert (state, f"certificate {tmp_path}/absent: No such file or directory" in text) == (WARNING, True)


def test_what_is_no_http_server(node: Kubelet):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        node.services = {"mlflow:5000": f"127.0.0.1:{listening.getsockname()[1]}"}

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        Thread(target=answer, daemon=True).start()
        state, text = seen()["MLflow"]
    assert (state, "what answers is no HTTP server: 'SSH-2.0-OpenSSH_9.2" in text) == (WARNING, True)


def test_mlflow_by_its_service(good_cluster: ApiServer):
    good_cluster.objects.add("discovery.k8s.io/v1", "endpointslices", endpoints("mlflow", ready=[False, False]))
    state, text = found(from_within)[1]
    assert (state, text.partition(":")[0]) == (
        WARNING,
        "no server behind Service mlflow in namespace platform is ready",
    )
    good_cluster.objects.remove("services", "mlflow")
    assert found(from_within)[1][1].startswith("there is no Service mlflow in namespace platform")
    here = "tracking.uri=http://localhost:5000"  # pods are given cluster.kube.tracking_uri instead
    assert found(from_within, here)[1][1].startswith("there is no Service mlflow in namespace platform")
    assert found(from_within, "cluster.kube.tracking_uri=https://mlflow.example.com")[1][0] == UNKNOWN
    assert found(from_within, "cluster.kube.tracking_uri=http://mlflow.platform.svc:5000")[1][1].startswith(
        "there is no"
    )
