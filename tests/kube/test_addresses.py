"""Where to look while a job runs: nobody is told a command that the cluster would refuse."""

from pathlib import Path

import pytest

from platform.kubernetes import addresses
from platform.kubernetes.kubeconfig import connect
from tests.kube.apiserver import ApiServer
from tests.kube.rbac import role
from tests.kube.test_submit import QUICK

CLUSTER = "cluster    CLUSTER=$(kubectl -n platform get rayjob ens -o jsonpath={.status.rayClusterName})"
DASHBOARD = "dashboard  kubectl -n platform port-forward svc/$CLUSTER-head-svc 8265   then http://localhost:8265"
TOKEN = "its token  kubectl -n platform get secret $CLUSTER -o jsonpath={.data.auth_token} | base64 -d"
FORWARD = "MLflow     kubectl -n {} port-forward svc/mlflow {}   then http://localhost:5000"
NO_DASHBOARD = "dashboard  to forward its port and read its token takes the operator's rights"


def said(server: ApiServer, monkeypatch: pytest.MonkeyPatch, uri: str = "http://mlflow:5000") -> list[str]:
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
    return [line.strip() for line in addresses.lines(connect(None, QUICK), "platform", "ens", uri)]


def test_an_operator_is_told_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with ApiServer(tmp_path) as server:
        assert said(server, monkeypatch) == [CLUSTER, DASHBOARD, TOKEN, FORWARD.format("platform", "5000")]
        elsewhere = said(server, monkeypatch, "http://mlflow.ml.svc.cluster.local")
        assert elsewhere[-1] == FORWARD.format("ml", "5000:80")


def test_who_only_submits_is_told_no_command_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with ApiServer(tmp_path) as server:
        server.rules = role()["rules"]
        no_mlflow = "MLflow     platform/mlflow: to forward its port takes the operator's rights"
        assert said(server, monkeypatch) == [NO_DASHBOARD, no_mlflow]
        assert said(server, monkeypatch, "https://mlflow.lab.org") == [
            NO_DASHBOARD, "MLflow     https://mlflow.lab.org"
        ]  # fmt: skip
        server.rules = None
        server.objects.hidden.add("get secrets")  # without its token a forwarded dashboard shows nothing
        assert said(server, monkeypatch) == [NO_DASHBOARD, FORWARD.format("platform", "5000")]


def test_a_server_that_does_not_say_what_is_allowed_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with ApiServer(tmp_path) as server:
        server.fail("selfsubjectaccessreviews", 403, times=9)
        assert said(server, monkeypatch)[:3] == [CLUSTER, DASHBOARD, TOKEN]


@pytest.mark.parametrize(
    ("uri", "service"),
    [
        ("http://mlflow:5000", ("platform", "mlflow", 5000)),
        ("https://mlflow", ("platform", "mlflow", 443)),
        ("http://mlflow.platform:5000", ("platform", "mlflow", 5000)),
        ("http://tracking.ml.svc:80", ("ml", "tracking", 80)),
        ("https://mlflow.lab.org", None),
        ("http://10.0.0.7:5000", None),
    ],
)
def test_which_addresses_only_pods_reach(uri: str, service: tuple[str, str, int] | None):
    assert addresses.service_of(uri, "platform") == service
