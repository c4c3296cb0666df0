"""Findings of `job=check` about a command line, from a server that a test has prepared."""

import functools
from collections.abc import Callable

from platform.kubernetes.check.finding import Finding, Findings
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import Live
from platform.kubernetes.check.run import all_findings
from platform.kubernetes.client import Patience
from platform.kubernetes.kubeconfig import connect
from tests.kube.rendered import composed, on_kubernetes, render

# Seven workers of one GPU; the pod has tests of its own.
ENSEMBLE = ("+experiment=googlenet_ens", "data=imagenet", "cluster=kuberay", "cluster.kube.check_pod_s=0")
QUICK = Patience(connect_s=1, answer_s=5)


@functools.cache
def job_of(*words: str) -> Job:
    """The job of a command line; composing takes a second."""
    return Job(render(*words), composed(*on_kubernetes(*words))[0].config)


def all_of(job: Job) -> list[Finding]:
    """What the cluster of KUBECONFIG has for a job."""
    return all_findings(Live(connect(None, QUICK)), job)


def found(check: Callable[[Live, Job], Findings], *words: str) -> list[tuple[str, str]]:
    """State and text of what one check finds for the ensemble with further overrides."""
    return [(state, text) for _, state, text in with_subject(check, *words)]


def with_subject(check: Callable[[Live, Job], Findings], *words: str) -> list[tuple[str, str, str]]:
    """The same, with what each is about."""
    seen = check(Live(connect(None, QUICK)), job_of(*ENSEMBLE, *words))
    return [(each.about, each.state, "; ".join(filter(None, (each.said, each.remedy)))) for each in seen]


def one(check: Callable[[Live, Job], Findings], *words: str) -> tuple[str, str]:
    """The only finding of a check."""
    (only,) = found(check, *words)
    return only
