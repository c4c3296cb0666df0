"""What `job=check` says of network policies and of the plugin that is to enforce them."""

import pytest

from platform.kubernetes.check import network
from platform.kubernetes.check.finding import OK, UNKNOWN, WARNING
from tests.kube.apiserver import ApiServer
from tests.kube.checking import found, one
from tests.kube.good_cluster import daemon_set, node, operator

pytestmark = pytest.mark.slow


def test_policies_let_the_operator_ask_the_head(good_cluster: ApiServer):
    state, said = one(network.policies)
    assert (state, said.endswith("network policies")) == (OK, True)
    good_cluster.objects.remove("deployments")
    good_cluster.objects.add("apps/v1", "deployments", operator(namespace="ray"))
    state, said = found(network.policies)[1]
    assert state == WARNING
    assert said.startswith("no policy lets the operator in ray ask the head (port 8265): the job never starts; patch")
    good_cluster.objects.remove("deployments")
    made = operator()
    made["spec"]["template"]["metadata"]["labels"] = {"app.kubernetes.io/name": "kuberay"}  # by kustomize
    good_cluster.objects.add("apps/v1", "deployments", made)
    assert found(network.policies)[1][0] == WARNING


def test_a_policy_that_is_patched_for_the_operator(good_cluster: ApiServer):
    good_cluster.objects.remove("deployments")
    good_cluster.objects.add("apps/v1", "deployments", operator(namespace="ray"))
    peers = good_cluster.objects.one("networkpolicies", "head")["spec"]["ingress"][1]["from"]
    peers[0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] = "ray"
    assert len(found(network.policies)) == 1
    good_cluster.objects.one("networkpolicies", "head")["spec"]["ingress"][1]["ports"] = [{"port": 52365}]
    assert len(found(network.policies)) == 2


def test_no_policy(good_cluster: ApiServer):
    good_cluster.objects.remove("networkpolicies")
    assert one(network.policies)[0] == WARNING


@pytest.mark.parametrize(
    ("name", "image", "arguments", "state"),
    [
        ("calico-node", "calico/node:v3.30.0", (), OK),
        ("kube-flannel-ds", "flannel:v0.27.0", (), WARNING),
        ("aws-node", "amazon-k8s-cni:v1.20.0", ("--enable-network-policy=true",), OK),
        ("aws-node", "amazon-k8s-cni:v1.20.0", ("--enable-network-policy=false",), WARNING),
        ("kindnet", "docker.io/kindest/kindnetd:v20240813-c6f155d6", (), OK),
        ("kindnet", "docker.io/kindest/kindnetd:v20240513-cd2ac642", (), WARNING),
        ("kindnet", "registry.example.com/kindnetd:ours", (), UNKNOWN),
        ("some-plugin", "plugin:1", (), UNKNOWN),
    ],
)
def test_the_plugin(good_cluster: ApiServer, name: str, image: str, arguments: tuple[str, ...], state: str):
    good_cluster.objects.remove("daemonsets")
    good_cluster.objects.add("apps/v1", "daemonsets", daemon_set(name, image, *arguments))
    assert one(network.enforcement)[0] == state


def test_k3s_enforces_them_itself(good_cluster: ApiServer):
    good_cluster.objects.remove("daemonsets")
    made = node("only", cpu="8", memory="30Gi")
    made["status"]["nodeInfo"]["kubeletVersion"] = "v1.35.1+k3s1"
    good_cluster.objects.add("v1", "nodes", made)
    assert one(network.enforcement) == (OK, "k3s enforces network policies itself")
