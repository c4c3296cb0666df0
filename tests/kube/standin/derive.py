"""What KubeRay 1.7's operator makes of a RayJob: the manifests of its pods. Pure.

In: a rendered RayJob. Out: the RayCluster, the head's and the workers' pods, the submitter's pod: what an API server
would be given, but for the names, which are random there and are parameters here.

The comments name the function of github.com/ray-project/kuberay that a fact comes from, below
ray-operator/controllers/ray.
"""

import copy
import json
import math
from typing import Any

from kubernetes.utils.quantity import parse_quantity

Manifest = dict[str, Any]

GCS_PORT, DASHBOARD_PORT, CLIENT_PORT, AGENT_PORT, METRICS_PORT = 6379, 8265, 10001, 52365, 8080  # utils/constant.go
HEAD_GROUP = "headgroup"
WAIT_FOR_GCS = "wait-gcs-ready"
TOKEN_KEY = "auth_token"  # in the secret that is made for each RayCluster
SHELL, SHELL_STOPPING = ["/bin/bash", "-c", "--"], ["/bin/bash", "-ce", "--"]  # utils.GetContainerCommand
VALUED = ("log-color", "include-dashboard", "include-log-monitor")  # options that take true or false as a word
UNLIMITED = 2147483647
UNIFIED_HEALTH = (2, 53)  # Ray versions that answer for raylet and GCS at one path


def ray_cluster(rayjob: Manifest, name: str) -> Manifest:
    """The RayCluster of one attempt (rayjob_controller.constructRayClusterForRayJob)."""
    metadata = rayjob["metadata"]
    labels = {
        **metadata.get("labels", {}),
        "ray.io/originated-from-cr-name": metadata["name"],
        "ray.io/originated-from-crd": "RayJob",
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {
            "name": name,
            "namespace": namespace(rayjob),
            "labels": labels,
            "annotations": dict(metadata.get("annotations", {})),
        },
        "spec": copy.deepcopy(rayjob["spec"]["rayClusterSpec"]),
    }


def namespace(manifest: Manifest) -> str:
    return manifest["metadata"].get("namespace", "default")


def service(cluster: Manifest) -> str:
    """The head's address for everybody else (utils.GenerateFQDNServiceName)."""
    return f"{cluster['metadata']['name']}-head-svc.{namespace(cluster)}.svc.cluster.local"


def dashboard(cluster: Manifest) -> str:
    """status.dashboardURL, which is no URL (utils.FetchHeadServiceURL)."""
    return f"{service(cluster)}:{DASHBOARD_PORT}"


def replicas(group: Manifest) -> int:
    """How many pods a worker group should have (utils.GetWorkerGroupDesiredReplicas; defaults are the schema's)."""
    if group.get("suspend"):
        return 0
    low, high = group.get("minReplicas", 0), group.get("maxReplicas", UNLIMITED)
    return min(max(group.get("replicas", 0), low), high) * group.get("numOfHosts", 1)


def has_token(cluster: Manifest) -> bool:
    return cluster["spec"].get("authOptions", {}).get("mode") == "token"


def token_secret(cluster: Manifest) -> str:
    """The name of the secret with the token (pod.SetContainerTokenAuthEnvVars)."""
    return cluster["spec"]["authOptions"].get("secretName") or cluster["metadata"]["name"]


def head_pod(cluster: Manifest) -> Manifest:
    """The head's pod (pod.DefaultHeadPodTemplate, pod.BuildPod). The autoscaler's container is left out: nothing here
    plays the API server that it speaks to."""
    group = copy.deepcopy(cluster["spec"]["headGroupSpec"])
    pod = _pod(cluster, group, HEAD_GROUP, "head")
    container = _ray_container(pod)
    params = _group_params(group)
    params.setdefault("dashboard-host", "0.0.0.0")
    version = _autoscaler(cluster)
    if version is not None:
        params["no-monitor"] = "true"
    if version:
        container["env"].append({"name": "RAY_enable_autoscaler_v2", "value": str(version == "v2").lower()})
    _set_fault_tolerance(cluster, container, params, head=True)
    if has_token(cluster):
        _add_token(cluster, container)
    _finish(cluster, pod, params, head=True)
    return pod


def worker_pod(cluster: Manifest, group_name: str) -> Manifest:
    """A pod of a worker group (pod.DefaultWorkerPodTemplate, pod.BuildPod)."""
    groups = cluster["spec"].get("workerGroupSpecs", [])
    group = copy.deepcopy(next(group for group in groups if group["groupName"] == group_name))
    pod = _pod(cluster, group, group_name, "worker")
    container = _ray_container(pod)
    pod["spec"].setdefault("initContainers", []).append(_wait_for_gcs(cluster, container))
    params = _group_params(group)
    params.setdefault("address", f"{service(cluster)}:{_head_port(cluster)}")
    _set_fault_tolerance(cluster, container, params, head=False)
    if has_token(cluster):
        for each in (container, pod["spec"]["initContainers"][-1]):
            _add_token(cluster, each)
    _finish(cluster, pod, params, head=False)
    return pod


def submitter_pod(rayjob: Manifest, cluster: Manifest, job_id: str) -> Manifest:
    """The pod that submits the job and follows it (rayjob_controller.getSubmitterTemplate)."""
    template = copy.deepcopy(rayjob["spec"].get("submitterPodTemplate"))
    if template is None:
        image = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "ray-job-submitter", "image": image}]}}
    container = template["spec"]["containers"][0]
    if not container.get("command"):
        container["command"] = SHELL_STOPPING
        container["args"] = [submit_command(rayjob, dashboard(cluster), job_id)]
    container.setdefault("env", []).extend(
        [
            {"name": "PYTHONUNBUFFERED", "value": "1"},
            {"name": "RAY_DASHBOARD_ADDRESS", "value": dashboard(cluster)},
            {"name": "RAY_JOB_SUBMISSION_ID", "value": job_id},
        ]
    )
    if has_token(cluster):
        _add_token(cluster, container)
    metadata = {**template.get("metadata", {}), "namespace": namespace(rayjob)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def submit_command(rayjob: Manifest, address: str, job_id: str) -> str:
    """The submitter's shell command in K8sJobMode (common/job.BuildJobSubmitCommand).

    The entrypoint is pasted into it: this shell takes its quotes off. `ray job submit` quotes the words again
    (shlex.join), so that the shell which the job's supervisor starts gives the same words once more.
    """
    spec, url = rayjob["spec"], f"http://{address}"
    options: list[str] = []
    if metadata := spec.get("metadata"):
        options += ["--metadata-json", json.dumps(json.dumps(metadata, separators=(",", ":")))]
    options += ["--submission-id", job_id]
    if cpus := spec.get("entrypointNumCpus"):
        options += ["--entrypoint-num-cpus", f"{cpus:f}"]
    if gpus := spec.get("entrypointNumGpus"):
        options += ["--entrypoint-num-gpus", f"{gpus:f}"]
    if resources := spec.get("entrypointResources"):
        options += ["--entrypoint-resources", json.dumps(resources)]
    waiting = json.dumps(f"Waiting for Ray Dashboard GCS to become healthy at {url} ...")
    return (
        f"until {_health_command(f'{url}/api/gcs_healthz')} >/dev/null 2>&1 ; do echo {waiting} ; sleep 2 ; done ; "
        f"if ! ray job status --address {url} {job_id} >/dev/null 2>&1 ; "
        f"then ray job submit --address {url} --no-wait {' '.join(options)} -- {spec['entrypoint'].strip()} ; fi ; "
        f"ray job logs --address {url} --follow {job_id}"
    )


def _health_command(url: str) -> str:
    """KubeRay asks with Python's urllib since 1.6 (pull request 4468); its words are others, the question is this."""
    script = f"import urllib.request as u; raise SystemExit(b'success' not in u.urlopen('{url}', timeout=5).read())"
    return f'python3 -c "{script}"'


def _pod(cluster: Manifest, group: Manifest, group_name: str, node_type: str) -> Manifest:
    """Template and labels (pod.labelPod: three labels of its own cannot be overridden)."""
    template, name = group["template"], cluster["metadata"]["name"]
    labels = {
        "ray.io/is-ray-node": "yes",
        "ray.io/identifier": f"{name}-{node_type}",
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
        **template.get("metadata", {}).get("labels", {}),
        **group.get("labels", {}),
        "ray.io/cluster": name,
        "ray.io/node-type": node_type,
        "ray.io/group": group_name,
    }
    metadata = {**template.get("metadata", {}), "namespace": namespace(cluster), "labels": labels}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    if _autoscaler(cluster) == "v2":
        pod["spec"]["restartPolicy"] = "Never"
    return pod


def _autoscaler(cluster: Manifest) -> str | None:
    """Its version; empty where the operator leaves that to Ray, None where there is none."""
    if not cluster["spec"].get("enableInTreeAutoscaling"):
        return None
    return cluster["spec"].get("autoscalerOptions", {}).get("version", "")


def _ray_container(pod: Manifest) -> Manifest:
    """The first one, whatever its name (utils.RayContainerIndex)."""
    container = pod["spec"]["containers"][0]
    container.setdefault("env", [])
    return container


def _group_params(group: Manifest) -> dict[str, str]:
    """rayStartParams; the group's own resources and labels go before them (pod.updateRayStartParamsResources)."""
    params = dict(group.get("rayStartParams", {}))
    others = {}
    for name, quantity in group.get("resources", {}).items():
        lower = name.lower()
        if lower in ("cpu", "memory") or _is_gpu(lower):
            option = {"cpu": "num-cpus", "memory": "memory"}.get(lower, "num-gpus")
            params[option] = whole(quantity)
        else:
            others[name] = float(parse_quantity(quantity))
    if others:
        params["resources"] = f"'{json.dumps(others)}'"
    if labels := group.get("labels"):
        params["labels"] = ",".join(f"{key}={labels[key]}" for key in sorted(labels))
    return params


def whole(quantity: str | float) -> str:
    """A quantity as the operator gives it to Ray: rounded up (resource.Quantity.Value)."""
    return str(math.ceil(parse_quantity(quantity)))


def _is_gpu(resource: str) -> bool:
    return resource.endswith("gpu")


def _head_port(cluster: Manifest) -> str:
    return cluster["spec"]["headGroupSpec"].get("rayStartParams", {}).get("port", str(GCS_PORT))


def _wait_for_gcs(cluster: Manifest, container: Manifest) -> Manifest:
    """The init container of a worker: it has the container's variables, but not those of its secrets (`envFrom`)."""
    check = f"ray health-check --address {service(cluster)}:{_head_port(cluster)}"
    return {
        "name": WAIT_FOR_GCS,
        "image": container.get("image"),
        "command": SHELL,
        "args": [f"until {check} > /dev/null 2>&1; do echo Waiting for GCS to be ready.; sleep 5; done"],
        "env": copy.deepcopy(container["env"]),
        "volumeMounts": copy.deepcopy(container.get("volumeMounts", [])),
        "securityContext": copy.deepcopy(container.get("securityContext", {})),
        "resources": {resource: {"cpu": "200m", "memory": "256Mi"} for resource in ("limits", "requests")},
    }


def _set_fault_tolerance(cluster: Manifest, container: Manifest, params: dict[str, str], *, head: bool) -> None:
    """GCS fault tolerance by Redis (pod.configureGCSFaultTolerance)."""
    options = cluster["spec"].get("gcsFaultToleranceOptions")
    if options is None:
        return
    if options.get("backend", "redis").lower() != "redis":
        raise ValueError(f"gcsFaultToleranceOptions.backend={options['backend']}: the stand-in knows redis only")
    env = container["env"]
    if not head:
        _set_missing(env, "RAY_gcs_rpc_server_reconnect_timeout_s", "600")
        return
    storage = options.get("externalStorageNamespace") or cluster["metadata"].get("uid", cluster["metadata"]["name"])
    _set_missing(env, "RAY_external_storage_namespace", storage)
    env.append({"name": "RAY_REDIS_ADDRESS", "value": options["redisAddress"]})
    for option, variable in (("redisUsername", "REDIS_USERNAME"), ("redisPassword", "REDIS_PASSWORD")):
        if option in options:
            params[option.replace("redisU", "redis-u").replace("redisP", "redis-p")] = f"${variable}"
            env.append({"name": variable, **options[option]})


def _add_token(cluster: Manifest, container: Manifest) -> None:
    """pod.SetContainerTokenAuthEnvVars."""
    env = container.setdefault("env", [])
    _set_missing(env, "RAY_AUTH_MODE", "token")
    if not any(each["name"] == "RAY_AUTH_TOKEN" for each in env):
        reference = {"secretKeyRef": {"name": token_secret(cluster), "key": TOKEN_KEY}}
        env.append({"name": "RAY_AUTH_TOKEN", "valueFrom": reference})


def _finish(cluster: Manifest, pod: Manifest, params: dict[str, str], *, head: bool) -> None:
    """Command, variables, shared memory and probes (pod.setMissingRayStartParams, pod.BuildPod)."""
    container = _ray_container(pod)
    params.setdefault("metrics-export-port", str(METRICS_PORT))
    params["block"] = "true"
    params.setdefault("dashboard-agent-listen-port", str(AGENT_PORT))
    _add_limits(params, container.get("resources", {}))
    if "plasma-directory" not in params:
        _add_empty_dir(pod, "shared-mem", "/dev/shm", medium="Memory")
    if head and _autoscaler(cluster) is not None:
        _add_empty_dir(pod, "ray-logs", "/tmp/ray", medium="")
    start = start_command(params, head=head)
    _set_command(pod, container, start)
    for each in pod["spec"].get("initContainers", []):
        each.setdefault("env", []).extend(_head_address(cluster))
    _set_variables(cluster, container, start, head=head)
    _set_probes(cluster, container, params, head=head)


def _add_limits(params: dict[str, str], resources: Manifest) -> None:
    """What Ray thinks it has is what the container may use (pod.generateRayStartCommand)."""
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    if cpus := limits.get("cpu", requests.get("cpu")):
        params.setdefault("num-cpus", whole(cpus))
    if memory := limits.get("memory"):
        params.setdefault("memory", whole(memory))
    for name in sorted(limits):
        if _is_gpu(name) and int(whole(limits[name])):
            params.setdefault("num-gpus", whole(limits[name]))


def start_command(params: dict[str, str], *, head: bool) -> str:
    """`ray start` with its options by name; switches that are false are left out (pod.convertParamMap)."""
    words = ["ray", "start", *(["--head"] if head else [])]
    for option in sorted(params):
        value = params[option]
        if value.lower() not in ("true", "false") or option in VALUED:
            words.append(f"--{option}={value}")
        elif value.lower() == "true":
            words.append(f"--{option}")
    return " ".join(words)


def _set_command(pod: Manifest, container: Manifest, start: str) -> None:
    """A command of the manifest runs before `ray start`, or in its place where it has one itself (pod.BuildPod)."""
    before = " ".join([*container.get("command", []), *container.get("args", [])])
    kept = pod["metadata"].get("annotations", {}).get("ray.io/overwrite-container-cmd", "").lower() == "true"
    if kept or "ray start" in before:
        return
    start = f"ulimit -n ${{RAY_START_ULIMIT_OPEN_FILES:-65536}}; {start}"
    container["command"] = SHELL
    container["args"] = [f"{before} && {start}" if before else start]


def _head_address(cluster: Manifest) -> list[Manifest]:
    address = service(cluster)
    return [{"name": "FQ_RAY_IP", "value": address}, {"name": "RAY_IP", "value": address.partition(".")[0]}]


def _set_variables(cluster: Manifest, container: Manifest, start: str, *, head: bool) -> None:
    """pod.setContainerEnvVars: some replace what the manifest says, some do not."""
    env = container["env"]
    if not head:
        env += _head_address(cluster)
    fields = {
        "RAY_CLUSTER_NAME": "metadata.labels['ray.io/cluster']",
        "RAY_CLUSTER_NAMESPACE": "metadata.namespace",
        "RAY_CLOUD_INSTANCE_ID": "metadata.name",
        "RAY_NODE_TYPE_NAME": "metadata.labels['ray.io/group']",
    }
    env += [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    env.append({"name": "KUBERAY_GEN_RAY_START_CMD", "value": start})
    port = _head_port(cluster)
    _set_missing(env, "RAY_PORT", port)
    _set_missing(env, "RAY_ADDRESS", f"{'127.0.0.1' if head else service(cluster)}:{port}")
    _set_missing(env, "RAY_USAGE_STATS_KUBERAY_IN_USE", "1")
    if head:
        env.append({"name": "RAY_USAGE_STATS_EXTRA_TAGS", "value": "kuberay_version=v1.7.0;kuberay_crd=RayJob"})
    _set_missing(env, "RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE", "1")


def _set_missing(env: list[Manifest], name: str, value: str) -> None:
    if not any(each["name"] == name for each in env):
        env.append({"name": name, "value": value})


def _add_empty_dir(pod: Manifest, name: str, path: str, *, medium: str) -> None:
    """pod.addEmptyDir: unless something is mounted there."""
    mounts = _ray_container(pod).setdefault("volumeMounts", [])
    if any(mount["mountPath"] == path for mount in mounts):
        return
    volumes = pod["spec"].setdefault("volumes", [])
    if not any(volume["name"] == name for volume in volumes):
        volumes.append({"name": name, "emptyDir": {"medium": medium} if medium else {}})
    mounts.append({"name": name, "mountPath": path})


def _set_probes(cluster: Manifest, container: Manifest, params: dict[str, str], *, head: bool) -> None:
    """Of a manifest that has none (pod.initLivenessAndReadinessProbe)."""
    version = cluster["spec"].get("rayVersion", "0")
    if tuple(int(part) for part in version.split(".")[:2]) < UNIFIED_HEALTH:
        raise ValueError(f"rayVersion={version}: KubeRay probes by HTTP, as the stand-in does, from Ray 2.53 on")
    get = {"path": "/api/healthz", "port": int(params["dashboard-agent-listen-port"])}
    probe = {"httpGet": get, "timeoutSeconds": 5 if head else 2, "periodSeconds": 5, "successThreshold": 1}
    container.setdefault("livenessProbe", {**probe, "initialDelaySeconds": 30, "failureThreshold": 120})
    container.setdefault("readinessProbe", {**probe, "initialDelaySeconds": 10, "failureThreshold": 10})
