"""A member on one worker of its lane, from wherever it stands to its evaluated end.

In: a config, a folder, the data set. Out: weights and probabilities in the folder, messages to the launcher.
"""

import contextlib
import copy
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from platform.config.sections import Config
from platform.data.index import Index, Split
from platform.data.order import evaluation_share, steps_per_epoch, total_steps
from platform.data.pixels import Pixels
from platform.data.sets import training_split
from platform.evaluation import probabilities
from platform.evaluation.cost import Cost, write_cost
from platform.evaluation.predict import PredictConfig, Predictions, predict
from platform.evaluation.stored import Stored
from platform.evaluation.whole_images import predict_whole
from platform.experiment.fused_plan import shape_of
from platform.experiment.member_folder import FAILED, FINISHED, MemberFolder
from platform.lanes import member_state
from platform.lanes.heartbeat import Heartbeat
from platform.lanes.lane import Lane, LaneMember
from platform.lanes.mailbox import Sender
from platform.lanes.reasons import lost_a_peer
from platform.lanes.system_metrics import device_name
from platform.lanes.teaching import prepare_targets
from platform.lanes.warning_forwarder import WarningForwarder
from platform.marks import mark
from platform.models.build import build
from platform.text import first_line
from platform.training.checkpoints import save_whole
from platform.training.fused.group import Group, GroupEnded, Place
from platform.training.kept_networks import read_networks
from platform.training.learning_curve import CurveWriter
from platform.training.loop import train
from platform.training.meter import NonFiniteLoss
from platform.training.peers import barrier, from_rank_0
from platform.training.progress import TESTING, Progress
from platform.training.step import autocast_dtype
from platform.training.worker import Worker

log = logging.getLogger("platform")


def run_member(
    member: LaneMember,
    index: Callable[[], Index],
    worker: Worker,
    lane: Lane,
    preempted: Callable[[], bool],
    group: Group | None = None,
) -> None:
    """Train a member unless it is trained, and evaluate it unless it is evaluated.

    An error that would come again at every start (a loss that is not finite, bad shards, a full disk) is recorded, and
    the lane goes on with its next member. Any other ends the worker group, which Ray Train starts again in fresh
    processes, until `training.max_attempts` starts in a row got no further.

    Args:
        member: which one; every worker of the lane calls this with the same.
        index: reads the data set, once a lane.
        worker: this one.
        lane: the member's.
        preempted: whether a node of the lane is about to be taken away.
        group: of members that are trained together, each in a thread of its own; None: it is trained by itself.

    Raises:
        Exception: whatever ends the worker group; the mailbox has been told.
        GroupEnded: another member of the group has raised.
        Dismissed: it was told to leave its group.
    """
    cfg, folder, sender = member.config, MemberFolder(member.folder), Sender(lane.mailbox, member.name)
    state = member_state.begin_start(member, folder, worker, sender)  # the same on every worker
    if state is None:
        return
    if state.starts > cfg.training.max_attempts:
        state.state, state.error = FAILED, member_state.given_up(member, state)
        member_state.leave(folder, state, worker, sender)
        return
    state.error, state.times = "", {"started": time.time()}
    state.device = device_name(worker.device)
    if worker.rank == 0:
        member_state.record(folder, state, sender)
    progress, curve = Progress(), CurveWriter(folder.path)
    place = Place(group, member.name, progress, str(shape_of(cfg))) if group else None
    if place:
        progress.hand_on = place.hand_on
    team = lane.team_of(member.name)

    def report(step: int, metrics: dict[str, float]) -> None:
        if "first_step" not in state.times:
            state.times["first_step"] = time.time()
            mark("first step")
        folder.metrics.keep(step, metrics)
        curve.take(step, metrics)
        sender.send("metrics", step=step, metrics=metrics)

    def on_evaluation() -> None:
        if lane.on_evaluation and curve.newest:
            with place.away() if place else contextlib.nullcontext():  # who answers may take long
                lane.on_evaluation(member.name, curve.newest)

    try:
        with WarningForwarder(sender), Heartbeat(cfg, sender, worker, progress, lane.number, preempted, team):
            data = index()
            if worker.rank == 0:
                sender.send("state", text="starting")
            model = _trained_network(cfg, folder, worker, progress)
            if model is not None:
                progress.restored(_last_step(cfg, data), lambda: "")
            else:
                hook = on_evaluation if lane.on_evaluation else None
                begin, targets = member.initial_weights_file, member.targets
                if targets:
                    prepare_targets(member, data, worker, progress, sender)
                model = train(
                    cfg, data, worker, folder.path, report, progress, member.copy_to, hook, begin, targets, place
                )
                if worker.rank == 0:
                    save_whole(folder.weights, model.state_dict())
            state.times["trained"] = time.time()
            progress.at(progress.step, TESTING)
            if place:  # whose trainings end before the long evaluations begin
                place.leave()
                place.wait_for_others()
            if worker.rank == 0:
                sender.send("state", text=f"evaluating {max(cfg.evaluation.views)} views")
            _evaluate_kept(model, cfg, folder, data, worker, progress)
            _evaluate(model, cfg, folder, data, worker, progress)
            if lane.export and worker.rank == 0:
                sender.send("state", text="exporting its model")
                _export(member, folder, data, progress)
            if worker.rank == 0 and not cfg.checkpoint.keep_finished:
                folder.remove_checkpoints()
        state.state = FINISHED
    except GroupEnded:
        member_state.excuse(folder, state, worker, sender)
        raise
    except Exception as error:
        state.error = f"{type(error).__name__}: {error}"
        if member_state.is_final(error, worker):
            state.state = FAILED
        all_know = isinstance(error, NonFiniteLoss) or (state.state == FAILED and worker.world == 1)
        if not all_know:  # the group ends, and starts again with this member or, if that is final, the next
            member_state.tell_failure(folder, state, worker, sender, of_a_peer=lost_a_peer(error))
            raise
    member_state.leave(folder, state, worker, sender)


def _trained_network(cfg: Config, folder: MemberFolder, worker: Worker, progress: Progress) -> nn.Module | None:
    """The trained network, as rank 0 finds it; None where there is none, or its file is damaged: the newest checkpoint
    is as good."""
    model = build(cfg.model, cfg.data.classes, cfg.data.image_size, cfg.seed)

    def found() -> dict[str, Tensor] | None:
        if not folder.is_trained():
            return None
        try:
            model.load_state_dict(torch.load(folder.weights, map_location="cpu", weights_only=True))
        except Exception as error:  # whatever torch says of bytes from anywhere
            log.warning(
                "%s is unusable (%s); it is made again from the newest checkpoint", folder.weights, first_line(error)
            )
            return None
        return model.state_dict()

    weights = from_rank_0(worker, found, progress.moved)
    if weights is None:
        return None
    model.load_state_dict(weights)
    return model.to(worker.device).eval()


def _last_step(cfg: Config, index: Index) -> int:
    """The global steps of the whole training."""
    per_epoch = steps_per_epoch(training_split(index, cfg.data).samples, cfg.loader.streams, cfg.training.batch_size)
    return total_steps(cfg.training.epochs, per_epoch)


def _evaluate(
    model: nn.Module, cfg: Config, folder: MemberFolder, index: Index, worker: Worker, progress: Progress
) -> None:
    """All that is asked for of this worker's share of the images of `evaluation.split`, to disk."""
    split = index.split(cfg.evaluation.split)
    if cfg.evaluation.dense:  # first, as the crops' seal says that a member is evaluated
        _evaluate_whole(model, cfg, folder, split, worker, progress)
    _evaluate_crops(model, cfg, folder.probabilities_of(cfg.evaluation.split), split, worker, progress)


def _evaluate_kept(
    model: nn.Module, cfg: Config, folder: MemberFolder, index: Index, worker: Worker, progress: Progress
) -> None:
    """The same of the further networks of this training, as rank 0 finds them; before the member's own."""
    if not (cfg.training.also_average or cfg.training.snapshots):
        return
    network = copy.deepcopy(model)
    for name, weights in from_rank_0(worker, lambda: read_networks(folder.networks), progress.moved).items():
        network.load_state_dict(weights)
        place = folder.probabilities_of_network(name, cfg.evaluation.split)
        _evaluate_crops(network, cfg, place, index.split(cfg.evaluation.split), worker, progress)


def _evaluate_crops(
    model: nn.Module, cfg: Config, place: Path, split: Split, worker: Worker, progress: Progress
) -> None:
    """All views of this worker's share of a split, to `place`."""
    views, share = max(cfg.evaluation.views), evaluation_share(split.samples, worker.rank, worker.world)
    pixels = Pixels(cfg.data, worker.device, channels_last=cfg.training.channels_last)
    dtype = autocast_dtype(cfg.training.precision, worker.device)
    predict_cfg, threads = PredictConfig.of(cfg), worker.threads
    predicted = predict(model, split, share, views, predict_cfg, pixels, dtype, threads, progress.excused)
    stored = Stored.of(cfg.evaluation, cfg.data.classes)
    probabilities.write_part(
        place,
        worker.rank,
        share,
        views,
        cfg.data.classes,
        cfg.evaluation.stored_dtype,
        _watched(predicted, progress),
        stored,
    )
    barrier(worker, progress.moved)
    if worker.rank == 0:
        probabilities.seal(place, split.samples, views, worker.world, stored)


def _evaluate_whole(
    model: nn.Module, cfg: Config, folder: MemberFolder, split: Split, worker: Worker, progress: Progress
) -> None:
    """This worker's share of the images as a whole, to disk."""
    place = folder.whole_images_of(cfg.evaluation.split)
    share = evaluation_share(split.samples, worker.rank, worker.world)
    pixels = Pixels(cfg.data, worker.device, channels_last=cfg.training.channels_last)
    dtype, cost = autocast_dtype(cfg.training.precision, worker.device), Cost(cfg.evaluation.dense)
    predicted = predict_whole(model, split, share, cost, PredictConfig.of(cfg), pixels, dtype, worker.threads)
    scales, stored = len(cost.sides), cfg.evaluation.stored_dtype
    watched = _watched(predicted, progress)
    probabilities.write_part(place, worker.rank, share, scales, cfg.data.classes, stored, watched)
    write_cost(place, worker.rank, cost)
    barrier(worker, progress.moved)
    if worker.rank == 0:
        probabilities.seal(place, split.samples, scales, worker.world)


def _export(member: LaneMember, folder: MemberFolder, index: Index, progress: Progress) -> None:
    """Make the member's model folder, and those of the further networks of its training. Each takes seconds, and what
    fails here is tried again by the launcher."""
    from platform.export.folder import export_member  # torch.export takes two seconds to import

    try:
        for network in ("", *folder.kept_networks()):
            export_member(member.name, member.config, folder, index, network)
            progress.moved()
    except Exception as error:  # of torch, of the disk: the member is trained and evaluated, with or without a model
        log.warning("its model is not exported (%s); the weights stay", first_line(error))


def _watched(predictions: Iterator[Predictions], progress: Progress) -> Iterator[Predictions]:
    for some in predictions:
        progress.moved()
        progress.hand_on()
        yield some
