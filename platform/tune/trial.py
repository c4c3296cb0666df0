"""One trial of a sweep: what Ray Tune runs. It is an ordinary training of one member.

A trial of one worker trains in Tune's own process, which goes on to the next trial and so starts in no time. One of
several workers has a Ray Train worker group, and one of those that are trained together is at a worker that they share
(`cluster.fuse`): then its process holds no resources itself, and only waits.
"""

import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from platform.cluster.nodes import lost_nodes, release
from platform.cluster.threads import in_thread
from platform.config.identity import flatten, identity, replaced
from platform.config.recorded import config_of
from platform.config.sections import Config
from platform.data.urls import join
from platform.experiment.folder import ExperimentFolder
from platform.experiment.member_folder import FAILED, MemberFolder
from platform.files import replacing, write_atomically
from platform.lanes.group import fit_lane
from platform.lanes.lane import Lane, LaneMember
from platform.lanes.mailbox import Sender, take_secrets
from platform.lanes.shared_index import SharedIndex
from platform.lanes.worker import run_lane
from platform.sweep.trial_store import OVER, lane_of
from platform.text import first_line
from platform.training import learning_curve
from platform.training.checkpoints import SUFFIX, Saved
from platform.training.learning_curve import EvaluationPoint
from platform.tune.shared_trial import end_before, train_beside_others

NAME, SETTINGS, STATE, SEED = OWN_KEYS = "name", "settings", "state", "seed"  # of Tune's config; PBT changes others
POLL_EVERY_S = 0.1
CHANGES = "changes.jsonl"
SETTINGS_FILE = "settings.json"  # of a trial of PBT, as they are now
ORIGIN = "from.json"  # in the checkpoints that Tune hands from trial to trial: whose it is


@dataclass(frozen=True)
class Shared:
    """What is the same for all trials."""

    folder: Path  # of the sweep
    mailbox: Any  # Ray's handle of a Mailbox
    gpus: int  # of each worker
    copies: str | None  # folder or URL for copies of checkpoints
    scheduler: str  # sweep.scheduler
    launch: str  # of this launch of the sweep
    index: SharedIndex | None = None  # of the images
    places: Any = None  # Ray's handle of the Places at workers that trials share; None: each has its own


def run_trial(config: dict[str, Any], shared: Shared) -> None:
    """Tune's trainable. The trial's name is Tune's: what it trains may have become another trial's, by PBT."""
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "60"  # for an ended trial to let go of its data, then the next
    name = tune.get_context().get_trial_name()
    assert name
    folder = ExperimentFolder(shared.folder).member(name)
    folder.path.mkdir(parents=True, exist_ok=True)
    take_secrets(shared.mailbox)  # before a config is made anew
    settings = _settings(config)
    reporter = ScoreReporter(folder, shared)
    if shared.places:
        end_before(name, shared)
    if config[STATE] in OVER:  # by an earlier launch
        reporter.report_again(until=None)
        return
    copy_to = join(shared.copies, name) if shared.copies else None
    if shared.scheduler == "pbt":
        settings = _take_over(folder, name, settings, Sender(shared.mailbox, name))
        copy_to = None  # of checkpoints that another trial's may take the place of
    elif config[SEED] == 0:
        reporter.report_again(until=_reached(folder))
    member = LaneMember(name, settings, folder.path, copy_to)
    scheduled = shared.scheduler != "none" and config[SEED] == 0  # a point's other seeds are trained to the end
    try:
        if shared.places:
            train_beside_others(member, reporter if scheduled else None, shared)
        elif settings.cluster.max_workers == 1:
            _train_here(member, reporter if scheduled else None, shared)
        else:
            _train_on_workers(member, reporter if scheduled else None, shared)
    except SystemExit:  # Tune's way to end a trial
        Sender(shared.mailbox, name).send("ended", text=f"left by {shared.scheduler}")
        raise
    except Exception as error:
        Sender(shared.mailbox, name).send("warning", text=f"{type(error).__name__}: {first_line(error)}")
        raise
    if folder.state().state != FAILED and shared.scheduler != "pbt":  # which would have it go on from another's state
        reporter.report_end()


def _settings(config: dict[str, Any]) -> Config:
    settings: Config = config[SETTINGS]
    for key, value in config.items():
        if key not in OWN_KEYS:
            settings = replaced(settings, key, value)
    return settings


def _train_here(member: LaneMember, reporter: "ScoreReporter | None", shared: Shared) -> None:
    node = ray.get_runtime_context().get_node_id()
    on_evaluation = (lambda _, evaluation: reporter.report(evaluation)) if reporter else None
    lane = Lane(lane_of(member.name), [member], shared.mailbox, on_evaluation, index=shared.index)
    shared.mailbox.holds.remote(lane.number)
    device = torch.device("cuda", 0) if shared.gpus else torch.device("cpu")
    run_lane(lane, 0, 1, device, preempted=lambda: bool(lost_nodes([node])))


def _train_on_workers(member: LaneMember, reporter: "ScoreReporter | None", shared: Shared) -> None:
    """Hand scores from rank 0 to Tune, and Tune's answers back. Where Tune ends the trial, it ends this process; the
    worker group belongs to this process and ends with it."""
    mailbox: Any = shared.mailbox
    release(ray.get(mailbox.take_groups.remote([lane_of(member.name)])))  # of a process of this trial that was ended
    on_evaluation = AskScheduler(mailbox) if reporter else None
    lane = Lane(lane_of(member.name), [member], shared.mailbox, on_evaluation, index=shared.index)
    run = f"{time.strftime('%Y%m%d-%H%M%S')}-{member.name}"
    group = in_thread(lambda: fit_lane(lane, shared.gpus, shared.folder / "ray", run))
    while not group.done():
        evaluation: Any = ray.get(mailbox.unanswered_scores.remote(member.name))
        if reporter and evaluation:
            reporter.report(evaluation)
            ray.get(mailbox.continue_trial.remote(member.name))
        time.sleep(POLL_EVERY_S)
    group.result()


@dataclass(frozen=True)
class AskScheduler:
    """Called on rank 0 after an evaluation, in another process than Tune's: waits until the trial may go on."""

    mailbox: Any

    def __call__(self, member: str, evaluation: EvaluationPoint) -> None:
        ray.get(self.mailbox.ask_scheduler.remote(member, evaluation))
        while ray.get(self.mailbox.unanswered_scores.remote(member)):
            time.sleep(POLL_EVERY_S)


class ScoreReporter:
    """Reports a trial's scores to Tune, each once a launch.

    Args:
        folder: the trial's.
        shared: the scheduler, and this launch.
    """

    def __init__(self, folder: MemberFolder, shared: Shared) -> None:
        self._folder, self._pbt, self._launch = folder, shared.scheduler == "pbt", shared.launch
        self._told = folder.path / "told.json"

    def report(self, evaluation: EvaluationPoint) -> None:
        """Report the scores of an evaluation.

        Raises:
            SystemExit: Tune's scheduler ends the trial.
        """
        if not self._pbt and evaluation.step <= self._told_step():  # the trial was started again; PBT takes trials back
            return
        write_atomically(self._told, json.dumps([self._launch, evaluation.step]) + "\n")
        with tempfile.TemporaryDirectory(prefix="trial-") as scratch:
            checkpoint = self._checkpoint(Path(scratch), evaluation) if self._pbt else None
            tune.report(_result(evaluation), checkpoint=checkpoint)

    def report_again(self, until: int | None) -> None:
        """Report what earlier launches did, up to step `until`: the scheduler of this launch has not seen it.

        Raises:
            SystemExit: Tune's scheduler ends the trial.
        """
        for evaluation in learning_curve.read(self._folder.path):
            if not evaluation.last and (until is None or evaluation.step <= until):
                self.report(evaluation)

    def report_end(self) -> None:
        """Report the last scores, when everything is done: nothing that Tune decides matters any more."""
        tune.report(_result(learning_curve.read(self._folder.path)[-1]))

    def _told_step(self) -> int:
        """What this launch's scheduler was told before the trial was started again."""
        try:
            launch, step = json.loads(self._told.read_text())
        except (FileNotFoundError, ValueError):
            return -1
        return step if launch == self._launch else -1

    def _checkpoint(self, scratch: Path, evaluation: EvaluationPoint) -> Any:
        """The state behind the scores, for this trial or one that takes it over."""
        newest = _newest(self._folder)
        if newest is None or newest[0] != evaluation.step:
            return None
        shutil.copy(newest[1], scratch)
        origin = {"trial": self._folder.path.name, "epoch": evaluation.epoch, "file": newest[1].name}
        (scratch / ORIGIN).write_text(json.dumps(origin))  # Tune may put several checkpoints into one folder
        return tune.Checkpoint.from_directory(scratch)


def _result(evaluation: EvaluationPoint) -> dict[str, float]:
    return {"epoch": evaluation.epoch, "top1": evaluation.top1, "images_per_s": evaluation.images_per_s}


def _newest(folder: MemberFolder) -> tuple[int, Path] | None:
    found = [(saved.step, path) for path in folder.checkpoints.glob(f"*{SUFFIX}") if (saved := Saved.of(path.name))]
    return max(found, default=None)


def _reached(folder: MemberFolder) -> int:
    newest = _newest(folder)
    return newest[0] if newest else -1


def _take_over(folder: MemberFolder, name: str, settings: Config, sender: Sender) -> Config:
    """Go on from what PBT hands over: another trial's weights, optimiser and place in the data, and its settings with
    the changed values. The trial's own checkpoints make room. A new launch goes on with the settings that the trial
    had.
    """
    kept = folder.path / SETTINGS_FILE
    handed = tune.get_checkpoint()
    if not handed and kept.exists():
        return config_of(json.loads(kept.read_text()))
    if handed:
        with handed.as_directory() as place:
            origin = json.loads((Path(place) / ORIGIN).read_text())
            if origin["trial"] != name:
                changed = _note_changes(folder, origin, settings)
                _replace_checkpoints(folder, Path(place) / origin["file"])
                told = ", ".join(f"{key}={value}" for key, value in changed.items())
                sender.send("state", text=f"goes on from {origin['trial']} of epoch {origin['epoch']:g}, {told}")
    write_atomically(kept, json.dumps(asdict(settings)) + "\n")
    return settings


def _replace_checkpoints(folder: MemberFolder, state: Path) -> None:
    """The new one is there before the old ones go."""
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    before = [path for path in folder.checkpoints.glob(f"*{SUFFIX}") if path.name != state.name]
    with replacing(folder.checkpoints / state.name) as unfinished:
        shutil.copy(state, unfinished)
    for path in before:
        path.unlink()


def _note_changes(folder: MemberFolder, origin: dict[str, Any], settings: Config) -> dict[str, Any]:
    """A line in `changes.jsonl`: whose state it goes on from, of when, and what its settings are that were others,
    which it returns."""
    before = flatten(identity(json.loads((folder.path / SETTINGS_FILE).read_text())))
    now = flatten(identity(json.loads(json.dumps(asdict(settings)))))
    changed = {key: value for key, value in now.items() if before.get(key) != value}
    with (folder.path / CHANGES).open("a") as file:
        file.write(json.dumps(origin | {"changed": changed}) + "\n")
    return changed


def changes_of(folder: MemberFolder) -> list[list[Any]]:
    """[epoch, key, value] of what PBT changed."""
    try:
        lines = [json.loads(line) for line in (folder.path / CHANGES).read_text().splitlines()]
    except FileNotFoundError:
        return []
    return [[line["epoch"], key, value] for line in lines for key, value in line["changed"].items()]
