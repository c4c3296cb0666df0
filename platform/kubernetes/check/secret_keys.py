"""Secrets and the names of their keys. Their values never leave the server: only metadata is asked for.

In: the job. Out: findings. Names of keys are in `managedFields`, which say who set which field.
"""

from platform.kubernetes.check.finding import Finding, Findings, missing, ok, unknown, warning
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import SECRETS, SERVICE_ACCOUNTS, Hidden, Live
from platform.kubernetes.client import Object

ACCOUNT = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
TOKEN = "MLFLOW_TRACKING_TOKEN"
STORE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
# By which the store's client gets keys from elsewhere: a file, a cloud.
STORE_IDENTITY = (
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)
_FSSPEC = "FSSPEC_S3"  # or FSSPEC_S3_KEY and the like, which fsspec reads
_ROLE = "eks.amazonaws.com/role-arn"  # of an account, by which EKS puts the identity into its pods
_FIELDS = ("f:data", "f:stringData")


def secrets(live: Live, job: Job) -> Findings:
    """What the pods' environment, the registry's login and Redis come from."""
    kube, held, is_all_seen = job.kube, {*job.kube.env}, True
    for name in kube.secrets:
        found = live.metadata(SECRETS, name, job.namespace)
        keys = keys_of(found or {})
        held |= keys
        is_all_seen &= bool(keys)
        if found is None:
            remedy = f"kubectl -n {job.namespace} create secret generic {name} ..., as the head of the overlay says"
            yield warning("secrets", f"{name} does not exist: pods start without what it should hold", remedy)
        else:
            yield ok("secrets", f"{name} holds {', '.join(sorted(keys)) or 'keys whose names cannot be seen'}")
    if is_all_seen:
        yield from _account(job, held)
        yield from _store(live, job, held)
    for name in kube.pull_secrets:
        yield _there(live, job, name, "images of a private registry cannot be pulled")
    if kube.redis_address is not None:
        yield _there(live, job, kube.redis_secret, "the head does not start", key="password")


def _account(job: Job, held: set[str]) -> Findings:
    """Whether the environment has what MLflow's client logs in with."""
    lacking = [name for name in ACCOUNT if name not in held]
    if job.tracking_server and lacking and TOKEN not in held:
        said = f"{_nowhere(job, *lacking)}, nor {TOKEN}: MLflow at {job.tracking_server} gets no account"
        yield warning("secrets", said, f"{_add(job, *ACCOUNT)}, unless that server takes everybody")


def _store(live: Live, job: Job, held: set[str]) -> Findings:
    """Whether the environment, or the identity of the pods' accounts, opens a store that speaks S3."""
    settings = [key for key, place in job.places.items() if place.startswith("s3://")]
    lacking = [name for name in STORE_KEYS if name not in held]
    if not settings or not lacking or held & {*STORE_IDENTITY} or any(name.startswith(_FSSPEC) for name in held):
        return
    accounts = dict.fromkeys(group.spec["serviceAccountName"] for group in (job.head, job.worker))
    try:
        found = {name: live.metadata(SERVICE_ACCOUNTS, name, job.namespace) for name in accounts}
    except Hidden as hidden:
        yield unknown("secrets", f"whether the pods' accounts have an identity for {', '.join(settings)} {hidden}")
        return
    plain = [name for name, each in found.items() if _ROLE not in ((each or {}).get("annotations") or {})]
    if plain:
        have = f"{', '.join(plain)} {'has' if len(plain) == 1 else 'have'} no annotation {_ROLE}"
        store = f"the store of {', '.join(settings)} lets pods in only if it lets everybody in"
        said = f"{_nowhere(job, *lacking)}, and {have}: {store}"
        remedy = f"{_add(job, *STORE_KEYS)}, or give the accounts an identity (docs/kubernetes-clouds.md)"
        yield warning("secrets", said, f"{remedy}; EKS Pod Identity needs no annotation")


def _nowhere(job: Job, *names: str) -> str:
    places = ", ".join([*job.kube.secrets, "cluster.kube.env"])
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not in {places}"


def _add(job: Job, *names: str) -> str:
    secret = job.kube.secrets[0] if job.kube.secrets else "a Secret that cluster.kube.secrets names"
    return f"put {' and '.join(names)} into {secret}"


def keys_of(metadata: Object) -> set[str]:
    """The names of a Secret's keys, from who set them."""
    return {
        key.removeprefix("f:")
        for entry in metadata.get("managedFields") or []
        for fields in _FIELDS
        for key in (entry.get("fieldsV1") or {}).get(fields) or {}
        if key.startswith("f:")
    }


def _there(live: Live, job: Job, name: str, without: str, key: str | None = None) -> Finding:
    found = live.metadata(SECRETS, name, job.namespace)
    if found is None:
        said = f"{name} is not in namespace {job.namespace}: {without}"
        return missing("secrets", said, f"kubectl -n {job.namespace} create secret ... {name}")
    keys = keys_of(found)
    if key is None or key in keys:
        return ok("secrets", f"{name} is there" + (f" and holds {key}" if key else ""))
    if not keys:
        return unknown("secrets", f"{name} is there; the names of its keys cannot be seen")
    return missing(
        "secrets", f"{name} holds {', '.join(sorted(keys))}, not {key}: {without}", f"add the key {key} to it"
    )
