"""`job=chaos`: the experiment twice, undisturbed and with injected faults, and whether both end alike.

In: an experiment. Out: NAME-calm and NAME-chaos beside each other in `output_dir`, the faults and the time to recover
from each, and a comparison of weights, samples and metrics. The cluster is `cluster.address`, or one of its own on this
machine.
"""

import contextlib
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from jobs.pack import prepare_data
from platform.chaos import compare, session
from platform.chaos.compare import Comparison, History
from platform.chaos.launched import Launched, LiveWorker
from platform.chaos.nodes import LocalCluster
from platform.chaos.remote import RemoteCluster
from platform.chaos.servers import Absences, MlflowServer, ShardServer
from platform.chaos.strikes import Strike, draw_strikes
from platform.cluster.runtime_env import fork_server
from platform.config.checks import ConfigError, require
from platform.config.cluster import ClusterConfig
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.experiment.folder import ExperimentFolder
from platform.experiment.goodput import Goodput
from platform.experiment.plan import plan
from platform.overrides import key_of
from platform.signals import signals
from platform.tracking.mlflow_store import histories, statuses
from platform.tracking.tracker import mlflow_ids

RECOVERY_LIMIT_S = 600.0
STALL_TIMEOUT_S = 20  # for runs that are made to stall, unless cluster.stall_timeout_s says otherwise
OWN_KEYS = (
    "job",
    "name",
    "fresh",
    "cluster.address",
    "data.shards",
    "data.source",
    "output_dir",
    "tracking.uri",
    "registry.name",
)
UNFELT = ("tracker", "storage", "fork_server")  # training goes on without them
COMPARED = ("train/loss", "val/top1", "val/loss", "progress")


@dataclass
class Struck:
    """What a fault hit, and how long training took to recover."""

    step: int
    target: str
    what: str
    recovered_s: float | None = None  # until the next training step


def run(experiment: Experiment) -> int:
    """Run both and compare; exit status 0 if the run with faults ended as the undisturbed one did."""
    config = experiment.config
    _check(config)
    prepare_data(config)
    steps = sum(member.steps for member in plan(experiment).members)
    strikes = draw_strikes(config.chaos, steps)
    terminated = signals(lambda _: SystemExit(143), [signal.SIGTERM])
    with terminated, contextlib.ExitStack() as stack:
        rig = stack.enter_context(_Rig.of(config))
        calm = stack.enter_context(_launched(experiment, rig, "calm"))
        fire = stack.enter_context(_launched(experiment, rig, "chaos"))
        print(f"{calm.folder.name}: undisturbed, for comparison; its output is in {calm.log}")
        calm.start()
        require(calm.wait() == 0, f"the undisturbed run failed; see {calm.log}")
        print(f"{fire.folder.name}: {len(strikes)} strikes over {steps} steps; its output is in {fire.log}")
        fire.start(*(["fresh=true"] if fire.folder.exists() else []))
        with Absences(config.chaos.down_s) as absences:
            struck = _Storm(fire, rig, absences).strike_all(strikes)
        status = fire.wait()
        if len(struck) < len(strikes):
            print(f"only {len(struck)} of {len(strikes)} strikes: the run was over; train for longer, or strike less")
        return _report(experiment, rig, calm, fire, struck, status)


def _check(config: Config) -> None:
    private = config.cluster.address is None
    state = fork_server(config.cluster)
    require(
        not state.off or "fork_server" not in config.chaos.targets,
        f"chaos.targets has fork_server, which is {state}; take it out",
    )
    require(
        private or "storage" not in config.chaos.targets,
        "chaos.targets has storage, which this job can only bring for a cluster of its own; leave out cluster.address",
    )


@contextlib.contextmanager
def _launched(experiment: Experiment, rig: "_Rig", kind: str) -> Iterator[Launched]:
    name = f"{experiment.name}-{kind}"
    folder = Path(experiment.config.output_dir) / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    own = (*OWN_KEYS, "loader.log_samples", "storage.cache")
    given = experiment.overrides
    overrides = [each for each in given if (key := key_of(each)) not in own and not key.startswith("chaos.")]
    job = "ensemble" if experiment.config.ensemble.members else "train"
    overrides += [f"job={job}", f"name={name}", "loader.log_samples=true", "registry.name=null", *rig.overrides]
    launched = Launched(overrides, folder, rig.environment, folder.with_name(f"{name}.log"))
    try:
        yield launched
    finally:
        launched.end()


class _Rig:
    """The cluster, the tracker and the storage of both runs."""

    def __init__(self, config: Config, scratch: Path) -> None:
        self._config, self._scratch = config, scratch
        self._stack = contextlib.ExitStack()
        self.tracking = config.tracking
        self.environment: dict[str, str] = {}
        self.overrides = [f"output_dir={config.output_dir}", "data.source=null"]
        self.cluster: LocalCluster | RemoteCluster
        self.servers: dict[str, MlflowServer | ShardServer] = {}

    @classmethod
    @contextlib.contextmanager
    def of(cls, config: Config) -> Iterator["_Rig"]:
        scratch = Path(tempfile.mkdtemp(prefix="platform-chaos-"))
        rig = cls(config, scratch)
        try:
            with rig._stack:
                rig._bring()
                yield rig
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _bring(self) -> None:
        config, chaos = self._config, self._config.chaos
        address = config.cluster.address
        if address is None:
            workers = config.cluster.max_workers * config.cluster.cpus_per_worker
            cluster = LocalCluster(self._scratch, 1 + chaos.nodes, -(-workers // chaos.nodes), head_cpus=0)
            self.cluster = self._stack.enter_context(cluster)
            self.environment |= cluster.environment
            address = cluster.address
        else:
            self.cluster = self._stack.enter_context(RemoteCluster(address))
        self.overrides.append(f"cluster.address={address}")
        if "stall" in chaos.targets and config.cluster.stall_timeout_s == ClusterConfig().stall_timeout_s:
            self.overrides.append(f"cluster.stall_timeout_s={STALL_TIMEOUT_S}")
        shards = config.data.shards
        if "storage" in chaos.targets:
            server = self.servers["storage"] = self._stack.enter_context(ShardServer(Path(shards)))
            shards = server.url
            self.overrides.append(f"storage.cache={self._scratch / 'cache'}")
        if "tracker" in chaos.targets:
            folder = Path(config.output_dir) / f"{Experiment(config, {}).name}-mlflow"
            folder.mkdir(parents=True, exist_ok=True)
            tracker = self.servers["tracker"] = self._stack.enter_context(MlflowServer(folder))
            self.tracking = TrackingConfig(uri=tracker.url, experiment=config.tracking.experiment)
        self.overrides += [f"data.shards={shards}", f"tracking.uri={self.tracking.uri}"]


class _Storm:
    """Injects faults into one launched run, and measures its recovery."""

    def __init__(self, run: Launched, rig: _Rig, absences: Absences) -> None:
        self._run, self._rig, self._absences = run, rig, absences
        self._down_s = rig._config.chaos.down_s

    def strike_all(self, strikes: list[Strike]) -> list[Struck]:
        """Inject each fault once its step is done and training has recovered from the one before; fewer if the run
        ends first."""
        struck = []
        for strike in strikes:
            landed = self._land(strike)
            if landed is None:
                break
            each, struck_at, member = landed
            each.recovered_s = self._recovered_s(strike.target, struck_at, member)
            struck.append(each)
            after = f"next step after {each.recovered_s:.1f} s" if each.recovered_s is not None else "training went on"
            print(f"step {each.step:>7}  {each.target:<11} {each.what:<44} {after}", flush=True)
        return struck

    def _land(self, strike: Strike) -> tuple[Struck, float, str] | None:
        """Inject one fault: (what was hit, when in seconds since the epoch, the member); None: the run is over."""
        while workers := self._wait_for(strike.step):
            struck_at, step = time.time(), self._run.steps_done()
            worker = workers[int(strike.draw * len(workers))]
            with contextlib.suppress(ProcessLookupError):  # the worker ended by itself meanwhile: take another
                return Struck(step, strike.target, self._strike(strike.target, worker)), struck_at, worker.member
        return None

    def _wait_for(self, step: int) -> list[LiveWorker]:
        """Wait until so many steps are done: the workers that are training; none if the run is over."""
        while self._run.status() is None:
            workers = self._run.training()
            if workers and self._run.steps_done() >= step:
                return workers
            time.sleep(0.2)
        return []

    def _strike(self, target: str, worker: LiveWorker) -> str:
        """Inject the fault; a description of what was done."""
        process = f"rank {worker.rank} of {worker.member}, process {worker.pid}"
        match target:
            case "worker":
                self._rig.cluster.signal_process(worker.node_id, worker.pid, signal.SIGKILL)
                return f"{process} killed"
            case "stall":
                self._rig.cluster.signal_process(worker.node_id, worker.pid, signal.SIGSTOP)
                return f"{process} stopped"
            case "fork_server":
                killed = self._rig.cluster.kill_fork_server_of(worker.node_id, worker.pid)
                return f"fork server of {process} {'killed' if killed else 'was gone already'}"
            case "node":
                node = self._rig.cluster.kill_node_of(worker.node_id, worker.pid)
                time.sleep(self._down_s)
                self._rig.cluster.bring_back(node)
                return f"node {node} killed, back after {self._down_s:g} s"
            case "drain":
                node = self._rig.cluster.drain_node_of(worker.node_id, worker.pid)
                time.sleep(self._down_s)
                self._rig.cluster.bring_back(node)
                return f"node {node} drained, another after {self._down_s:g} s"
            case "driver":
                killed = self._run.pid
                self._run.kill()
                self._run.start()
                return f"launcher, process {killed}, killed and launched again"
            case _:
                server = self._rig.servers[target]
                self._absences.begin(server)  # does not wait, as training does not: MLflow takes seconds to start
                return f"{server.url} killed, back after {self._down_s:g} s"

    def _recovered_s(self, target: str, struck_at: float, member: str) -> float | None:
        """Seconds until the next training step; None for faults that training does not notice.

        Raises:
            ConfigError: it does not go on.
        """
        if target in UNFELT:
            return None
        end = time.monotonic() + RECOVERY_LIMIT_S
        while time.monotonic() < end:
            if next_step := self._run.next_step_after(struck_at, member):
                return next_step - struck_at
            if self._run.status() is not None:
                return None
            time.sleep(0.2)
        raise ConfigError(f"training did not go on within {RECOVERY_LIMIT_S:g} s of a strike; see {self._run.log}")


def _report(
    experiment: Experiment, rig: _Rig, calm: Launched, fire: Launched, struck: list[Struck], status: int
) -> int:
    """Print the comparison and write it to `chaos.json`; the exit status."""
    print()
    if status != 0:
        print(f"the run under fire ended with status {status}; see {fire.log}")
        return 1
    comparisons = [each for name in experiment.members for each in _compare(name, calm, fire, rig.tracking)]
    for each in comparisons:
        print("\n".join(each.lines()))
    for name, attempts in fire.attempts().items():
        print(f"{name}: {Goodput.of(attempts).text}")
    open_runs = [status for status in _ends(fire.folder, rig.tracking) if status != "FINISHED"]
    print(f"MLflow runs that did not finish: {len(open_runs)}")
    left = _left_behind(fire)
    print(f"left behind: {', '.join(left) or 'nothing'}")
    cluster = experiment.config.cluster
    exact = cluster.min_workers == cluster.max_workers  # other numbers of workers round sums differently
    decisive = [each for each in comparisons if exact or each.what.endswith("samples")]
    same = all(each.equal for each in decisive) and not open_runs and not left
    verdict = "the run under fire ended as the undisturbed one did" if same else "the two runs differ"
    print(verdict + ("" if exact else " (its number of workers changed: weights and metrics differ by rounding)"))
    content = {
        "same": same,
        "struck": [asdict(each) for each in struck],
        "comparisons": [asdict(each) for each in comparisons],
        "left_behind": left,
    }
    (fire.folder / "chaos.json").write_text(json.dumps(content, indent=1) + "\n")
    return 0 if same else 1


def _compare(member: str, calm: Launched, fire: Launched, tracking: TrackingConfig) -> list[Comparison]:
    one, two = (launched.folder / "members" / member for launched in (calm, fire))
    before, after = (_histories(launched.folder, member, tracking) for launched in (calm, fire))
    found = [compare.weights(one, two), compare.samples(one, two), *compare.metrics(before, after, COMPARED)]
    return [replace(each, what=f"{member}: {each.what}") for each in found]


def _histories(folder: Path, member: str, tracking: TrackingConfig) -> History:
    stored = ExperimentFolder(folder)
    run = mlflow_ids(stored.tracking)[stored.record().member_runs[member]]
    return histories(tracking, run, COMPARED)


def _ends(folder: Path, tracking: TrackingConfig) -> list[str]:
    return statuses(tracking, mlflow_ids(ExperimentFolder(folder).tracking).values())


def _left_behind(fire: Launched) -> list[str]:
    """What a run should not have left: processes of its launchers, half-written files."""
    left = [f"process {each.pid} of launcher {pid}" for pid in fire.pids for each in session.living(pid)]
    left += [str(path) for path in fire.folder.rglob("*.unfinished")]
    return left + [str(path) for path in (fire.folder / "live.json", fire.folder / ".holder") if path.exists()]
