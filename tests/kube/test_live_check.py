"""`job=check` asks an API server: a cluster where all is well, one where nothing can be seen, and one that is away."""

from pathlib import Path

import pytest

from platform.kubernetes.check.finding import MISSING, OK, UNKNOWN, WARNING
from platform.kubernetes.check.run import CHECKS, ask_cluster
from tests.kube.apiserver import ApiServer
from tests.kube.checking import ENSEMBLE, QUICK, all_of, job_of
from tests.kube.rbac import queue_role, role

pytestmark = pytest.mark.slow
EVERYTHING = (
    *ENSEMBLE,
    "cluster.kube.queue=platform",
    "cluster.kube.queue_priority=platform-high",
    "cluster.kube.priority_class=platform-high",
    "cluster.kube.cache_class=platform-shared",
    "+cluster.kube.node_selector={pool: h200}",
)
READ = ("get", "list")
KINDS = (
    "deployments", "namespaces", "resourcequotas", "limitranges", "persistentvolumeclaims", "storageclasses", "secrets",
    "priorityclasses", "localqueues", "clusterqueues", "resourceflavors", "workloadpriorityclasses", "nodes",
    "networkpolicies",
    "daemonsets", "services", "endpointslices",
)  # fmt: skip


def test_in_a_good_cluster_every_line_is_ok(good_cluster: ApiServer, capsys: pytest.CaptureFixture[str]):
    job = job_of(*EVERYTHING)
    seen = all_of(job)
    states = {finding.about: finding.state for finding in seen}
    assert states.pop("image") == UNKNOWN  # no pod is made here
    assert set(states.values()) == {OK}, [finding for finding in seen if finding.state != OK]
    assert states.keys() >= {about for about, _ in CHECKS} - {"gang scheduler", "image"}
    assert ask_cluster(job.manifest, job.config, QUICK) == 0
    said = capsys.readouterr().out
    assert "cluster     Kubernetes v1.36.0 at https://127.0.0.1" in said
    assert said.endswith("nothing that is sure to make the job fail was found; 1 unknown\n")
    assert "KubeRay v1.7.0 in kuberay-system" in said


def test_a_check_changes_nothing_and_reads_no_secret(good_cluster: ApiServer):
    all_of(job_of(*EVERYTHING))
    assert [query for method, _, query in good_cluster.asked if method == "POST" and "reviews" not in _] == [
        {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "platform"}
    ]
    assert {method for method, _, _ in good_cluster.asked} == {"GET", "POST"}
    assert not good_cluster.store.jobs("platform")
    secrets = [accept for path, accept in good_cluster.objects.asked if "/secrets" in path]
    assert secrets
    assert all("as=PartialObjectMetadata" in accept for accept in secrets)


def test_what_the_rights_do_not_show_is_unknown_with_the_right_that_does(good_cluster: ApiServer):
    good_cluster.objects.hidden |= {f"{verb} {kind}" for verb in READ for kind in KINDS}
    seen = all_of(job_of(*EVERYTHING))
    hidden = [finding for finding in seen if finding.state == UNKNOWN]
    assert {finding.state for finding in seen} == {OK, UNKNOWN}
    assert {"operator", "quota", "volume", "secrets", "nodes", "queue", "GPUs"} <= {each.about for each in hidden}
    said = {finding.about: finding.said for finding in hidden}
    assert said["nodes"] == "needs the right to list nodes"
    assert said["quota"] == "needs the right to list resourcequotas in namespace platform"
    remedies = {finding.about: finding.remedy for finding in hidden}
    assert remedies["quota"] == "the Role platform-checker (k8s/components/checkers) has it"
    assert remedies["nodes"] == ""
    assert said["operator"] == "needs the right to list deployments.apps in namespace kuberay-system"


def test_with_the_role_for_people_who_submit_nothing_looks_wrong(good_cluster: ApiServer):
    good_cluster.rules = queue_role()["rules"]
    seen = all_of(job_of(*EVERYTHING, "cluster.kube.check_pod_s=60"))
    states = {finding.about: finding.state for finding in seen}
    assert set(states.values()) == {OK, UNKNOWN}
    assert {about for about, state in states.items() if state == OK} == {
        "KubeRay's kinds",
        "rights",
        "dry run",
        "grace",
    }
    assert {finding.said for finding in seen if finding.about == "MLflow"} == {
        "whether a server is ready needs the right to get services in namespace platform"
    }
    assert good_cluster.objects.pods_made == []


def test_with_the_role_of_a_cluster_without_a_queue_a_queued_job_says_what_is_missing_and_who_gives_it(
    good_cluster: ApiServer,
):
    good_cluster.rules = role()["rules"]
    (found,) = [each for each in all_of(job_of(*EVERYTHING)) if each.about == "rights"]
    assert found.state == WARNING
    assert "may not list workloads.kueue.x-k8s.io in namespace platform" in found.said
    assert found.said.endswith("the Role platform-submitter (k8s/components/submitters-queue) gives it")


def test_the_offline_part_goes_on_where_no_cluster_answers(
    good_cluster: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    job = job_of(*ENSEMBLE)
    for trouble, status in (("away", 0), ("no kubeconfig", 0), ("another's token", 1)):
        if trouble == "away":
            monkeypatch.setenv("KUBECONFIG", str(good_cluster.write_kubeconfig(tmp_path / "elsewhere", port=1)))
        elif trouble == "no kubeconfig":
            monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
        else:
            monkeypatch.setenv("KUBECONFIG", str(good_cluster.write_kubeconfig(tmp_path / "expired", token="expired")))
        assert ask_cluster(job.manifest, job.config, QUICK) == status
        said = capsys.readouterr().out
        assert said.startswith("cluster     not asked: ")
        assert len(said.splitlines()) == 1
    assert "does not take your credentials (401)" in said


def test_a_server_that_goes_away_in_between_ends_the_questions(good_cluster: ApiServer):
    good_cluster.fail("/resourcequotas", 503)
    seen = all_of(job_of(*ENSEMBLE))
    assert seen[-1].about == "quota"
    assert seen[-1].state == UNKNOWN
    assert seen[-1].said.endswith("what comes after it was not asked")


@pytest.mark.parametrize("quantity", ["12 cores", "1e99999999999999999999"])
def test_a_quantity_that_is_not_known_here_is_unknown_and_the_rest_is_asked(good_cluster: ApiServer, quantity: str):
    limits = {"limits": [{"type": "Pod", "max": {"cpu": quantity}}]}
    made = {"metadata": {"name": "odd", "namespace": "platform"}, "spec": limits}
    good_cluster.objects.add("v1", "limitranges", made)
    states = {finding.about: (finding.state, finding.said) for finding in all_of(job_of(*ENSEMBLE))}
    said = f"cpu is '{quantity}', which is no quantity that is known here"
    assert states["limit range"] == (UNKNOWN, said)
    assert states["volume"][0] == OK


def test_what_is_certain_makes_the_status_1(good_cluster: ApiServer, capsys: pytest.CaptureFixture[str]):
    job = job_of(*ENSEMBLE)
    good_cluster.objects.remove("persistentvolumeclaims")
    assert ask_cluster(job.manifest, job.config, QUICK) == 1
    said = capsys.readouterr().out
    assert "1 missing: the job would fail" in said
    (line,) = [line for line in said.splitlines() if line.startswith(MISSING)]
    assert line.split(maxsplit=2)[1] == "volume"
    assert WARNING not in said


def test_whose_rayjob_is_there_already_is_said(good_cluster: ApiServer):
    job = job_of(*EVERYTHING)
    own, other = job.manifest["metadata"], {"apiVersion": "ray.io/v1", "kind": "RayJob", "spec": {}}
    for metadata, said in (
        ({"name": own["name"]}, "is there, of no experiment of this platform: this one gets another name"),
        (
            {"name": own["name"], "annotations": own["annotations"]},
            "is there (New: waits for the KubeRay operator): the",
        ),
    ):
        good_cluster.store.release(own["name"])
        good_cluster.store.create("platform", other | {"metadata": metadata}, strict=False, dry_run=False)
        (found,) = [each for each in all_of(job) if each.about == "RayJob"]
        assert found.said.startswith(f"{own['name']} {said}")
