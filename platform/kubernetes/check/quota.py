"""Whether the namespace's quotas leave room for the job, submitter and autoscaler included.

In: the job. Out: findings, by the tightest resource of each quota.
"""

from decimal import Decimal

from platform.kubernetes.check.amounts import Amounts, amounts, shown
from platform.kubernetes.check.finding import Finding, Findings, missing, ok, unknown, warning
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import QUOTAS, RAY_JOBS, Hidden, Live
from platform.kubernetes.client import Object
from platform.kubernetes.states import OVER

_APPLIES = {"NotTerminating": True, "NotBestEffort": True, "Terminating": False, "BestEffort": False}


def quotas(live: Live, job: Job) -> Findings:
    """A finding for each ResourceQuota of the namespace."""
    found = live.find(QUOTAS, job.namespace)
    if not found:
        yield ok("quota", f"none in namespace {job.namespace}")
    for quota in found:
        name = f"ResourceQuota {quota['metadata']['name']}"
        applies = _applies(quota["spec"], job)
        if applies is None:
            yield unknown("quota", f"{name} is for some pods only, by a scope that is not known here")
        elif not applies:
            yield ok("quota", f"{name} is not for the pods of this job")
        else:
            yield _room(name, quota, job, runs=_runs(live, job))


def counted(job: Job, workers: int) -> Amounts:
    """What a quota would count of the job with so many workers, under the names that quotas have for it."""
    pods = job.pods(workers)
    one, number = Decimal(1), Decimal(sum(group.count for group in pods))
    objects = ("rayjobs.ray.io", "rayclusters.ray.io", "jobs.batch", "services", "secrets")
    taken: Amounts = {f"count/{each}": one for each in objects}
    taken |= {"services": one, "secrets": one, "pods": number, "count/pods": number}
    requests, limits = job.takes("requests", workers), job.takes("limits", workers)
    taken |= requests
    taken |= {f"requests.{resource}": total for resource, total in requests.items()}
    taken |= {f"limits.{resource}": total for resource, total in limits.items()}
    claims = [(group.count, claim) for group in pods for claim in _claims(group.spec)]
    if claims:
        taken["persistentvolumeclaims"] = Decimal(sum(count for count, _ in claims))
        taken["requests.storage"] = sum((count * amounts(asked)["storage"] for count, asked in claims), Decimal(0))
    return taken


def _room(name: str, quota: Object, job: Job, *, runs: bool) -> Finding:
    status = quota.get("status") or {}
    hard, used = amounts(status.get("hard") or quota["spec"].get("hard")), amounts(status.get("used"))
    least, most = (counted(job, workers) for workers in job.workers)
    if over := _over(least, hard, "allowed"):
        remedy = "raise it, or lower cluster.kube.pods or the size of a pod"
        return missing("quota", f"{name} is too small: {over}", remedy)
    if runs:
        return ok("quota", f"{name} allows it; what is left is not looked at, as a job of this name runs")
    left = {resource: hard[resource] - used.get(resource, Decimal(0)) for resource in hard}
    if over := _over(least, left, "left"):
        remedy = f"kubectl -n {job.namespace} describe quota tells what is used"
        return warning("quota", f"{name}: {over}: pods are refused until other jobs end", remedy)
    if over := _over(most, left, "left"):
        return warning("quota", f"{name} has room for the fewest worker pods, not for all {job.workers[1]}: {over}")
    shares = {each: most[each] / left[each] for each in left if left[each] and most.get(each)}
    if not shares:
        return ok("quota", f"{name} counts nothing that the job takes")
    tightest = max(shares, key=lambda resource: shares[resource])
    taken = f"{shown(tightest, most[tightest])} of {shown(tightest, left[tightest])}"
    return ok("quota", f"{name}: it takes {taken} left of {tightest}, the tightest")


def _over(wanted: Amounts, there: Amounts, word: str) -> str:
    """The resources of which more is wanted than there is."""
    over = [each for each in there if wanted.get(each, Decimal(0)) > there[each]]
    return ", ".join(f"{each} {shown(each, wanted[each])} of {shown(each, there[each])} {word}" for each in over)


def _claims(spec: Object) -> list[Object]:
    """What the volumes ask for that are made with a pod."""
    made = [volume["ephemeral"] for volume in spec.get("volumes") or [] if "ephemeral" in volume]
    return [each["volumeClaimTemplate"]["spec"]["resources"]["requests"] for each in made]


def _applies(spec: Object, job: Job) -> bool | None:
    """Whether a quota is for the pods of the job; None: not known."""
    answers = [_APPLIES.get(scope) for scope in spec.get("scopes") or []]
    for term in (spec.get("scopeSelector") or {}).get("matchExpressions") or []:
        answers.append(_holds(term, job.kube.priority_class))
    if False in answers:
        return False
    return None if None in answers else True


def _holds(term: Object, priority_class: str | None) -> bool | None:
    """Whether a scope takes pods of this priority class; None: not known."""
    if term.get("scopeName") != "PriorityClass":
        return _APPLIES.get(str(term.get("scopeName")))
    is_in = priority_class in (term.get("values") or [])
    match term.get("operator"):
        case "In":
            return is_in
        case "NotIn":
            return not is_in
        case "Exists":
            return priority_class is not None
        case "DoesNotExist":
            return priority_class is None
    return None


def _runs(live: Live, job: Job) -> bool:
    """Whether a job of this name is there, whose pods the quota has counted already."""
    try:
        present = None if job.is_scheduled else live.get(RAY_JOBS, job.name, job.namespace)
    except Hidden:
        return False
    return present is not None and (present.get("status") or {}).get("jobDeploymentStatus") not in OVER
