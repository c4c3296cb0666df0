"""The component `monitoring`: it builds on every overlay, its monitor finds the pods, its network rules let it ask."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform.checkout import ROOT
from platform.monitoring.metrics import METRICS
from tests.kube import builtin
from tests.kube.components import with_component
from tests.kube.lint import findings
from tests.kube.overlays import Build
from tests.kube.pods import pods
from tests.kube.reach import Peer, reaches, selects
from tests.kube.rendered import render
from tests.monitoring.dashboard import METRIC, NEIGHBOURS
from tests.monitoring.neighbours import LABELS

COMPONENT = ROOT / "k8s" / "components" / "monitoring"
PROMETHEUS = Peer.pod({"app.kubernetes.io/name": "prometheus"}, "monitoring")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return with_component("dev", "monitoring", tmp_path_factory.mktemp("dev"))


@pytest.fixture(scope="module")
def rayjob() -> dict[str, Any]:
    return render("+experiment=googlenet")


@pytest.mark.slow
@pytest.mark.parametrize("overlay", ["gpu", "queue"])
def test_it_goes_on_top_of_every_overlay(tmp_path: Path, overlay: str):
    assert with_component(overlay, "monitoring", tmp_path).one("PodMonitor", "platform-jobs")


@pytest.mark.slow
def test_its_objects_are_valid_and_in_the_namespace(built: Build):
    for each in built.objects:
        assert findings(each, "built") == []
        if each["apiVersion"] != "monitoring.coreos.com/v1":  # of which no schema is at hand
            assert builtin.errors(each) == [], each["metadata"]["name"]
    for kind in ("PodMonitor", "PrometheusRule"):
        labels = built.one(kind, "platform-jobs")["metadata"]["labels"]
        assert labels["release"] == "kube-prometheus-stack"
        assert built.one(kind, "platform-jobs")["metadata"]["namespace"] == "platform"


@pytest.mark.slow
def test_grafana_finds_the_dashboard_as_it_is_in_the_file(built: Build):
    found = built.one("ConfigMap", "platform-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["data"] == {"platform.json": (COMPONENT / "dashboard.json").read_text()}


def labels(pod: Any) -> dict[str, str]:
    return pod.template["metadata"]["labels"]


def ports(pod: Any) -> dict[str, int]:
    found = {each["name"]: each["containerPort"] for each in pod.spec["containers"][0].get("ports", [])}
    return {"metrics": 8080} | found  # by the operator, where a pod does not say it


@pytest.mark.slow
def test_its_monitor_selects_heads_and_workers_by_ports_that_they_have(built: Build, rayjob: dict[str, Any]):
    spec = built.one("PodMonitor", "platform-jobs")["spec"]
    asked = {each["port"] for each in spec["podMetricsEndpoints"]}
    jobs = {pod.role: pod for pod in pods(rayjob)}
    for role, scraped in (("head", asked), ("worker", {"metrics"})):
        assert selects(spec["selector"], labels(jobs[role]))
        assert asked & ports(jobs[role]).keys() == scraped
        assert set(spec["podTargetLabels"]) <= {"ray.io/cluster", *labels(jobs[role])}  # the first is the operator's
    assert not selects(spec["selector"], labels(jobs["submitter"]))
    for each in built.objects:
        assert not any(selects(spec["selector"], labels(pod)) for pod in pods(each)), "MLflow has no such port"


@pytest.mark.slow
def test_prometheus_may_ask_for_metrics_and_for_nothing_else(built: Build, rayjob: dict[str, Any]):
    policies, jobs = built.of("NetworkPolicy"), {pod.role: pod for pod in pods(rayjob)}
    spec = built.one("PodMonitor", "platform-jobs")["spec"]
    for role in ("head", "worker"):
        target = Peer.pod(labels(jobs[role]))
        for each in spec["podMetricsEndpoints"]:
            if port := ports(jobs[role]).get(each["port"]):
                assert reaches(policies, PROMETHEUS, target, port), (role, each)
                for stranger in (
                    Peer.pod({}, "monitoring"),
                    Peer.pod({"app.kubernetes.io/name": "prometheus"}, "other"),
                ):
                    assert not reaches(policies, stranger, target, port), (role, each)
        for port in (6379, 8265, 10001, 52365):
            assert not reaches(policies, PROMETHEUS, target, port), (role, port)
    assert not reaches(policies, PROMETHEUS, Peer.pod(labels(jobs["worker"])), 9464)


@pytest.mark.slow
def test_alerts_are_valid_and_ask_for_metrics_that_there_are(tmp_path: Path):
    rules = yaml.safe_load((COMPONENT / "alerts.yaml").read_text())["spec"]
    names = {each.name for each in METRICS}
    for rule in rules["groups"][0]["rules"]:
        assert set(METRIC.findall(rule["expr"])) <= names, rule["alert"]
        of_others = NEIGHBOURS.findall(rule["expr"])
        assert set(of_others) <= LABELS.keys(), rule["alert"]
        for metric in of_others:
            named = set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", "".join(re.findall(metric + r"\{(.*?)\}", rule["expr"]))))
            assert named
            assert named <= LABELS[metric], rule["alert"]
        assert rule["annotations"].keys() == {"summary", "description"}
    if not shutil.which("promtool"):
        pytest.skip("no promtool on this machine: apt-get install prometheus")
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.slow
def test_alerts_come_when_they_should(tmp_path: Path):
    """By promtool, on series written by hand: one value a minute."""
    if not shutil.which("promtool"):
        pytest.skip("no promtool on this machine: apt-get install prometheus")
    rules = yaml.safe_load((COMPONENT / "alerts.yaml").read_text())["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    shutil.copy(Path(__file__).parent / "alerts_test.yaml", tmp_path / "test.yaml")
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr + done.stdout
