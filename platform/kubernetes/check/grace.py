"""Whether pods that are ended have the time to drain and to save.

In: the job. Out: a finding; the cluster is not asked.
"""

import math

from platform.kubernetes.check.finding import Findings, missing, ok, warning
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import Live
from platform.kubernetes.templates import DRAIN_S

# Seconds between the notice and the end of a spot node, of which pods have at most this.
_NOTICE_S = {"gke": 15, "eks": 120, "aks": 30, "karpenter": 120}


def grace(live: Live, job: Job) -> Findings:
    """The pods' grace period against Ray's drain and a last checkpoint; on spot nodes the cloud's notice."""
    given = int(job.worker.spec["terminationGracePeriodSeconds"])
    needed = DRAIN_S + math.ceil(job.config.checkpoint.grace_s)
    parts = f"a drain of {DRAIN_S} s and checkpoint.grace_s={job.config.checkpoint.grace_s:g}"
    if given < needed:
        said = f"pods have {given} s to end, {parts} take {needed}"
        yield missing("grace", said, "render the manifest with this version, or lower checkpoint.grace_s")
        return
    notice, provider = _NOTICE_S[job.kube.provider], job.kube.provider
    if job.kube.capacity == "spot" and notice < needed:
        said = f"{provider} takes spot nodes back after {notice} s, {parts} take {needed}"
        every = f"checkpoint.every_s={job.config.checkpoint.every_s:g}"
        yield warning("grace", said, f"what came since the newest checkpoint is lost ({every})")
    else:
        yield ok("grace", f"pods have {given} s to end: {parts} fit")
