"""`cluster=kuberay`: the job runs as a RayJob; here it is rendered, or submitted and followed.

In: the experiment, its config with paths as they were given, the command line's words. Out: the job's exit status.
"""

import math

from jobs import check
from platform.config import Config, Experiment, require
from platform.kubernetes import rendering
from platform.kubernetes.rayjob import Pods, pods_of, rayjob


def run(experiment: Experiment, given: Config, overrides: list[str]) -> int:
    """`job=check` stays here: what it would take, and the plan.

    Returns:
        0 where it is only rendered or left alone, else the status of the job's own command.

    Raises:
        ConfigError: it cannot run as a RayJob, or the cluster does not take it.
    """
    cluster = experiment.config.cluster
    assert cluster.kube is not None
    if experiment.config.job == "check":
        print(summary(experiment, pods_of(experiment)), flush=True)
        return check.run(experiment)
    manifest = rayjob(experiment, given, overrides)
    if cluster.render_to is not None:
        rendering.write(rendering.text(manifest, overrides), cluster.render_to)
        return 0
    require(
        cluster.kube.schedule is None,
        "cluster.kube.schedule makes a RayCronJob, which nobody follows; add cluster.render_to=FILE, and apply it",
    )
    from platform.kubernetes.submit import submit  # the client takes a second to import

    print(summary(experiment, pods_of(experiment)), flush=True)
    return submit(manifest, context=cluster.kube.context, follow=cluster.kube.follow)


def summary(experiment: Experiment, pods: Pods) -> str:
    """What it takes from the cluster, on one line."""
    cluster, kube = experiment.config.cluster, experiment.config.cluster.kube
    assert kube is not None
    count = f"{pods.least} to {pods.most}" if pods.are_scaled else f"{pods.most}"
    gpus = (cluster.gpus_per_worker or 0) * kube.workers_per_pod
    each = f"{cluster.cpus_per_worker * kube.workers_per_pod} CPUs, {gpus} GPUs, {kube.memory_gb} GiB"
    hours = math.ceil(kube.deadline_h)
    return (
        f"{experiment.name}: {len(experiment.members)} member(s), {count} worker pod(s) of {each}, "
        f"a head of {kube.head_cpus} CPUs, {kube.head_memory_gb} GiB; at most {hours} hours"
    )
