"""`cluster=kuberay`: the job runs as a RayJob; here it is rendered, or submitted and followed.

In: the experiment, its config with paths as they were given, the command line's overrides. Out: the job's exit status.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

from platform.config.checks import ConfigError, require
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.kubernetes import rendering
from platform.kubernetes.rayjob import attempts_of, gpus_of, pods_of, rayjob

REPEATED = ("train", "ensemble", "sweep", "check")  # jobs that repeat nothing that is done


def run(experiment: Experiment, given: Config, overrides: list[str], check: Callable[[Experiment], int]) -> int:
    """Render the RayJob, or submit and follow it; `job=check` prints what it would take, and checks here.

    Args:
        experiment: as composed.
        given: its config with paths as they were given.
        overrides: of the command line.
        check: runs `job=check` on this machine.

    Returns:
        0 where it is only rendered or left alone, else the status of the job's own command.

    Raises:
        ConfigError: it cannot run as a RayJob, or the cluster does not take it.
    """
    cluster = experiment.config.cluster
    assert cluster.kube is not None
    manifest = rayjob(experiment, given, overrides)
    if experiment.config.job == "check":
        return _check(experiment, manifest, check)
    if cluster.render_to is not None:
        notes = schedule_notes(experiment.config)
        rendering.write(rendering.text(manifest, overrides, notes), cluster.render_to)
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        return 0
    require(
        cluster.kube.schedule is None,
        "cluster.kube.schedule makes a RayCronJob, which nobody follows; add cluster.render_to=FILE, and apply it",
    )
    from platform.kubernetes.submit import submit  # the client takes a second to import

    print(summary(experiment), flush=True)
    tracking_uri = cluster.kube.tracking_uri_of(experiment.config.tracking.uri)
    return submit(manifest, context=cluster.kube.context, follow=cluster.kube.follow, tracking_uri=tracking_uri)


def _check(experiment: Experiment, manifest: dict[str, Any], check: Callable[[Experiment], int]) -> int:
    """Print resources and command of the RayJob, check as far as this machine sees the data, and ask the cluster."""
    from platform.kubernetes.check.run import ask_cluster  # the client takes a second to import

    print(summary(experiment))
    spec = manifest["spec"].get("jobTemplate", manifest["spec"])
    print(f"there       {spec['entrypoint'].replace(' job=check', '')}")
    for note in schedule_notes(experiment.config):
        print(f"note        {note}")
    try:
        status = check(experiment)
    except ConfigError as error:
        print(f"not checked here: {error}")
        print("(the pods look again: paths lie on their volume, credentials come from their Secrets)")
        status = 0
    return ask_cluster(manifest, experiment.config) or status


def schedule_notes(config: Config) -> list[str]:
    """What a schedule does that most would not expect, a line each."""
    kube, notes = config.cluster.kube, []
    if kube is None or kube.schedule is None:
        return notes
    if not config.fresh and config.job in REPEATED:
        notes.append(
            "without fresh=true the schedule trains once: each later job finds everything finished, or goes on with "
            "what is not; fresh=true cluster.kube.retries=0 trains anew each time, and keeps the folders of before"
        )
    attempts = attempts_of(config, kube)
    if (most := kube.most_hours(attempts)) is not None and kube.deadline_h > most:
        remedy = f"cluster.kube.deadline_h={most} or " if most else ""
        notes.append(
            f"a job that is tried {attempts} times, each for up to {kube.deadline_h:g} hours, may still run when the "
            f"schedule begins the next one, which fails as the folder is in use; {remedy}cluster.kube.retries=0 ends "
            "it before that"
        )
    return notes


def summary(experiment: Experiment) -> str:
    """One line with the resources that the experiment takes from the cluster."""
    cluster, kube = experiment.config.cluster, experiment.config.cluster.kube
    assert kube is not None
    pods = pods_of(experiment)
    count = f"{pods.least} to {pods.most}" if pods.are_scaled else f"{pods.most}"
    gpus = gpus_of(experiment.config) * kube.workers_per_pod
    each = f"{cluster.cpus_per_worker * kube.workers_per_pod} CPUs, {gpus} GPUs, {kube.memory_gb} GiB"
    hours = math.ceil(kube.deadline_h)
    workers = f"{count} worker pod(s) of {each}" if pods.most else "no worker pods"
    return (
        f"{experiment.name}: {len(experiment.members)} member(s), {workers}, "
        f"a head of {kube.head_cpus} CPUs, {kube.head_memory_gb} GiB; at most {hours} hours an attempt"
    )
