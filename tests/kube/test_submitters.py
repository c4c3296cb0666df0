"""The Role for people who submit: exactly what the client asks, and a component that binds it to a group."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from platform.checkout import ROOT
from platform.kubernetes.refusals import QUEUE_ROLE, ROLE
from platform.kubernetes.submit import submit
from tests.kube import builtin
from tests.kube.apiserver import ApiServer
from tests.kube.apistore import ApiStore
from tests.kube.lint import findings
from tests.kube.rbac import Right, queue_role, rights, role
from tests.kube.test_submit import COMPLETE, INITIALIZING, QUICK, RUNNING, Operator, numbered, queued, submitter

COMPONENT = ROOT / "k8s" / "components" / "submitters"


def test_submitting_following_and_making_anew_take_every_right_of_the_role_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def play(store: ApiStore) -> None:
        store.set_status("ens", INITIALIZING)
        store.wait_for(lambda: Right("", "events", "list") in server.used)
        store.set_status("ens", {"jobDeploymentStatus": "Suspended"})
        store.wait_for(lambda: Right("kueue.x-k8s.io", "workloads", "list") in server.used)
        store.set_status("ens", RUNNING)
        submitter(store, "ens-1", numbered(0, 3))
        store.set_status("ens", COMPLETE)

    with ApiServer(tmp_path) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
        operator = Operator(server.store)
        for _ in range(2):  # the second time it has ended before, and is deleted first
            operator.plays(play)
            assert submit(queued(), context=None, follow=True, patience=QUICK) == 0
        operator.join()
        assert server.used == rights(queue_role()["rules"])
        assert server.used - rights(role()["rules"]) == {Right("kueue.x-k8s.io", "workloads", "list")}


@pytest.mark.parametrize(
    ("overlay", "component"), [("dev", "submitters"), ("gpu", "submitters"), ("queue", "submitters-queue")]
)
@pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl on this machine")
def test_the_component_binds_the_role_to_the_group_that_an_overlay_names(tmp_path: Path, overlay: str, component: str):
    def beside(path: Path) -> str:
        return os.path.relpath(path, tmp_path)

    (patch,) = re.findall(r"patch: '(.*)'", (COMPONENT / "kustomization.yaml").read_text())  # as its head says
    named = patch.replace("GROUP", '"idp:vision team"')
    own = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "platform",
        "resources": [beside(ROOT / "k8s" / "overlays" / overlay)],
        "components": [beside(COMPONENT.parent / component)],
        "patches": [{"target": {"kind": "RoleBinding", "name": "platform-submitters"}, "patch": named}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own))
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    built = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(done.stdout)}
    made, binding = built["Role", "platform-submitter"], built["RoleBinding", "platform-submitters"]
    assert made["rules"] == (queue_role() if component == "submitters-queue" else role())["rules"]
    assert binding["subjects"] == [
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "idp:vision team"}
    ]
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "platform-submitter"}
    for each in (made, binding):
        assert each["metadata"]["namespace"] == "platform"
        assert builtin.errors(each) == []
        assert findings(each, "k8s/components") == []


def test_what_the_errors_name_is_there():
    name, folder = role()["metadata"]["name"], COMPONENT.relative_to(ROOT)
    assert f"the Role {name} ({folder})" == ROLE
    assert f"the Role {name} ({folder}-queue)" == QUEUE_ROLE
