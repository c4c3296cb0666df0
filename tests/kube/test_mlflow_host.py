"""MLflow opened by a name of its own, through an Ingress or a Gateway."""

import re
from pathlib import Path

import pytest
import yaml

from platform.checkout import ROOT
from tests.kube import builtin
from tests.kube.lint import findings
from tests.kube.overlays import Build, build, on_top, opened
from tests.kube.reach import Peer, reaches


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dev", "gke"])
@pytest.mark.parametrize("component", ["ingress", "gateway"])
def test_nothing_is_left_to_fill_in_and_nothing_is_wrong(component: str, name: str, tmp_path: Path):
    built = opened(component, name, tmp_path)
    new = [each for each in built.objects if each not in build(name).objects]
    assert [line for each in built.objects for line in findings(each, "x")] == []
    for each in new:
        if "gateway.networking" not in each["apiVersion"]:
            assert builtin.errors(each) == [], each["metadata"]["name"]
        assert not {"HOST", "CLASS", "ISSUER", "CONTROLLERS"} & set(str(each).replace("'", " ").split()), each


@pytest.mark.slow
@pytest.mark.parametrize("component", ["ingress", "gateway"])
def test_the_server_answers_to_that_name_and_to_those_of_the_cluster(component: str, tmp_path: Path):
    built = opened(component, "dev", tmp_path)
    before = build("dev").one("ConfigMap", "mlflow-server")["data"]
    after = built.one("ConfigMap", "mlflow-server")["data"]
    assert after["MLFLOW_SERVER_ALLOWED_HOSTS"] == f"{before['MLFLOW_SERVER_ALLOWED_HOSTS']},runs.example.org"
    assert after["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "https://runs.example.org"


@pytest.mark.slow
def test_the_ingress_hands_on_to_the_service_by_tls(tmp_path: Path):
    built = opened("ingress", "dev", tmp_path)
    ingress = built.one("Ingress", "mlflow")
    assert ingress["metadata"]["annotations"]["cert-manager.io/cluster-issuer"] == "ours"
    assert ingress["spec"]["ingressClassName"] == "mine"
    assert ingress["spec"]["tls"] == [{"hosts": ["runs.example.org"], "secretName": "mlflow-tls"}]
    (rule,) = ingress["spec"]["rules"]
    assert rule["host"] == "runs.example.org"
    backend = rule["http"]["paths"][0]["backend"]["service"]
    service = built.one("Service", backend["name"])
    assert backend["port"]["name"] in [each["name"] for each in service["spec"]["ports"]]


@pytest.mark.slow
def test_the_gateway_takes_https_alone_and_its_route_leads_to_the_service(tmp_path: Path):
    built = opened("gateway", "dev", tmp_path)
    gateway, route = built.one("Gateway", "mlflow"), built.one("HTTPRoute", "mlflow")
    (listener,) = gateway["spec"]["listeners"]
    assert (listener["protocol"], listener["port"], listener["hostname"]) == ("HTTPS", 443, "runs.example.org")
    assert gateway["spec"]["gatewayClassName"] == "mine"
    assert gateway["metadata"]["annotations"]["cert-manager.io/cluster-issuer"] == "ours"
    assert route["spec"]["parentRefs"] == [{"name": gateway["metadata"]["name"], "sectionName": listener["name"]}]
    assert route["spec"]["hostnames"] == ["runs.example.org"]
    (backend,) = route["spec"]["rules"][0]["backendRefs"]
    assert backend["port"] in [each["port"] for each in built.one("Service", backend["name"])["spec"]["ports"]]


@pytest.mark.slow
def test_only_pods_of_the_controllers_namespace_reach_the_server(tmp_path: Path):
    built = opened("ingress", "dev", tmp_path)
    policies = built.of("NetworkPolicy")
    labels = built.one("Deployment", "mlflow")["spec"]["template"]["metadata"]["labels"]
    controller, stranger = Peer.pod({"app": "x"}, "traefik"), Peer.pod({"app": "x"}, "default")
    assert reaches(policies, controller, Peer.pod(labels), 5000)
    assert not reaches(policies, stranger, Peer.pod(labels), 5000)
    assert not reaches(policies, Peer(address="198.51.100.9"), Peer.pod(labels), 5000)
    head = {"app.kubernetes.io/part-of": "platform", "app.kubernetes.io/component": "head"}
    assert not reaches(policies, controller, Peer.pod(head), 8265)


@pytest.mark.slow
def test_without_an_address_the_build_says_what_is_missing(tmp_path: Path):
    with pytest.raises(AssertionError, match="mlflow-address"):
        on_top("dev", tmp_path, components=["ingress"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("component", "overlay", "addresses"),
    [
        ("gateway-gke", "gke", ["35.191.3.4", "130.211.1.1", "10.129.1.9"]),
        ("ingress-alb", "eks", ["10.0.3.4"]),
    ],
)
def test_a_load_balancer_that_is_no_pod_reaches_the_servers_and_asks_what_needs_no_account(
    component: str, overlay: str, addresses: list[str], tmp_path: Path
):
    built = opened(component, overlay, tmp_path)
    deployment = built.one("Deployment", "mlflow")["spec"]["template"]
    server = Peer.pod(deployment["metadata"]["labels"])
    for address in addresses:
        assert reaches(built.of("NetworkPolicy"), Peer(address=address), server, 5000), address
    (policy,) = [each for each in built.of("NetworkPolicy") if each["metadata"]["name"] == "mlflow-from-outside"]
    assert all("ipBlock" in each for each in policy["spec"]["ingress"][0]["from"])
    assert [line for each in built.objects for line in findings(each, "x")] == []
    path = deployment["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"]
    if component == "gateway-gke":
        health = built.one("HealthCheckPolicy", "mlflow")["spec"]
        assert health["default"]["config"]["httpHealthCheck"]["requestPath"] == path
        assert built.one("Service", health["targetRef"]["name"])
    else:
        ingress = built.one("Ingress", "mlflow")
        assert builtin.errors(ingress) == []
        settings = ingress["metadata"]["annotations"]
        assert settings["alb.ingress.kubernetes.io/healthcheck-path"] == path
        assert settings["alb.ingress.kubernetes.io/target-type"] == "ip"
        assert built.one("Service", "mlflow")["spec"].get("type", "ClusterIP") == "ClusterIP"
        assert not any("cert-manager" in key for key in settings)
        assert ingress["spec"]["tls"] == [{"hosts": ["runs.example.org"]}]


PAGE = (ROOT / "docs" / "kubernetes-clouds.md").read_text(encoding="utf-8")
LITERALS = dict(re.findall(r"^\| `([\w-]+)` \| `(\[host=.*\])` \|$", PAGE, re.M))
(DROPPED,) = re.findall(r"^patches:\n(?:  .*cert-manager.*\n|  .*Gateway.*\n)+", PAGE, re.M)


def as_written(component: str, overlay: str, folder: Path, literals: str, **more: object) -> Build:
    made = {"name": "mlflow-address", "namespace": "platform", "literals": yaml.safe_load(literals)}
    return on_top(overlay, folder, components=[component], configMapGenerator=[made], **more)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("component", "overlay"), [("ingress", "aks"), ("gateway", "aks"), ("gateway-gke", "gke"), ("ingress-alb", "eks")]
)
def test_each_component_builds_with_the_literals_that_the_page_has_for_it(component: str, overlay: str, tmp_path: Path):
    assert LITERALS.keys() == {"ingress", "gateway", "gateway-gke", "ingress-alb"}
    built = as_written(component, overlay, tmp_path, LITERALS[component])
    assert [line for each in built.objects for line in findings(each, component)] == []
    said = dict(each.split("=", 1) for each in yaml.safe_load(LITERALS[component]))
    opened = [each for each in built.objects if each["kind"] in ("Ingress", "Gateway")]
    policy = built.one("NetworkPolicy", "mlflow-from-outside")
    assert said["host"] in str(opened)
    assert f"'{said['class']}'" in str(opened)
    for key in ("controllers", "issuer"):  # what is none is nowhere
        assert ("'none'" in str([opened, policy])) is False
        assert (f"'{said[key]}'" in str([opened, policy])) is (said[key] != "none"), key


@pytest.mark.parametrize("component", ["gateway-gke", "ingress-alb", "mlflow-host"])
def test_the_head_of_a_component_has_the_pages_literals(component: str):
    head = (ROOT / "k8s" / "components" / component / "kustomization.yaml").read_text(encoding="utf-8")
    assert re.findall(r"^# +literals: (\[.*\])$", head, re.M) == [LITERALS.get(component, LITERALS["ingress"])]


@pytest.mark.slow
@pytest.mark.parametrize("component", ["ingress", "gateway", "gateway-gke"])
def test_without_cert_manager_its_annotation_is_taken_away_as_the_page_says(component: str, tmp_path: Path):
    literals = re.sub("issuer=[\\w-]+", "issuer=none", LITERALS[component])
    built = as_written(component, "gke", tmp_path, literals, patches=yaml.safe_load(DROPPED)["patches"])
    (opened,) = [each for each in built.objects if each["kind"] in ("Ingress", "Gateway")]
    assert not any("cert-manager" in key for key in opened["metadata"].get("annotations", {}))
    assert "'none'" not in str(opened)
    head = (ROOT / "k8s" / "components" / "mlflow-host" / "kustomization.yaml").read_text(encoding="utf-8")
    (patch,) = re.findall("patch: (.*cert-manager.*)", DROPPED)
    assert patch in head
