"""The road of the live check: connect, ask one thing after another, print the table.

In: the rendered manifest and the config. Out: the exit status.
"""

from collections.abc import Callable

from platform.config.checks import ConfigError
from platform.config.sections import Config
from platform.kubernetes.check import kuberay, limit_range, network, nodes, queues, quota, storage
from platform.kubernetes.check.admission import manifest as dry_run
from platform.kubernetes.check.admission import namespace
from platform.kubernetes.check.amounts import NoQuantity
from platform.kubernetes.check.finding import MISSING, Finding, Findings, unknown
from platform.kubernetes.check.from_within import from_within
from platform.kubernetes.check.grace import grace
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import Hidden, Live
from platform.kubernetes.check.rights import rights
from platform.kubernetes.check.secret_keys import secrets
from platform.kubernetes.check.table import lines
from platform.kubernetes.client import Away, Object, Patience, Refused
from platform.kubernetes.kubeconfig import connect
from platform.kubernetes.refusals import explained
from platform.signals import INTERRUPTED, signals
from platform.text import one_line

# What a finding is about where the rights do not show it, and who looks.
CHECKS: tuple[tuple[str, Callable[[Live, Job], Findings]], ...] = (
    ("KubeRay's kinds", kuberay.kinds),
    ("operator", kuberay.operator),
    ("feature gates", kuberay.feature_gates),
    ("gang scheduler", kuberay.gang_scheduler),
    ("namespace", namespace),
    ("rights", rights),
    ("dry run", dry_run),
    ("quota", quota.quotas),
    ("limit range", limit_range.limit_ranges),
    ("volume", storage.volume),
    ("cache", storage.cache_class),
    ("secrets", secrets),
    ("priority", queues.priority_class),
    ("queue", queues.queue),
    ("queue priority", queues.queue_priority),
    ("nodes", nodes.nodes),
    ("head", nodes.head_and_submitter),
    ("GPUs", nodes.gpus),
    ("grace", grace),
    ("network", network.policies),
    ("enforcement", network.enforcement),
    ("image", from_within),
)


def ask_cluster(manifest: Object, config: Config, patience: Patience | None = None) -> int:
    """Ask the cluster of `cluster.kube.context` for what the job needs, and print it.

    Args:
        manifest: as rendered.
        config: as composed.
        patience: time limits.

    Returns:
        1 where something certain would make the job fail, also that the server does not take the credentials; 130 where
        it is interrupted; else 0, as where the cluster does not answer.
    """
    try:
        with signals(KeyboardInterrupt):  # by which the check's pod is deleted also on SIGTERM
            return _ask(Job(manifest, config), patience or Patience())
    except KeyboardInterrupt as interrupt:
        print(f"\ncluster     {str(interrupt) or 'interrupted'}: what was found so far is not shown", flush=True)
        return INTERRUPTED


def _ask(job: Job, patience: Patience) -> int:
    try:
        cluster = connect(job.kube.context, patience)
    except ConfigError as error:
        print(f"cluster     not asked: {error}")
        return 0
    try:
        version = cluster.request("GET", "/version").get("gitVersion", "of an unknown version")
    except Away as away:
        print(f"cluster     not asked: {away}")
        return 0
    except Refused as refused:
        print(f"cluster     not asked: {explained(refused, cluster, job.manifest)}")
        return 1
    print(f"cluster     Kubernetes {version} at {cluster.host}", flush=True)
    findings = all_findings(Live(cluster), job)
    print("\n".join(lines(findings)))
    return int(any(finding.state == MISSING for finding in findings))


def all_findings(live: Live, job: Job) -> list[Finding]:
    """What every check finds; after the server has gone away, only that it has."""
    found: list[Finding] = []
    for about, check in CHECKS:
        try:
            for finding in check(live, job):
                found.append(finding)
        except Hidden as hidden:
            found.append(unknown(about, str(hidden), hidden.remedy))
        except NoQuantity as strange:
            found.append(unknown(about, str(strange)))
        except Refused as refused:
            found.append(unknown(about, f"the API server refuses the question: {one_line(str(refused))}"))
        except Away as away:
            found.append(unknown(about, f"{away}; what comes after it was not asked"))
            break
    return found
