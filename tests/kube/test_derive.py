"""What KubeRay makes of a RayJob, compared with what its own code and tests say."""

import shlex
import subprocess

import pytest

from tests.kube.handmade import rayjob
from tests.kube.standin import derive
from tests.kube.standin.derive import Manifest

HOST = "small-abcde-head-svc.platform.svc.cluster.local"


def _cluster(**cluster_spec: object) -> Manifest:
    manifest = rayjob("true")
    manifest["spec"]["rayClusterSpec"].update(cluster_spec)
    return derive.ray_cluster(manifest, "small-abcde")


def _container(pod: Manifest) -> Manifest:
    return pod["spec"]["containers"][0]


def _variables(container: Manifest) -> dict[str, object]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def test_the_cluster_carries_the_labels_of_its_rayjob():
    assert _cluster()["metadata"] == {
        "name": "small-abcde",
        "namespace": "platform",
        "labels": {
            "app.kubernetes.io/part-of": "platform",
            "ray.io/originated-from-cr-name": "small",
            "ray.io/originated-from-crd": "RayJob",
        },
        "annotations": {},
    }


def test_the_head_starts_ray_with_its_limits_and_without_a_monitor():
    container = _container(derive.head_pod(_cluster()))
    assert container["command"] == ["/bin/bash", "-c", "--"]
    assert container["args"] == [
        "ulimit -n ${RAY_START_ULIMIT_OPEN_FILES:-65536}; ray start --head --block --dashboard-agent-listen-port=52365 "
        "--dashboard-host=0.0.0.0 --memory=2147483648 --metrics-export-port=8080 --no-monitor --num-cpus=0 "
        "--object-store-memory=100000000"
    ]


def test_without_autoscaling_ray_runs_its_own_monitor():
    container = _container(derive.head_pod(_cluster(enableInTreeAutoscaling=False)))
    assert "--no-monitor" not in container["args"][0]
    assert "RAY_enable_autoscaler_v2" not in _variables(container)


def test_a_worker_joins_the_heads_service():
    container = _container(derive.worker_pod(_cluster(), "workers"))
    assert container["args"] == [
        f"ulimit -n ${{RAY_START_ULIMIT_OPEN_FILES:-65536}}; ray start --address={HOST}:6379 --block "
        "--dashboard-agent-listen-port=52365 --memory=2147483648 --metrics-export-port=8080 --num-cpus=1 "
        "--object-store-memory=100000000"
    ]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"cpu": "1500m", "memory": "1Gi"}, ["--memory=1073741824", "--num-cpus=2"]),
        ({"cpu": 4, "memory": "1500M", "nvidia.com/gpu": "8"}, ["--memory=1500000000", "--num-cpus=4", "--num-gpus=8"]),
        ({"cpu": "250m", "nvidia.com/gpu": 0}, ["--num-cpus=1"]),
        ({}, []),
    ],
)
def test_ray_is_told_the_limits_rounded_up(limits: Manifest, words: list[str]):
    cluster = _cluster()
    template = cluster["spec"]["workerGroupSpecs"][0]["template"]
    _container(template)["resources"] = {"limits": limits}
    start = _container(derive.worker_pod(cluster, "workers"))["args"][0].split()
    found = [word for word in start if word.startswith(("--num-", "--memory"))]
    assert found == words


def test_requested_processors_count_where_there_is_no_limit():
    cluster = _cluster()
    _container(cluster["spec"]["workerGroupSpecs"][0]["template"])["resources"] = {"requests": {"cpu": "3"}}
    assert "--num-cpus=3 " in _container(derive.worker_pod(cluster, "workers"))["args"][0]


def test_what_ray_start_params_say_goes_before_limits_and_resources_before_both():
    cluster = _cluster()
    group = cluster["spec"]["workerGroupSpecs"][0]
    group["rayStartParams"] = {"num-cpus": "7", "memory": "1"}
    group["resources"] = {"cpu": "5", "special": "2"}
    group["labels"] = {"b": "2", "a": "1"}
    start = _container(derive.worker_pod(cluster, "workers"))["args"][0]
    for word in ("--num-cpus=5", "--memory=1 ", """--resources='{"special": 2.0}'""", "--labels=a=1,b=2"):
        assert word in start


def test_switches_are_words_and_three_options_take_true_and_false():
    params = {"no-monitor": "True", "disable-usage-stats": "false", "include-dashboard": "false", "port": "6379"}
    assert (
        derive.start_command(params, head=True) == "ray start --head --include-dashboard=false --no-monitor --port=6379"
    )


def test_a_command_of_the_manifest_runs_first_and_one_with_ray_start_instead():
    cluster = _cluster()
    template = cluster["spec"]["headGroupSpec"]["template"]
    _container(template)["command"], _container(template)["args"] = ["echo"], ["ready"]
    assert _container(derive.head_pod(cluster))["args"][0].startswith("echo ready && ulimit -n ")
    _container(template)["args"] = ["; ray start --head"]
    assert _container(derive.head_pod(cluster))["args"] == ["; ray start --head"]


def test_the_heads_variables():
    variables = _variables(_container(derive.head_pod(_cluster())))
    start = "ray start --head --block"
    assert str(variables.pop("KUBERAY_GEN_RAY_START_CMD")).startswith(start)
    assert variables == {
        "SHARDS": "/cache/shards",
        "RAY_enable_autoscaler_v2": "true",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": {"secretKeyRef": {"name": "small-abcde", "key": "auth_token"}},
        "RAY_CLUSTER_NAME": {"fieldRef": {"fieldPath": "metadata.labels['ray.io/cluster']"}},
        "RAY_CLUSTER_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
        "RAY_CLOUD_INSTANCE_ID": {"fieldRef": {"fieldPath": "metadata.name"}},
        "RAY_NODE_TYPE_NAME": {"fieldRef": {"fieldPath": "metadata.labels['ray.io/group']"}},
        "RAY_PORT": "6379",
        "RAY_ADDRESS": "127.0.0.1:6379",
        "RAY_USAGE_STATS_KUBERAY_IN_USE": "1",
        "RAY_USAGE_STATS_EXTRA_TAGS": "kuberay_version=v1.7.0;kuberay_crd=RayJob",
        "RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE": "1",
    }


def test_a_workers_variables_lead_to_the_head():
    variables = _variables(_container(derive.worker_pod(_cluster(), "workers")))
    assert variables["FQ_RAY_IP"] == HOST
    assert variables["RAY_IP"] == "small-abcde-head-svc"
    assert variables["RAY_ADDRESS"] == f"{HOST}:6379"
    assert variables["RAY_AUTH_TOKEN"] == {"secretKeyRef": {"name": "small-abcde", "key": "auth_token"}}
    assert "RAY_enable_autoscaler_v2" not in variables
    assert "RAY_USAGE_STATS_EXTRA_TAGS" not in variables


def test_a_worker_waits_for_the_gcs_first_with_the_token_but_without_secrets_of_the_container():
    pod = derive.worker_pod(_cluster(), "workers")
    assert [init["name"] for init in pod["spec"]["initContainers"]] == ["wait-gcs-ready"]
    init = pod["spec"]["initContainers"][0]
    assert f"ray health-check --address {HOST}:6379" in init["args"][0]
    assert list(_variables(init)) == ["SHARDS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "FQ_RAY_IP", "RAY_IP"]
    assert "envFrom" not in init
    assert init["volumeMounts"] == _container(pod)["volumeMounts"]
    assert "initContainers" not in derive.head_pod(_cluster())["spec"]


def test_without_token_authentication_nothing_speaks_of_tokens():
    cluster = _cluster(authOptions={"mode": "disabled"})
    for pod in (derive.head_pod(cluster), derive.worker_pod(cluster, "workers")):
        assert not any("AUTH" in name for name in _variables(_container(pod)))


def test_a_secret_of_ones_own_replaces_the_generated_token():
    cluster = _cluster(authOptions={"mode": "token", "secretName": "mine"})
    variables = _variables(_container(derive.head_pod(cluster)))
    assert variables["RAY_AUTH_TOKEN"] == {"secretKeyRef": {"name": "mine", "key": "auth_token"}}


def test_gcs_fault_tolerance_gives_the_head_redis_and_the_workers_patience():
    password = {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}
    cluster = _cluster(gcsFaultToleranceOptions={"redisAddress": "redis:6379", "redisPassword": password})
    head = _container(derive.head_pod(cluster))
    assert _variables(head)["RAY_REDIS_ADDRESS"] == "redis:6379"
    assert _variables(head)["REDIS_PASSWORD"] == password["valueFrom"]
    assert _variables(head)["RAY_external_storage_namespace"] == "small-abcde"
    assert "--redis-password=$REDIS_PASSWORD" in head["args"][0]
    worker = _container(derive.worker_pod(cluster, "workers"))
    assert _variables(worker)["RAY_gcs_rpc_server_reconnect_timeout_s"] == "600"
    assert not any("REDIS" in name for name in _variables(worker))


def test_labels_that_select_pods_cannot_be_overridden():
    cluster = _cluster()
    labels = {"ray.io/group": "other", "ray.io/cluster": "other", "app.kubernetes.io/name": "mine"}
    cluster["spec"]["headGroupSpec"]["template"]["metadata"] = {"labels": labels}
    assert derive.head_pod(cluster)["metadata"]["labels"] == {
        "ray.io/is-ray-node": "yes",
        "ray.io/identifier": "small-abcde-head",
        "ray.io/cluster": "small-abcde",
        "ray.io/node-type": "head",
        "ray.io/group": "headgroup",
        "app.kubernetes.io/name": "mine",
        "app.kubernetes.io/created-by": "kuberay-operator",
    }


def test_probes_are_added_only_where_there_are_none():
    cluster = _cluster()
    assert _container(derive.head_pod(cluster))["readinessProbe"]["failureThreshold"] == 60
    for group in (cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"][0]):
        del _container(group["template"])["readinessProbe"]
    assert _container(derive.worker_pod(cluster, "workers"))["readinessProbe"] == {
        "httpGet": {"path": "/api/healthz", "port": 52365},
        "initialDelaySeconds": 10,
        "timeoutSeconds": 2,
        "periodSeconds": 5,
        "successThreshold": 1,
        "failureThreshold": 10,
    }
    assert _container(derive.head_pod(cluster))["readinessProbe"]["timeoutSeconds"] == 5


def test_shared_memory_and_the_autoscalers_logs_are_mounted_where_nothing_is():
    cluster = _cluster()
    template = cluster["spec"]["headGroupSpec"]["template"]
    _container(template)["volumeMounts"] = []
    pod = derive.head_pod(cluster)
    assert {mount["mountPath"] for mount in _container(pod)["volumeMounts"]} == {"/dev/shm", "/tmp/ray"}
    assert {"name": "shared-mem", "emptyDir": {"medium": "Memory"}} in pod["spec"]["volumes"]


@pytest.mark.parametrize(
    ("group", "wanted"),
    [
        ({"replicas": 2, "minReplicas": 1, "maxReplicas": 4}, 2),
        ({"minReplicas": 1, "maxReplicas": 4}, 1),
        ({"replicas": 9, "minReplicas": 1, "maxReplicas": 4}, 4),
        ({"replicas": 2, "numOfHosts": 3}, 6),
        ({"replicas": 2, "suspend": True}, 0),
        ({}, 0),
    ],
)
def test_replicas_stay_between_their_limits(group: Manifest, wanted: int):
    assert derive.replicas(group) == wanted


def test_the_submitter_waits_asks_submits_and_follows():
    manifest = rayjob("  python -c 'print(1)' ")
    command = derive.submit_command(manifest, f"{HOST}:8265", "small-12345")
    url = f"http://{HOST}:8265"
    waits, _, rest = command.partition(" ; done ; ")
    assert waits.startswith("until python3 -c ")
    assert f"{url}/api/gcs_healthz" in waits
    assert rest == (
        f"if ! ray job status --address {url} small-12345 >/dev/null 2>&1 ; "
        f"then ray job submit --address {url} --no-wait --submission-id small-12345 -- python -c 'print(1)' ; fi ; "
        f"ray job logs --address {url} --follow small-12345"
    )


def test_the_entrypoints_resources_and_metadata_are_options_of_the_submission():
    manifest = rayjob(
        "true", entrypointNumCpus=1, entrypointNumGpus=0.5, entrypointResources='{"one": 1}', metadata={"key": "a b"}
    )
    words = shlex.split(derive.submit_command(manifest, "head:8265", "id"))
    at = words.index("--metadata-json")
    assert words[at : words.index("--")] == [
        "--metadata-json", '{"key":"a b"}', "--submission-id", "id", "--entrypoint-num-cpus", "1.000000",
        "--entrypoint-num-gpus", "0.500000", "--entrypoint-resources", '{"one": 1}',
    ]  # fmt: skip


def test_the_submitters_command_is_one_that_bash_reads():
    command = derive.submit_command(rayjob("python -c 'print(\"{}\")'"), "head:8265", "id")
    subprocess.run(["bash", "-n", "-c", command], check=True)


def test_the_submitter_has_its_variables_and_the_token():
    manifest = rayjob("true")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "mine", "image": "x"}]}}
    for given in (None, template):
        manifest["spec"]["submitterPodTemplate"] = given
        pod = derive.submitter_pod(manifest, _cluster(), "small-12345")
        container = _container(pod)
        assert container["command"] == ["/bin/bash", "-ce", "--"]
        assert _variables(container) == {
            "PYTHONUNBUFFERED": "1",
            "RAY_DASHBOARD_ADDRESS": f"{HOST}:8265",
            "RAY_JOB_SUBMISSION_ID": "small-12345",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": {"secretKeyRef": {"name": "small-abcde", "key": "auth_token"}},
        }
    assert pod["metadata"] == {"labels": {"a": "b"}, "namespace": "platform"}


def test_the_manifest_is_left_as_it_was():
    manifest, again = rayjob("true"), rayjob("true")
    cluster = derive.ray_cluster(manifest, "small-abcde")
    derive.head_pod(cluster)
    derive.worker_pod(cluster, "workers")
    derive.submitter_pod(manifest, cluster, "id")
    assert manifest == again
    assert cluster == derive.ray_cluster(again, "small-abcde")
