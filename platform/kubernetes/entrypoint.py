"""The command that a RayJob runs on its head, and its quoting.

In: a composed config and the overrides of its command line. Out: overrides for the pods, and the RayJob's `entrypoint`.
"""

import re
import shlex
from dataclasses import asdict

from platform.cluster.submission import COMMAND, HERE_ONLY, refuse_passwords
from platform.config.checks import require
from platform.config.cluster import ClusterConfig
from platform.config.data import MEMORY
from platform.config.kubernetes import KubeConfig, is_reached_by_pods
from platform.config.sections import Config
from platform.data.urls import is_remote
from platform.overrides import is_of_section, override

CACHE = "/cache"
METRICS_PORT = 9464  # of the launcher, for Prometheus
METRICS_ADDRESS = f"0.0.0.0:{METRICS_PORT}"
_NOT_IN_PODS = ("address", "render_to", "kube", "dashboard", "ship_code")  # of the cluster's settings


def overrides_for_pods(config: Config, overrides: list[str]) -> list[str]:
    """The overrides that compose to the same experiment inside the pods: cluster, tracking and cache are replaced.

    Args:
        config: as composed, with paths as they were given.
        overrides: that it was composed from.

    Raises:
        ConfigError: a path is not visible in a pod, or an address has a secret.
    """
    kube = config.cluster.kube
    assert kube is not None
    require(config.job not in HERE_ONLY, f"job={config.job} writes into this checkout; leave out cluster=kuberay")
    require(
        not (config.fresh and kube.retries),
        f"fresh=true would start anew in each of cluster.kube.retries={kube.retries}; "
        "give another name= instead, or cluster.kube.retries=0",
    )
    require(
        not (config.fresh and kube.queue),
        f"fresh=true would start anew each time that Kueue takes the room away (cluster.kube.queue={kube.queue}); "
        "give another name= instead",
    )
    _refuse_local_paths(config, kube)
    own = ["cluster=ray", "cluster.ship_code=false", *_cluster_overrides(config.cluster)]
    if not is_reached_by_pods(config.tracking.uri):
        overrides = _outside(overrides, "tracking")
        own += ["tracking=server", f"tracking.uri={kube.tracking_uri}"]
    if kube.metrics:
        overrides = _outside(overrides, "tracking.prometheus_address")
        own += [f"tracking.prometheus_address={METRICS_ADDRESS}"]
    if needs_cache(config):
        overrides = _outside(overrides, "storage.cache")
        own += [f"storage.cache={CACHE}"]
    for_pods = [*_outside(overrides, "cluster"), *own]
    refuse_passwords(
        for_pods,
        "and a manifest is no place for one; put it into a Secret that cluster.kube.secrets names "
        "(MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for MLflow)",
    )
    return for_pods


def needs_cache(config: Config) -> bool:
    """Whether shards are fetched to the disks of the pods."""
    return any(map(is_remote, config.data.places.values())) and config.storage.cache != MEMORY


def _cluster_overrides(cluster: ClusterConfig) -> list[str]:
    """Overrides for the settings of `cluster` that differ from the defaults and matter inside the pods."""
    plain = asdict(ClusterConfig())
    mine = {key: value for key, value in asdict(cluster).items() if key not in _NOT_IN_PODS}
    return [override(f"cluster.{key}", value) for key, value in mine.items() if value != plain[key]]


def _outside(overrides: list[str], section: str) -> list[str]:
    """The overrides without those of a section: the choice of its group, its keys."""
    return [override for override in overrides if not is_of_section(override, section)]


def _refuse_local_paths(config: Config, kube: KubeConfig) -> None:
    paths = {
        "output_dir": config.output_dir,
        **config.data.places,
        "checkpoint.copy_to": config.checkpoint.copy_to,
        "data.source": config.data.source,
        "bench.photos": config.bench.photos,
        "bench.json": config.bench.json,
    }
    for key, path in paths.items():
        if path is None or is_remote(path) or re.match(r"\w+:", path):  # torchvision:NAME, sklearn:digits
            continue
        require(
            kube.in_pods(path).startswith(f"{kube.mount}/"),
            f"{key} is {path}, which pods do not see; give a path below {kube.mount} (relative ones are), or a URL",
        )


def entrypoint(overrides: list[str]) -> str:
    """The RayJob's `entrypoint`: the shell of KubeRay's submitter parses it into arguments of `ray job submit`, which
    quotes them again for the head's shell.

    Raises:
        ConfigError: an override has characters that Kubernetes would replace in a container's arguments.
    """
    for each in overrides:
        bad = re.search(r"\$[$(]|[^\S ]", each)
        require(
            bad is None, f"{each!r} has {bad and bad[0]!r}, which does not reach the pods as it is; write it otherwise"
        )
    return shlex.join([*COMMAND, *overrides])
