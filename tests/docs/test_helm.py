"""Helm's commands in the pages: charts of known versions, and values that these charts have.

No chart is at hand, so their keys stand here: KubeRay's from helm-chart/kuberay-operator/values.yaml at v1.7.0, Kueue's
from charts/kueue/values.yaml at v0.19.2, the GPU Operator's from deployments/gpu-operator/values.yaml.
"""

import re
import shlex

import pytest

from platform.kubernetes.refusals import OPERATOR
from tests.docs.pages import fenced, inline
from tests.docs.test_kubernetes_pages import OURS

VERSIONS = {"kuberay-operator": "1.7.0", "kueue": "0.19.2", "kube-prometheus-stack": "85.3.0"}
BOOL = "true|false"
VALUES = {
    "kuberay-operator": {
        "featureGates[].name": "RayCronJob",
        "featureGates[].enabled": BOOL,
        "env[].name": "RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS",
        "env[].value": r"\d+",
        "metrics.serviceMonitor.enabled": BOOL,
        "metrics.serviceMonitor.additionalLabels.release": "kube-prometheus-stack",
    },
    "kueue": {
        "controllerManager.featureGates[].name": "ElasticJobsViaWorkloadSlices",
        "controllerManager.featureGates[].enabled": BOOL,
        "enablePrometheus": BOOL,
    },
    "gpu-operator": {
        "driver.enabled": BOOL,
        "toolkit.enabled": BOOL,
        "dcgmExporter.serviceMonitor.enabled": BOOL,
        "dcgmExporter.serviceMonitor.additionalLabels.release": "kube-prometheus-stack",
    },
}
TEXTS = "env[]."  # Kubernetes takes text alone, and --set makes numbers of digits


def lines(code: str) -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in code.replace("\\\n", " ").splitlines()]


def installs() -> list[tuple[str, list[str]]]:
    """(page, words) of each command that installs or upgrades a chart."""
    found = [
        (page.name, words)
        for page in OURS
        for code in fenced(page.read_text(encoding="utf-8"))
        for words in lines(code)
        if words[:2] in (["helm", "install"], ["helm", "upgrade"])
    ]
    return [*found, ("the client's own advice", shlex.split(OPERATOR.partition("&& ")[2]))]


def settings(words: list[str]) -> list[tuple[str, str, str]]:
    """(option, key without numbers, value) of what a command sets."""
    options = zip(words, words[1:], strict=False)
    given = [(option, each) for option, text in options if option.startswith("--set") for each in text.split(",")]
    return [
        (option, re.sub(r"\[\d+\]", "[]", each.partition("=")[0]), each.partition("=")[2]) for option, each in given
    ]


INSTALLS = installs()


def test_the_pages_install_what_they_name() -> None:
    assert {words[2] for _, words in INSTALLS} == {*VERSIONS, "gpu-operator"}


@pytest.mark.parametrize(
    ("page", "words"), INSTALLS, ids=[f"{page}: {' '.join(words[1:3])}" for page, words in INSTALLS]
)
def test_a_chart_has_its_version_its_namespace_and_values_that_it_knows(page: str, words: list[str]) -> None:
    chart = words[2]
    assert words[3].rpartition("/")[2] == chart
    assert words[3].startswith(("oci://", "kuberay/", "nvidia/"))
    version = words[words.index("--version") + 1] if "--version" in words else None
    if chart == "gpu-operator":  # the newest, and then the one that is there: new defaults are not reused values
        assert version == (None if words[1] == "install" else "VERSION")
    else:
        assert version == VERSIONS[chart]
    assert "--namespace" in words or "-n" in words
    assert ("--create-namespace" in words) == (words[1] == "install")
    if words[1] == "upgrade" and settings(words):
        assert "--reuse-values" in words, "else what was set before is lost"
    for option, key, value in settings(words):
        assert re.fullmatch(VALUES[chart][key], value), (key, value)
        assert (option == "--set-string") == key.startswith(TEXTS), key


def test_values_named_in_sentences_are_those_of_a_chart() -> None:
    known = {key: value for values in VALUES.values() for key, value in values.items()}
    named = [
        each
        for page in OURS
        for code in inline(page.read_text(encoding="utf-8"))
        if re.match("--set(-string)? ", code)
        for each in settings(shlex.split(code))
    ]
    assert len(named) >= 4
    for option, key, value in named:
        assert re.fullmatch(known[key], value), key
        assert (option == "--set-string") == key.startswith(TEXTS), key


def test_a_gate_is_switched_on_with_its_name_in_the_same_list_entry() -> None:
    for _, words in INSTALLS:
        for text in (each for each in words if "featureGates[" in each):
            numbers = re.findall(r"featureGates\[(\d+)\]\.(name|enabled)", text)
            assert numbers == [("0", "name"), ("0", "enabled")]
