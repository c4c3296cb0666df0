"""What `job=check` says of KubeRay: its kinds, its operator, feature gates, flags; of rights and of the dry run."""

from typing import Any

import pytest

from platform.kubernetes.check import admission, kuberay, quota
from platform.kubernetes.check.finding import MISSING, OK, UNKNOWN, WARNING
from platform.kubernetes.check.live import Hidden, Live
from platform.kubernetes.check.rights import rights
from platform.kubernetes.kubeconfig import connect
from tests.kube.apiserver import ApiServer
from tests.kube.checking import ENSEMBLE, QUICK, found, job_of, one
from tests.kube.good_cluster import GATES, PATIENCE, operator

pytestmark = pytest.mark.slow
NIGHTLY = ("cluster.kube.schedule=@daily", "cluster.kube.deadline_h=20", "name=nightly")
CONFIG = (
    "apiVersion: config.ray.io/v1alpha1\nkind: Configuration\nwatchNamespace: {watched}\nbatchScheduler: {scheduler}\n"
)


def install(server: ApiServer, deployment: Any) -> None:
    server.objects.remove("deployments")
    server.objects.add("apps/v1", "deployments", deployment)


def configured(server: ApiServer, *, watched: str = '""', scheduler: str = '""') -> None:
    """The chart with `configuration.enabled`: settings in a ConfigMap, gates in a flag."""
    made = operator("--config", "/etc/kuberay/config.yaml", f"--feature-gates={GATES}")
    volume = {"name": "operator-config", "configMap": {"name": "kuberay-operator-config"}}
    made["spec"]["template"]["spec"]["volumes"] = [volume]
    install(server, made)
    meta = {"name": "kuberay-operator-config", "namespace": "kuberay-system"}
    text = CONFIG.format(watched=watched, scheduler=scheduler)
    server.objects.add("v1", "configmaps", {"metadata": meta, "data": {"config.yaml": text}})


def test_kinds_of_kuberay(good_cluster: ApiServer):
    assert one(kuberay.kinds) == (OK, "rayjobs, rayclusters of ray.io/v1")
    good_cluster.objects.ray_kinds.remove("raycronjobs")
    assert one(kuberay.kinds)[0] == OK
    state, said = one(kuberay.kinds, *NIGHTLY)
    assert (state, said.partition(";")[0]) == (MISSING, "the API server does not know raycronjobs")
    del good_cluster.objects.groups["ray.io"]
    state, said = one(kuberay.kinds)
    assert (state, said.partition(";")[0]) == (MISSING, "the API server does not know rayjobs, rayclusters")
    assert "helm install kuberay-operator" in said


def test_the_operator_and_its_version(good_cluster: ApiServer):
    assert one(kuberay.operator) == (OK, "KubeRay v1.7.0 in kuberay-system")
    install(good_cluster, operator(image="quay.io/kuberay/operator@sha256:" + "0" * 64))
    assert one(kuberay.operator) == (OK, "KubeRay of a version that its image does not name in kuberay-system")
    install(good_cluster, operator(image="registry.example.com:5000/kuberay/operator:v1.4.2"))
    assert one(kuberay.operator) == (
        WARNING,
        "KubeRay v1.4.2, and jobs are written for 1.7; upgrade it, its kinds first",
    )
    install(good_cluster, operator() | {"status": {}})
    state, said = one(kuberay.operator)
    assert state == MISSING
    assert said.startswith("KubeRay v1.7.0 in kuberay-system is not ready")
    install(good_cluster, operator() | {"metadata": {"name": "other", "namespace": "shop", "labels": {}}})
    assert one(kuberay.operator)[0] == WARNING


def test_an_operator_elsewhere_is_found_and_one_of_kustomize_too(good_cluster: ApiServer):
    made = operator(namespace="ray")
    made["metadata"]["labels"] = {"app.kubernetes.io/name": "kuberay"}
    install(good_cluster, made)
    assert one(kuberay.operator) == (OK, "KubeRay v1.7.0 in ray")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "for 300 s has"),
        ({"value": "300"}, "for 300 s has"),
        ({"value": "60"}, "for 60 s has"),
        ({"value": '"1800"'}, 'for 300 s, as RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS="1800" is no number of seconds, has'),
        ({"value": "-1"}, "for 300 s, as RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS=-1 is no number of seconds, has"),
        ({"value": "1800"}, None),
        ({"valueFrom": {"configMapKeyRef": {"name": "settings", "key": "seconds"}}}, None),
    ],
)
def test_how_long_the_operator_waits_for_a_head(good_cluster: ApiServer, given: dict[str, Any], said: str | None):
    made = operator()
    variable = [{"name": PATIENCE["name"], **given}] if given else []
    made["spec"]["template"]["spec"]["containers"][0]["env"] = variable
    install(good_cluster, made)
    first, *more = found(kuberay.operator)
    assert first == (OK, "KubeRay v1.7.0 in kuberay-system")
    assert [state for state, _ in more] == ([WARNING] if said else [])
    if said:
        assert f"a job whose head does not answer it {said} failed and is not retried" in more[0][1]
        assert more[0][1].endswith(f"--set-string 'env[0].name={PATIENCE['name']},env[0].value=1800')")


def test_an_older_operator_has_no_such_limit(good_cluster: ApiServer):
    made = operator(image="quay.io/kuberay/operator:v1.6.0")
    made["spec"]["template"]["spec"]["containers"][0]["env"] = []
    install(good_cluster, made)
    assert one(kuberay.operator)[1].startswith("KubeRay v1.6.0, and jobs are written for 1.7")


def test_namespaces_that_the_operator_watches(good_cluster: ApiServer):
    for flags in (["--watch-namespace", "shop,lab"], ["--watch-namespace=shop,lab"]):
        install(good_cluster, operator(*flags))
        state, said = found(kuberay.operator)[-1]
        assert (state, said.partition(";")[0]) == (MISSING, "it watches shop,lab, not platform")
    install(good_cluster, operator("--watch-namespace", "lab,platform"))
    assert len(found(kuberay.operator)) == 1
    configured(good_cluster, watched="lab")
    assert found(kuberay.operator)[-1][1].startswith("it watches lab, not platform")
    configured(good_cluster)
    assert len(found(kuberay.operator)) == 1
    good_cluster.objects.hidden.add("get configmaps")
    state, said = found(kuberay.operator)[-1]
    assert (state, "get configmaps in namespace kuberay-system" in said) == (UNKNOWN, True)


def test_settings_of_the_operator_that_tell_nothing_are_told_apart(good_cluster: ApiServer):
    """None of these is a matter of rights."""
    volcano = "cluster.kube.gang=volcano"
    configured(good_cluster, scheduler="volcano")
    assert one(kuberay.gang_scheduler, volcano)[0] == OK
    held = good_cluster.objects.one("configmaps", "kuberay-operator-config")
    for text, said in (
        ("watchNamespace: [", "its --config /etc/kuberay/config.yaml is no YAML (while parsing a flow node)"),
        ("", "its --config /etc/kuberay/config.yaml holds no settings"),
    ):
        held["data"] = {"config.yaml": text}
        assert one(kuberay.gang_scheduler, volcano) == (UNKNOWN, said)
        assert found(kuberay.operator)[-1] == (UNKNOWN, f"which namespaces it watches: {said}")
    lost = "its --config /etc/kuberay/config.yaml is in no ConfigMap that -n kuberay-system deployment/kuberay-operator"
    held["data"] = {"another.yaml": ""}
    assert one(kuberay.gang_scheduler, volcano) == (UNKNOWN, f"{lost} mounts")
    good_cluster.objects.remove("configmaps")
    assert one(kuberay.gang_scheduler, volcano) == (UNKNOWN, f"{lost} mounts")
    install(good_cluster, operator("--config=/etc/kuberay/config.yaml"))
    assert one(kuberay.gang_scheduler, volcano) == (UNKNOWN, f"{lost} mounts")


def test_feature_gates(good_cluster: ApiServer):
    assert one(kuberay.feature_gates) == (OK, "RayJobDeletionPolicy on")
    assert one(kuberay.feature_gates, "cluster.kube.queue=platform") == (OK, "none is needed")
    state, said = one(kuberay.feature_gates, *NIGHTLY)
    assert (state, said) == (
        MISSING,
        "RayCronJob is off: nothing would run at the times of the schedule; add RayCronJob=true to --feature-gates of "
        "-n kuberay-system deployment/kuberay-operator (Helm: featureGates)",
    )
    install(good_cluster, operator("--feature-gates", "RayCronJob=true"))
    assert one(kuberay.feature_gates, *NIGHTLY) == (OK, "RayJobDeletionPolicy, RayCronJob on")
    install(good_cluster, operator("--feature-gates=RayJobDeletionPolicy=false"))
    assert one(kuberay.feature_gates)[0] == MISSING
    install(good_cluster, operator())  # without the flag the defaults hold
    assert one(kuberay.feature_gates)[0] == OK
    assert one(kuberay.feature_gates, *NIGHTLY)[0] == MISSING
    good_cluster.objects.hidden.add("list deployments")
    with pytest.raises(Hidden, match=r"list deployments\.apps in namespace kuberay-system"):
        one(kuberay.feature_gates)


def test_the_gang_scheduler(good_cluster: ApiServer):
    assert found(kuberay.gang_scheduler) == []
    state, said = one(kuberay.gang_scheduler, "cluster.kube.gang=volcano")
    assert (state, said.partition(";")[0]) == (MISSING, "the operator uses none, cluster.kube.gang is volcano")
    for flags in (["--enable-batch-scheduler"], ["--batch-scheduler=volcano"]):
        install(good_cluster, operator(*flags))
        assert one(kuberay.gang_scheduler, "cluster.kube.gang=volcano") == (OK, "the operator uses volcano")
    assert one(kuberay.gang_scheduler, "cluster.kube.gang=yunikorn")[0] == MISSING
    configured(good_cluster, scheduler="yunikorn")
    assert one(kuberay.gang_scheduler, "cluster.kube.gang=yunikorn")[0] == OK


def test_rights(good_cluster: ApiServer):
    assert one(rights) == (OK, "create, get rayjobs.ray.io and all that following takes")
    good_cluster.objects.hidden |= {"get pods/log", "list events"}
    assert [(state, said.partition(" in namespace")[0]) for state, said in found(rights)] == [
        (WARNING, "you may not get pods/log"),
        (WARNING, "you may not list events"),
    ]
    good_cluster.objects.hidden.add("create rayjobs")
    state, said = found(rights)[0]
    assert state == MISSING
    assert said.startswith("you may not create rayjobs.ray.io in namespace platform")
    assert said.endswith("auth can-i create rayjobs.ray.io tells")
    assert one(rights, *NIGHTLY) == (OK, "create, get raycronjobs.ray.io")


def test_the_namespace(good_cluster: ApiServer):
    assert one(admission.namespace) == (OK, "platform, Pod Security: restricted")
    good_cluster.objects.one("namespaces", "platform")["status"] = {"phase": "Terminating"}
    assert one(admission.namespace)[0] == MISSING
    good_cluster.objects.remove("namespaces")
    state, said = one(admission.namespace)
    assert (state, said.partition(" https")[0]) == (MISSING, "platform does not exist; is")
    assert "cluster.kube.context" in said


def test_the_dry_run(good_cluster: ApiServer):
    assert one(admission.manifest) == (OK, "schema and admission take the RayJob")
    assert one(admission.manifest, *NIGHTLY) == (OK, "schema and admission take the RayCronJob")
    good_cluster.fail("POST .*/rayjobs", 503)
    good_cluster.forbidden["create rayjobs"] = 'admission webhook "vrayjob.kueue.x-k8s.io" denied the request: no queue'
    with pytest.raises(Exception, match="503"):
        one(admission.manifest)
    state, said = one(admission.manifest)
    assert (state, "the cluster's rules forbid this RayJob (403): admission webhook" in said) == (MISSING, True)
    good_cluster.objects.hidden.add("create rayjobs")
    assert one(admission.manifest) == (UNKNOWN, "needs the right to create rayjobs.ray.io in namespace platform")


def test_a_job_that_is_there(good_cluster: ApiServer):
    job = job_of(*ENSEMBLE)
    good_cluster.store.create("platform", job.manifest, strict=False, dry_run=False)
    good_cluster.store.set_status(job.name, {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"})
    (present, dry_run) = found(admission.manifest)
    assert present[0] == OK
    assert present[1].startswith(f"{job.name} is there (Running")
    assert dry_run[0] == OK  # under another name


def test_the_check_of_a_sweep_finds_the_sweep_that_runs(good_cluster: ApiServer):
    words = ("+experiment=sampling_schedule_sweep", "cluster=kuberay", "cluster.kube.pods=4")
    sweep, checked = job_of(*words), job_of(*words, "job=check")
    assert checked.name == sweep.name
    good_cluster.store.create("platform", sweep.manifest, strict=False, dry_run=False)
    good_cluster.store.set_status(sweep.name, {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"})
    live = Live(connect(None, QUICK))
    assert next(admission.manifest(live, checked)).said.startswith(f"{sweep.name} is there (Running")
    (room,) = quota.quotas(live, checked)
    assert (room.state, "as a job of this name runs" in room.said) == (OK, True)
