"""RayJobs from the config: what KubeRay's definitions, its operator and a security review would accept."""

import re
from typing import Any

import pytest
import yaml

from platform.checkout import ROOT
from platform.config.checks import ConfigError
from platform.config.kubernetes import SPOT_LABELS
from platform.kubernetes import rendering
from platform.kubernetes.names import is_same, whose
from tests.kube.lint import findings
from tests.kube.rendered import composed, on_kubernetes, render
from tests.kube.schema import CRDS, errors

EXAMPLES = ROOT / "k8s" / "jobs"
# The command lines of k8s/jobs, which are at once the examples people read and the record of what is rendered.
COMMANDS = {
    "googlenet-ens": ["+experiment=googlenet_ens"],
    "googlenet-ens-dev": ["+experiment=googlenet_ens", "name=dev", "cluster=kuberay_dev"],
    "googlenet-ens-imagenet": [
        "+experiment=googlenet_ens", "data=imagenet", "data.shards=s3://my-bucket/imagenet",
        "checkpoint.copy_to=s3://my-bucket/runs", "cluster.workers={min:2,max:8}", "cluster.kube.workers_per_pod=8",
        "cluster.kube.memory_gb=256", "cluster.kube.capacity=spot",
    ],
    "sampling-schedule-sweep": ["+experiment=sampling_schedule_sweep", "cluster.kube.pods={min:1,max:4}"],
    "queued": [
        "+experiment=googlenet_ens", "name=queued",
        "cluster.kube.queue=platform", "cluster.kube.queue_priority=platform-high",
    ],
    "nightly": [
        "+experiment=googlenet", "name=nightly", "fresh=true", "cluster.kube.retries=0",
        "cluster.kube.deadline_h=20", "cluster.kube.schedule='0 2 * * *'",
    ],
}  # fmt: skip
OTHERS = {
    "processors only": ["cluster.gpus_per_worker=0", "cluster.cpus_per_worker=1"],
    "on demand, close by": ["cluster.kube.capacity=on_demand", "cluster.kube.topology_key=topology.kubernetes.io/zone"],
    "volcano": ["cluster.kube.gang=volcano", "cluster.kube.gang_queue=training", "cluster.kube.priority_class=high"],
    "yunikorn": ["cluster.kube.gang=yunikorn", "cluster.kube.gang_queue=root.training"],
    "kai": ["cluster.kube.gang=kai-scheduler", "cluster.kube.gang_queue=training"],
    "plugins": ["cluster.kube.gang=scheduler-plugins"],
    "state in Redis": ["cluster.kube.redis_address=redis:6379"],
    "a queue that lets jobs scale": ["cluster.kube.queue=platform", "cluster.kube.pods={min:1,max:8}"],
    "a cache of its own": ["data.shards=gs://bucket/digits", "cluster.kube.cache_class=fast"],
    "plain environment": ["+cluster.kube.env={NCCL_DEBUG:INFO}", "cluster.kube.pull_secrets=[registry]"],
    "no secrets": ["cluster.kube.secrets=[]"],
    "what waits for MLflow": ["job=deliver"],
}  # fmt: skip
needs_crds = pytest.mark.skipif(not CRDS.is_dir(), reason="no ../shared/reference/kuberay-crds beside this checkout")


def all_renderings() -> dict[str, dict[str, Any]]:
    others = {name: render("+experiment=googlenet", *words) for name, words in OTHERS.items()}
    return {name: render(*words) for name, words in COMMANDS.items()} | others


@pytest.fixture(scope="module")
def renderings() -> dict[str, dict[str, Any]]:
    return all_renderings()


def job_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """A RayCronJob as the RayJob that it makes."""
    if manifest["kind"] == "RayJob":
        return manifest
    return manifest | {"kind": "RayJob", "spec": manifest["spec"]["jobTemplate"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_what_is_rendered(name: str):
    """`make manifests` writes them anew; a change of them is a change of what runs."""
    words = on_kubernetes(*COMMANDS[name])
    assert (EXAMPLES / f"{name}.yaml").read_text() == rendering.text(render(*COMMANDS[name]), words)


def test_every_example_has_its_command():
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == COMMANDS.keys()


@pytest.mark.slow
@needs_crds
def test_kuberays_definitions_accept_every_rendering(renderings: dict[str, dict[str, Any]]):
    assert {name: errors(job_of(manifest)) for name, manifest in renderings.items()} == {
        name: [] for name in renderings
    }


def test_neither_the_operator_nor_a_security_review_finds_anything(renderings: dict[str, dict[str, Any]]):
    assert {name: findings(job_of(manifest), name) for name, manifest in renderings.items()} == {
        name: [] for name in renderings
    }


def test_text_reads_back_as_the_manifest(renderings: dict[str, dict[str, Any]]):
    for manifest in renderings.values():
        text = rendering.text(manifest, ["+experiment=googlenet", "cluster.render_to=x.yaml"])
        assert yaml.safe_load(text) == manifest
        assert "render_to" not in text
        assert "&id" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "pods"),
    [
        ([], (7, 7)),  # one for each member
        (["cluster.lanes=2"], (2, 2)),
        (["cluster.fuse=6"], (2, 2)),  # six together, and the wider one
        (["cluster.fuse=6", "job=evaluate"], (7, 7)),
        (["cluster.workers=4", "cluster.lanes=2"], (8, 8)),
        (["cluster.workers={min:2,max:8}", "cluster.lanes=1"], (2, 8)),
        (["cluster.workers={min:2,max:8}"], (2, 56)),
        (["cluster.workers=8", "cluster.kube.workers_per_pod=8"], (7, 7)),
        (["cluster.kube.workers_per_pod=4"], (2, 2)),
        (["cluster.kube.pods=3"], (3, 3)),
        (["cluster.kube.pods={min:0,max:2}"], None),
        (["cluster.workers=8", "cluster.kube.pods=3"], None),
    ],
)
def test_as_many_pods_as_the_members_need_side_by_side(words: list[str], pods: tuple[int, int] | None):
    if pods is None:
        with pytest.raises(ConfigError, match=r"cluster\.kube\.pods is"):
            render("+experiment=googlenet_ens", *words)
        return
    cluster = render("+experiment=googlenet_ens", *words)["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == pods
    assert group["replicas"] == pods[0]
    assert cluster.get("enableInTreeAutoscaling", False) == (pods[0] < pods[1])


def test_time_limits_are_as_many_seconds_as_were_asked_for():
    """Floats make 252.00000000000003 seconds of 0.07 hours."""
    words = ["cluster.kube.deadline_h=0.07", "cluster.kube.start_timeout_s=90"]
    spec = render("+experiment=googlenet", *words)["spec"]
    assert (spec["activeDeadlineSeconds"], spec["preRunningDeadlineSeconds"]) == (252, 90)
    nightly = render("+experiment=googlenet", "cluster.kube.schedule=@daily", *words)["spec"]["jobTemplate"]
    assert (nightly["activeDeadlineSeconds"], nightly["preRunningDeadlineSeconds"]) == (252, 90)


def test_a_submitter_whose_head_is_gone_is_ended_within_two_minutes():
    (container,) = render("+experiment=googlenet")["spec"]["submitterPodTemplate"]["spec"]["containers"]
    probe = container["livenessProbe"]
    assert probe.get("initialDelaySeconds", 0) == 0
    failing_s = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    assert failing_s + probe["terminationGracePeriodSeconds"] <= 120


@pytest.mark.parametrize("words", [[], ["cluster.kube.schedule=@daily", "cluster.kube.deadline_h=20"]])
def test_a_run_is_begun_anew_once_for_the_cluster_of_its_head(words: list[str]):
    """By a label that KubeRay gives the head: each attempt, and each job of a schedule, has another cluster."""
    fresh = job_of(render("+experiment=googlenet", "fresh=true", "cluster.kube.retries=0", *words))
    assert _of_head(fresh)["PLATFORM_FRESH_FOR"] == {"fieldRef": {"fieldPath": "metadata.labels['ray.io/cluster']"}}
    assert "PLATFORM_FRESH_FOR" not in _of_head(job_of(render("+experiment=googlenet", *words)))


def _of_head(rayjob: dict[str, Any]) -> dict[str, Any]:
    """The variables of the head's container."""
    (container,) = rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("valueFrom", each.get("value")) for each in container["env"]}


@pytest.mark.slow
def test_where_pods_come_when_asked_for_lanes_ask_for_all_of_them():
    assert "cluster.fuse=6" in render("+experiment=googlenet_ens", "cluster.fuse=6")["spec"]["entrypoint"]
    fixed = render("+experiment=googlenet_ens")["spec"]["entrypoint"]
    assert "cluster.autoscaled" not in fixed
    assert "cluster.lanes" not in fixed
    words = ["cluster.workers=4", "cluster.kube.workers_per_pod=8", "cluster.kube.pods={min:1,max:3}"]
    assert (
        "cluster.lanes=6 cluster.autoscaled=true" in render("+experiment=googlenet_ens", *words)["spec"]["entrypoint"]
    )
    words = ["cluster.workers={min:1,max:8}", "cluster.kube.pods={min:1,max:3}"]
    assert (
        "cluster.lanes=1 cluster.autoscaled=true" in render("+experiment=googlenet_ens", *words)["spec"]["entrypoint"]
    )
    words = ["cluster.kube.pods={min:1,max:3}", "cluster.lanes=2"]
    assert (
        "cluster.lanes=2 cluster.autoscaled=true" in render("+experiment=googlenet_ens", *words)["spec"]["entrypoint"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "workers"),
    [
        ([], 7),  # of seven pods
        (["cluster.kube.pods=3", "cluster.kube.workers_per_pod=4"], 12),
        (["cluster.kube.pods={min:2,max:5}"], 2),  # what the autoscaler keeps; the others come when asked for
        (["cluster.workers={min:2,max:8}", "cluster.kube.workers_per_pod=8"], 8),
        (["cluster.expected_workers=4"], 4),
        (["job=pack", "data.source=images", "cluster.kube.pods=4"], 4),
    ],
)
def test_the_command_waits_for_the_workers_that_the_manifest_asks_for(words: list[str], workers: int):
    entrypoint = render("+experiment=googlenet_ens", *words)["spec"]["entrypoint"].split()
    assert [word for word in entrypoint if "expected" in word] == [f"cluster.expected_workers={workers}"]


@pytest.mark.slow
def test_what_waits_for_mlflow_is_delivered_without_workers():
    rayjob = render("+experiment=googlenet_ens", "job=deliver", "cluster.expected_workers=7")
    assert "workerGroupSpecs" not in rayjob["spec"]["rayClusterSpec"]
    words = rayjob["spec"]["entrypoint"].split()
    assert "job=deliver" in words
    assert "cluster.gpus_per_worker=0" in words
    assert [word for word in words if "expected" in word] == []
    assert rayjob["spec"]["backoffLimit"] == 0  # where MLflow is away, it is so for the next cluster, too
    assert render("+experiment=googlenet_ens")["spec"]["backoffLimit"] == 3


@pytest.mark.slow
def test_a_pod_has_what_its_workers_need():
    words = ["cluster.kube.workers_per_pod=4", "cluster.cpus_per_worker=6", "cluster.gpus_per_worker=2"]
    (group,) = render("+experiment=googlenet_ens", *words)["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert (limits["cpu"], limits["nvidia.com/gpu"], limits["memory"]) == ("24", "8", "32Gi")
    without = render("+experiment=googlenet_ens", "cluster.gpus_per_worker=0")["spec"]["rayClusterSpec"]
    template = without["workerGroupSpecs"][0]["template"]["spec"]
    assert "nvidia.com/gpu" not in str(template)


def test_a_sweep_must_say_how_many_pods():
    with pytest.raises(ConfigError, match=r"say how many: cluster\.kube\.pods=8, or"):
        render("+experiment=sampling_schedule_sweep")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["name=slower"], "slower"),
        (["name=slower", "job=evaluate"], "slower-evaluate"),
        ([f"name={'a' * 47}"], "a" * 47),
        (["name=Slower_1.x"], r"slower-1-x-[0-9a-f]{6}"),
        ([f"name={'a' * 48}"], r"a{40}-[0-9a-f]{6}"),
        (["name=0815"], r"run-0815-[0-9a-f]{6}"),
        (["name='Größe'"], r"grosse-[0-9a-f]{6}"),
        (["name='実験'"], r"run-[0-9a-f]{6}"),
        ([f"name={'a' * 37}", "cluster.kube.schedule=@weekly", "cluster.kube.deadline_h=9"], r"a{29}-[0-9a-f]{6}"),
    ],
)
def test_names_are_such_as_kubernetes_takes(words: list[str], name: str):
    metadata = render("+experiment=googlenet", *words)["metadata"]
    assert re.fullmatch(name, metadata["name"])
    assert metadata["labels"]["app.kubernetes.io/instance"] == metadata["name"]


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ([], "platform-data:runs/v1.0"),
        (["output_dir=/mnt/platform/team/runs", "cluster.kube.claim=scratch"], "scratch:team/runs/v1.0"),
    ],
)
def test_annotations_say_which_experiment_it_is(words: list[str], folder: str):
    said = render("+experiment=googlenet", "name=v1.0", *words)["metadata"]["annotations"]
    assert said == {"platform/experiment": "v1.0", "platform/folder": folder, "platform/job": "train"}


def test_the_job_of_a_schedule_says_it_too():
    """KubeRay makes it without our annotations, and with all of the spec."""
    cron = render("+experiment=googlenet", "name=nightly", "cluster.kube.schedule=@daily", "cluster.kube.deadline_h=20")
    name = {"name": "nightly-29340000", "annotations": {"ray.io/cronjob-scheduled-timestamp": "2026-11-30T02:00:00Z"}}
    made = {"metadata": name, "spec": cron["spec"]["jobTemplate"]}
    assert whose(made) == "experiment nightly in platform-data:runs/nightly"
    assert is_same(made, cron)
    assert not is_same(made, render("+experiment=googlenet", "name=other"))


def test_the_grace_of_a_pod_covers_ray_draining_and_a_last_checkpoint():
    spec = render("+experiment=googlenet", "checkpoint.grace_s=100")["spec"]["rayClusterSpec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] >= 30 + 100 + 30


@pytest.mark.slow
def test_only_the_autoscaler_has_a_token():
    spec = render("+experiment=googlenet", "cluster.kube.pods={min:1,max:2}")["spec"]["rayClusterSpec"]
    head = spec["headGroupSpec"]["template"]["spec"]
    assert head["automountServiceAccountToken"] is False
    mounts = {mount["name"] for container in head["containers"] for mount in container["volumeMounts"]}
    assert "autoscaler-token" not in mounts
    assert "autoscaler-token" in {mount["name"] for mount in spec["autoscalerOptions"]["volumeMounts"]}
    fixed = render("+experiment=googlenet")["spec"]["rayClusterSpec"]
    assert "autoscaler-token" not in str(fixed)


def test_spot_nodes_are_for_workers_only():
    spec = render("+experiment=googlenet", "cluster.kube.capacity=spot", "cluster.kube.provider=eks")["spec"][
        "rayClusterSpec"
    ]
    terms = [
        group["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])
    ]
    off, (worker,) = (term["nodeSelectorTerms"][0]["matchExpressions"] for term in terms)
    assert all(each["operator"] == "NotIn" for each in off)
    assert {(each["key"], *each["values"]) for each in off} == {*SPOT_LABELS.values()}
    assert worker == {"key": "eks.amazonaws.com/capacityType", "operator": "In", "values": ["SPOT"]}


def test_the_head_of_a_queued_job_is_not_on_a_spot_node_either_and_others_prefer_not_to():
    for words, how in ((["cluster.kube.queue=platform"], "required"), ([], "preferred")):
        head = render("+experiment=googlenet", *words)["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
        ((name, said),) = head["affinity"]["nodeAffinity"].items()
        assert name == f"{how}DuringSchedulingIgnoredDuringExecution"
        assert all(key in str(said) for key, _ in SPOT_LABELS.values()), "no setting says whose nodes these are"


def test_packing_asks_for_no_gpu():
    job = render("job=pack", "data=folder", "data.source=images", "data.classes=3", "name=packing")
    assert "nvidia.com/gpu" not in str(job)
    assert "cluster.gpus_per_worker=0" in job["spec"]["entrypoint"]


def test_a_queued_job_waits_suspended_and_is_ended_as_the_operator_allows():
    spec = render("+experiment=googlenet", "cluster.kube.queue=platform")["spec"]
    assert (spec["suspend"], spec["shutdownAfterJobFinishes"]) == (True, True)
    assert "deletionStrategy" not in spec
    assert "preRunningDeadlineSeconds" not in spec


def test_a_cluster_goes_with_its_job_whether_it_succeeds_or_fails():
    rules = render("+experiment=googlenet", "cluster.kube.keep_failed_s=900")["spec"]["deletionStrategy"][
        "deletionRules"
    ]
    cluster = [rule["condition"] for rule in rules if rule["policy"] == "DeleteCluster"]
    assert cluster == [
        {"jobStatus": "SUCCEEDED", "ttlSeconds": 30},
        {"jobDeploymentStatus": "Failed", "ttlSeconds": 900},  # also of a job past its deadline, which still runs
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cluster.kube.capacity=sport"], "cluster.kube.capacity is 'sport'; choose one of any, spot, on_demand"),
        (["cluster.kube.shared_memory_gb=64"], "cluster.kube.shared_memory_gb is 64, and a part of memory_gb (32)"),
        (["cluster.kube.namespace=My_NS"], "cluster.kube.namespace is 'My_NS'; Kubernetes takes names of up to 63"),
        (["cluster.kube.queue=a", "cluster.kube.gang=volcano"], "choose one: Kueue starts all or none, too"),
        (["+cluster.kube.env={MY_TOKEN:x}"], "cluster.kube.env has MY_TOKEN, and a manifest is no place for secrets"),
        (["cluster.kube.mount=data"], "cluster.kube.mount is 'data'; give /a/path that the image"),
        (["cluster.kube.image=''"], "cluster.kube.image is ''; give REPOSITORY:TAG"),
        (["cluster.kube.deadline_h=0"], "cluster.kube.deadline_h is 0.0; give more than 0"),
        (
            ["cluster.kube.schedule='61 2 * * *'"],
            "cluster.kube.schedule is '61 2 * * *'; give minute, hour, day, month",
        ),
        (
            ["cluster.kube.schedule='TZ=UTC 0 2 * * *'"],
            "cluster.kube.schedule is 'TZ=UTC 0 2 * * *'; give minute",
        ),
        (["cluster.kube.time_zone=Europe/Berlim"], "cluster.kube.time_zone is 'Europe/Berlim'; give UTC, or a name as"),
        (["cluster.kube.time_zone=Local"], "cluster.kube.time_zone is 'Local'; give UTC, or a name as Europe/Berlin"),
        (
            ["cluster.kube.schedule=@yearly", "cluster.kube.queue=a"],
            "cluster.kube.schedule does not go with queue or gang",
        ),
        (
            ["cluster.kube.schedule='0 2 * * *'"],
            "cluster.kube.deadline_h is 168.0, and cluster.kube.schedule (0 2 * * *) begins the next job before that, "
            "on a cluster of its own, which fails as the run's folder is in use; lower deadline_h to 23.9 or less",
        ),
        (
            ["cluster.kube.schedule='0 2 * * *'", "cluster.kube.time_zone=Europe/Berlin", "cluster.kube.deadline_h=23"],
            "lower deadline_h to 22.9 or less",
        ),
        (["cluster.kube.schedule=@weekly"], "lower deadline_h to 167.9 or less"),
        (
            ["cluster.kube.schedule='*/10 * * * *'", "cluster.kube.deadline_h=0.1"],
            "cluster.kube.schedule is '*/10 * * * *', too often for a cluster to begin and end; give a time every",
        ),
        (
            ["cluster.kube.queue=a", "cluster.kube.keep_failed_s=900"],
            "cluster.kube.keep_failed_s is 900, and with a queue KubeRay would keep the cluster of a job that",
        ),
        (["cluster.kube.queue_priority=a"], "cluster.kube.queue_priority is a, without effect; add cluster.kube.queue"),
        (["cluster.kube.gang_queue=a"], "cluster.kube.gang_queue is a, without effect; add cluster.kube.gang"),
        (["cluster.kube.mount=/mnt/platform/"], "cluster.kube.mount is '/mnt/platform/'; give /a/path that the image"),
        (["cluster.kube.mount=/tmp/x"], "cluster.kube.mount is '/tmp/x'; give /a/path that the image does not use"),
        (["cluster.kube.image=reg:5000/UPPER/x"], "cluster.kube.image is 'reg:5000/UPPER/x'; give REPOSITORY:TAG"),
        (
            ["+cluster.kube.env={HOME:/root}"],
            "cluster.kube.env has 'HOME'; give names of letters, digits and '_', none of",
        ),
        (
            ["+cluster.kube.node_selector={pool:'a b'}"],
            "cluster.kube.node_selector has pool=a b, which is no label of a node",
        ),
        (["cluster.kube.topology_key='a b'"], "cluster.kube.topology_key is 'a b'; give NAME or DOMAIN/NAME"),
        (["cluster.kube.redis_address=redis"], "cluster.kube.redis_address is 'redis'; give HOST:PORT"),
        (["cluster.kube.cache_class=A"], "cluster.kube.cache_class is 'A'; give the name of a StorageClass"),
        (
            ["cluster.address=auto"],
            "cluster.address is auto, and a RayJob has a cluster of its own; leave one of them out",
        ),
        (["cluster.render_to=''"], "cluster.render_to is empty; give a file, or - for the terminal"),
        (["cluster.kube.schedule=nightly"], "cluster.kube.schedule is 'nightly'; give minute, hour, day, month and"),
    ],
)
def test_settings_that_cannot_work_are_one_line(words: list[str], said: str):
    with pytest.raises(ConfigError) as error:
        composed("+experiment=googlenet", "cluster=kuberay", *words)
    assert said in str(error.value)
