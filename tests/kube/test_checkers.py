"""The Role that lets people who submit check as well: what the check reads of the namespace, and nothing else."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from platform.checkout import ROOT
from platform.kubernetes.check.finding import OK, UNKNOWN
from platform.kubernetes.refusals import CHECKER
from tests.kube import builtin
from tests.kube.apiserver import ApiServer
from tests.kube.checking import all_of, job_of
from tests.kube.lint import findings
from tests.kube.rbac import queue_role, rights, role
from tests.kube.test_live_check import EVERYTHING

pytestmark = pytest.mark.slow
COMPONENT = ROOT / "k8s" / "components" / "checkers"
PATCH = """
- target: {kind: RoleBinding, name: platform-(submitters|checkers)}
  patch: '- {op: replace, path: /subjects/0/name, value: vision}'
"""


def test_a_check_takes_every_right_of_the_role_and_shows_what_its_lines_promised(good_cluster: ApiServer):
    submitters, checkers = queue_role()["rules"], role("checkers")["rules"]
    good_cluster.rules = submitters
    before = all_of(job_of(*EVERYTHING))
    promised = {finding.about for finding in before if CHECKER in finding.remedy}
    assert promised == {"namespace", "quota", "limit range", "volume", "queue", "network", "MLflow"}
    good_cluster.used.clear()
    good_cluster.rules = submitters + checkers
    after = all_of(job_of(*EVERYTHING))
    assert good_cluster.used - rights(submitters) == rights(checkers)
    assert {finding.state for finding in after} == {OK, UNKNOWN}
    shown = {finding.about for finding in after if finding.state == OK}
    assert shown - {finding.about for finding in before if finding.state == OK} == promised
    assert not [finding for finding in after if CHECKER in finding.remedy]
    unknown = {finding.about: finding.said for finding in after if finding.state == UNKNOWN}
    assert unknown["secrets"] == "needs the right to get secrets in namespace platform"
    assert unknown["nodes"] == "needs the right to list nodes"


def test_the_role_only_reads_and_shows_no_secret():
    given = rights(role("checkers")["rules"])
    assert {each.verb for each in given} == {"get", "list"}
    assert not {each.resource for each in given} & {"secrets", "configmaps", "pods", "pods/log", "rayjobs"}


def test_what_the_lines_name_is_there():
    named = f"{role('checkers')['metadata']['name']} ({COMPONENT.relative_to(ROOT)})"
    assert CHECKER.removeprefix("the Role ") == named


@pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl on this machine")
def test_one_patch_names_the_group_of_both_components(tmp_path: Path):
    """As the head of the component says."""
    assert PATCH.strip().splitlines()[0] in (COMPONENT / "kustomization.yaml").read_text()
    own = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(ROOT / "k8s" / "overlays" / "dev", tmp_path)],
        "components": [os.path.relpath(COMPONENT.parent / each, tmp_path) for each in ("submitters", "checkers")],
        "patches": yaml.safe_load(PATCH),
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own))
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    built = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(done.stdout)}
    for name, called in (("platform-submitters", "platform-submitter"), ("platform-checkers", "platform-checker")):
        binding, made = built["RoleBinding", name], built["Role", called]
        assert [each["name"] for each in binding["subjects"]] == ["vision"]
        assert binding["roleRef"]["name"] == called
        for each in (made, binding):
            assert each["metadata"]["namespace"] == "platform"
            assert builtin.errors(each) == []
            assert findings(each, "k8s/components") == []
