"""Submit a RayJob and follow it: the same command attaches to one that runs and resumes one that has ended.

In: the rendered manifest. Out: the job's exit code. Nothing that happens to this process ends the job.
"""

import secrets
import time

from platform.config.checks import ConfigError
from platform.config.kubernetes import MLFLOW
from platform.kubernetes import addresses
from platform.kubernetes.client import Away, Cluster, Object, Patience, Refused
from platform.kubernetes.difference import differences, summary
from platform.kubernetes.follow import follow as follow_to_end
from platform.kubernetes.kubeconfig import connect
from platform.kubernetes.names import is_same, names_to_look_for, names_to_take, renamed, whose
from platform.kubernetes.refusals import explained
from platform.kubernetes.states import OVER, deployment_of, state, then
from platform.signals import INTERRUPTED, signals

_DELETION_S = 600.0  # pods get their grace period


def submit(
    manifest: Object,
    *,
    context: str | None,
    follow: bool,
    tracking_uri: str = MLFLOW,
    patience: Patience | None = None,
) -> int:
    """Create a RayJob, or find the same one that is there, and follow it.

    Args:
        manifest: a RayJob with name and namespace.
        context: of the kubeconfig; None: its current one, or the cluster of the pod this runs in.
        follow: print status and log until the end; else return once it is created.
        tracking_uri: of MLflow, as the pods have it.
        patience: time limits.

    Returns:
        0 if the job succeeded (without `follow`: is created), else its exit code; 130: interrupted; 75: the API server
        does not answer any more.

    Raises:
        ConfigError: it cannot be created. Nothing was changed, but a finished job of that name may be deleted.
    """
    patience = patience or Patience()
    submission = _Submission(manifest, tracking_uri, patience, follow=follow)
    try:
        with signals(KeyboardInterrupt):
            try:
                submission.begin(context)
                return follow_to_end(submission.cluster, submission.job, patience) if follow else 0
            except KeyboardInterrupt:
                submission.say_how_it_goes_on()
                return INTERRUPTED
    except Refused as refused:
        raise explained(refused, submission.cluster, submission.manifest) from refused
    except Away as away:
        raise ConfigError(f"{away}; {submission.remedy}") from away


class _Submission:
    """The submission of a manifest, and how far it is."""

    cluster: Cluster
    job: Object

    def __init__(self, manifest: Object, tracking_uri: str, patience: Patience, *, follow: bool) -> None:
        self._tracking_uri = tracking_uri
        self.manifest, self._patience = manifest, patience  # the name may be taken: then it is under another
        self._namespace = manifest["metadata"]["namespace"]
        self._kubectl = f"kubectl -n {self._namespace}"
        self._is_sent = self._is_known = False
        self._following = ": following it" if follow else ""  # said only where it is so
        self.remedy = "is the address right, is the network (VPN) up? kubectl cluster-info tells"

    def begin(self, context: str | None) -> None:
        """Create the RayJob, or find one with the same content."""
        self.cluster = connect(context, self._patience)
        self._kubectl = self.cluster.kubectl(self._namespace)
        self.remedy = f"is the address right, is the network (VPN) up? {self._kubectl} cluster-info tells"
        present = self._find()
        if present and not _is_over(present):
            self._attach(present)
        else:
            # A dry run first: schema and admission refuse before anything is deleted or created.
            self.cluster.create(self._renamed() if present else self.manifest, dry_run=True)
            if present:
                self._delete(present)
            self._create()
        self._say_addresses()

    @property
    def _name(self) -> str:
        return self.manifest["metadata"]["name"]

    def _find(self) -> Object | None:
        """This experiment's RayJob, if there is one; else a name is taken that no other RayJob has.

        Raises:
            ConfigError: all names are others'.
        """
        there = {name: self.cluster.rayjob(self._namespace, name) for name in names_to_look_for(self.manifest)}
        ours = [job for job in there.values() if job and is_same(job, self.manifest)]
        ours.sort(key=_is_over)  # one that runs first
        free = [name for name in names_to_take(self.manifest) if there[name] is None]
        if not ours and not free:
            raise ConfigError(f"{self._others(there)}; choose another name=")
        if not ours and free[0] != self._name:
            print(f"{self._others(there)}: this one is called {free[0]}", flush=True)
        self.manifest = renamed(self.manifest, ours[0]["metadata"]["name"] if ours else free[0])
        return ours[0] if ours else None

    def _others(self, there: dict[str, Object | None]) -> str:
        taken = [f"rayjob {self._namespace}/{name} is there, of {whose(job)}" for name, job in there.items() if job]
        return "; ".join(taken)

    def _attach(self, present: Object) -> None:
        """Take the RayJob that is there for this submission.

        Raises:
            ConfigError: it is another job.
        """
        wanted = self.cluster.create(self._renamed(), dry_run=True)
        found = differences(wanted, present)
        where = f"rayjob {self._namespace}/{self._name}"
        if found:
            raise ConfigError(
                f"{where} is there ({state(present)}) and differs: {summary(found)}; "
                f"choose another name=, or end it first: {self._kubectl} delete rayjob {self._name} --wait=false"
            )
        self.job, self._is_sent, self._is_known = present, True, True
        print(f"{where} is there already, with the same command{self._following}", flush=True)

    def _delete(self, present: Object) -> None:
        """Delete a job that is over, and wait until all that it owned is gone."""
        where = f"rayjob {self._namespace}/{self._name}"
        if not present["metadata"].get("deletionTimestamp"):
            goes_on = then(self.manifest)
            print(f"{where} has ended before ({state(present)}): it is made anew, and {goes_on}", flush=True)
            self.cluster.delete(self._namespace, self._name, present["metadata"]["uid"])
        else:
            print(f"{where} is being deleted: waiting for its end", flush=True)
        until = time.monotonic() + _DELETION_S
        while self._is_there(present["metadata"]["uid"]):
            if time.monotonic() > until:
                raise ConfigError(
                    f"{where} is still being deleted after {_DELETION_S:.0f} s: is the KubeRay operator running? "
                    f"{self._kubectl} get rayjob {self._name} -o yaml shows its finalizers"
                )
            time.sleep(min(self._patience.poll_s, 1.0))

    def _is_there(self, uid: str) -> bool:
        try:
            left = self.cluster.rayjob(self._namespace, self._name)
        except Away:
            return True  # nobody knows
        return left is not None and left["metadata"]["uid"] == uid

    def _create(self) -> None:
        self._is_sent = True  # before the answer, which may be lost
        before = self.remedy
        self.remedy = "whether the RayJob was made is not known; the same command finds out, and follows it"
        self.job = self.cluster.create(self.manifest)
        self.remedy, self._is_known = before, True
        print(f"rayjob {self._namespace}/{self._name} is submitted", flush=True)

    def _renamed(self) -> Object:
        """The manifest with another name, for a dry run while its own is taken."""
        name = f"{self._name[:40]}-{secrets.token_hex(3)}"
        return self.manifest | {"metadata": self.manifest["metadata"] | {"name": name}}

    def _say_addresses(self) -> None:
        left = "(Ctrl-C leaves it running)" if self._following else "(cluster.kube.follow=true follows it)"
        places = addresses.lines(self.cluster, self._namespace, self._name, self._tracking_uri)
        print(
            *places,
            f"  stop it    {self._kubectl} delete rayjob {self._name} --wait=false   {left}",
            sep="\n",
            flush=True,
        )

    def say_how_it_goes_on(self) -> None:
        """Print how to go on after Ctrl-C."""
        if not self._is_sent:
            print("\ninterrupted: nothing was submitted", flush=True)
            return
        known = "no longer following; the job goes on" if self._is_known else "interrupted; the job may be submitted"
        print(
            f"\n{known}\n"
            f"  follow it again  the same command\n"
            f"  look             {self._kubectl} get rayjob {self._name}\n"
            f"  stop it          {self._kubectl} delete rayjob {self._name} --wait=false",
            flush=True,
        )


def _is_over(job: Object) -> bool:
    return deployment_of(job) in OVER or bool(job["metadata"].get("deletionTimestamp"))
