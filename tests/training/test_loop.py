"""Whole short runs on the digits: what a run leaves depends on neither interruptions, threads nor workers."""

import copy
import multiprocessing
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from platform.config.checks import ConfigError
from platform.config.data import AlsoConfig, DataConfig
from platform.config.distill import DistillConfig
from platform.config.evaluation import EvaluationConfig
from platform.config.loss import LossConfig
from platform.config.models import GoogLeNetConfig
from platform.config.optim import ScheduleConfig, SGDConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import CheckpointConfig, TrainingConfig
from platform.config.transforms import TransformsConfig
from platform.data import samplelog
from platform.data.cache import ShardError
from platform.data.index import Index, Split, read_index
from platform.data.order import total_steps
from platform.data.pixels import Pixels
from platform.data.sets import read_sets, training_split
from platform.data.training_order import training_order
from platform.models.build import build
from platform.training import batch_norm
from platform.training.checkpoints import Checkpoints, State
from platform.training.feed import training_loader
from platform.training.kept_networks import read_networks
from platform.training.loop import train
from platform.training.meter import NonFiniteLoss
from platform.training.progress import Progress
from platform.training.worker import Worker
from tests.data.handmade import write_index, write_tar
from tests.data.test_loader import members
from tests.training.teachers import random_targets

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 12
KINDS = ("jpg", "cls")


@pytest.fixture(scope="module")
def index(digits: Index) -> Index:
    """All of the digits to train on; 59 of the others to evaluate on."""
    return replace(
        digits, splits={"train": digits.split("train"), "val": Split("val", digits.split("val").shards[-1:])}
    )


def config(
    data: DataConfig, *, lr: float = 0.01, batch_norm: bool = False, dropout: bool = True, **training: Any
) -> Config:
    """A run of 12 small steps with everything random switched on, unless `dropout` says otherwise."""
    checkpoint = CheckpointConfig(**({"every_s": training.pop("every_s")} if "every_s" in training else {}))
    settings: dict[str, Any] = {"epochs": 0.065, "batch_size": 8, "precision": "float32", "log_every_steps": 1}
    return Config(
        data=data,
        sampling=SamplingConfig(photometric=True, interpolation="random"),
        model=GoogLeNetConfig(
            width=0.1,
            batch_norm=batch_norm,
            dropout=0.4 if dropout else 0.0,
            auxiliary_weight=0.3 if dropout else 0.0,  # the heads' own dropout is always there
        ),
        optim=SGDConfig(lr=lr),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=0.017),
        training=TrainingConfig(**settings | training),
        checkpoint=checkpoint,
        evaluation=EvaluationConfig(views=[1], every_epochs=0),
    )


class Recorder:
    """Keeps what a run reports, and interrupts it once if asked."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.reports: list[tuple[int, dict[str, float]]] = []
        self._interrupt_at = interrupt_at

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        self.reports.append((step, metrics))
        if step == self._interrupt_at:
            raise KeyboardInterrupt

    def curve(self, name: str) -> list[float]:
        return [metrics[name] for _, metrics in self.reports if name in metrics]


def nothing(step: int, metrics: dict[str, float]) -> None:
    """A report to nobody."""


def saved_state(folder: Path) -> State | None:
    return Checkpoints(folder / "checkpoints", CheckpointConfig()).load()


def assert_same(a: nn.Module, b: nn.Module) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch_norm", "averaging", "interrupt_at"),
    [(False, "polyak", 5), (False, "polyak", 9), (True, "ema", 5)],
    ids=["before the average", "within the average", "batch norm, ema"],
)
def test_a_resumed_run_ends_bitwise_as_an_uninterrupted_one(
    index: Index, digits_data: DataConfig, tmp_path: Path, batch_norm: bool, averaging: str, interrupt_at: int
) -> None:
    whole = config(digits_data, batch_norm=batch_norm, averaging=averaging, every_s=1000)
    often = config(digits_data, batch_norm=batch_norm, averaging=averaging, every_s=1e-9)
    uninterrupted = Recorder()
    expected = train(whole, index, Worker(), tmp_path / "whole", uninterrupted)
    with pytest.raises(KeyboardInterrupt):
        train(often, index, Worker(), tmp_path / "cut", Recorder(interrupt_at))
    saved = saved_state(tmp_path / "cut")
    assert saved is not None
    reached = saved["step"]
    assert 0 < reached < interrupt_at
    resumed = Recorder()
    assert_same(train(often, index, Worker(), tmp_path / "cut", resumed), expected)
    assert resumed.reports[0][0] == reached + 1
    assert resumed.curve("train/loss") == uninterrupted.curve("train/loss")[reached:]
    assert resumed.curve("val/loss") == uninterrupted.curve("val/loss")


def test_a_loss_smoothed_over_the_prior_is_that_of_the_training_images_shares(
    index: Index, digits_data: DataConfig, tmp_path: Path
) -> None:
    """Bit for bit the training that is given their shares, and no training with other shares."""
    train_split = index.split("train")
    labels = [train_split.read(sample).label for sample in range(train_split.samples)]
    shares = [labels.count(label) / len(labels) for label in range(10)]
    assert len(set(shares)) > 1
    cfg, found = config(digits_data, epochs=0.011), {}
    for name, loss in {
        "prior": LossConfig(smoothing=0.3, smoothing_over="prior"),
        "given": LossConfig(smoothing=0.3, smoothing_over="given", distribution=shares),
        "uniform": LossConfig(smoothing=0.3),
    }.items():
        recorder = Recorder()
        train(replace(cfg, loss=loss), index, Worker(), tmp_path / name, recorder)
        found[name] = recorder.curve("train/loss")
    assert found["prior"] == found["given"] != found["uniform"]


def ids_of_a_cut_run(cfg: Config, index: Index, folder: Path) -> dict[int, list[int]]:
    """The ids of every step of a run that is cut at its eighth; it ends as an uninterrupted one, with their samples."""
    cfg = replace(cfg, loader=replace(cfg.loader, log_samples=True))
    whole, cut = folder / "whole", folder / "cut"
    expected = train(cfg, index, Worker(), whole, nothing)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, index, Worker(), cut, Recorder(8))
    assert_same(train(cfg, index, Worker(), cut, nothing), expected)
    order = training_order(cfg, training_split(index, cfg.data))
    ids = {step: sorted(order.batch(step).tolist()) for step in range(STEPS)}
    assert samplelog.read(cut) == samplelog.read(whole) == ids
    return ids


@pytest.mark.slow
def test_a_run_whose_images_grow_and_is_cut_after_it_ends_as_an_uninterrupted_one(
    index: Index, digits_data: DataConfig, tmp_path: Path
) -> None:
    """Batch norm's statistics of the averaged weights among it, which are those of images as in testing."""
    cfg = config(digits_data, batch_norm=True, sizes=[[0, 40], [0.5, 48]], averaging_start=0.25, every_s=1e-9)
    ids_of_a_cut_run(cfg, index, tmp_path)


@pytest.mark.slow
def test_a_blend_that_is_cut_ends_as_an_uninterrupted_one(
    digits: Index, digits_data: DataConfig, tmp_path: Path
) -> None:
    """Batch norm's statistics of the averaged weights among it, which are of images of all sets."""
    data = replace(digits_data, also={"more": AlsoConfig(digits_data.shards, 0.3)})
    index = read_sets(data)
    index = replace(index, splits=index.splits | {"val": Split("val", digits.split("val").shards[-1:])})
    cfg = config(data, batch_norm=True, averaging_start=0.25, epochs=0.0325, every_s=1e-9)
    ids = ids_of_a_cut_run(cfg, index, tmp_path)
    of_more = sum(sample >= 1438 for step in ids.values() for sample in step)
    assert of_more == round(0.3 * STEPS * 8)


@pytest.mark.slow
def test_a_finished_run_started_again_trains_no_further(index: Index, digits_data: DataConfig, tmp_path: Path) -> None:
    cfg = config(digits_data)
    first, again = train(cfg, index, Worker(), tmp_path, nothing), Recorder()
    assert_same(train(cfg, index, Worker(), tmp_path, again), first)
    assert again.reports == []


@pytest.mark.slow
def test_an_evaluation_that_was_cut_short_comes_after_the_restart(
    index: Index, digits_data: DataConfig, tmp_path: Path
) -> None:
    cfg = config(digits_data)

    def killed(step: int, metrics: dict[str, float]) -> None:
        if "val/top1" in metrics:
            raise KeyboardInterrupt

    cfg = replace(cfg, checkpoint=replace(cfg.checkpoint, every_steps=STEPS))  # saved before it is evaluated
    with pytest.raises(KeyboardInterrupt):
        train(cfg, index, Worker(), tmp_path, killed)
    again, undisturbed = Recorder(), Recorder()
    train(cfg, index, Worker(), tmp_path, again)
    train(cfg, index, Worker(), tmp_path / "other", undisturbed)
    assert again.curve("val/top1") == undisturbed.curve("val/top1")
    assert again.curve("val/loss") == undisturbed.curve("val/loss")
    assert len(again.curve("val/top1")) == 1
    assert again.curve("train/loss") == []
    train(cfg, index, Worker(), tmp_path, after := Recorder())
    assert after.reports == []


@pytest.mark.slow
def test_on_evaluation_may_end_the_training_once_it_is_saved(
    index: Index, digits_data: DataConfig, tmp_path: Path
) -> None:
    cfg = config(digits_data, epochs=2.0, batch_size=400)  # 3 steps an epoch
    cfg = replace(cfg, evaluation=replace(cfg.evaluation, every_epochs=1))
    cfg = replace(cfg, checkpoint=replace(cfg.checkpoint, with_evaluations=True))

    progress = Progress()

    def end() -> None:
        assert progress.stalled_s() == progress.stalled_s() == 0.0  # it takes as long as it takes
        raise SystemExit

    recorder = Recorder()
    with pytest.raises(SystemExit):
        train(cfg, index, Worker(), tmp_path, recorder, progress, on_evaluation=end)
    assert progress.stalled_s() > 0.0
    state = saved_state(tmp_path)
    assert state
    assert state["step"] == recorder.reports[-1][0] == 3
    asked: list[int] = []
    train(cfg, index, Worker(), tmp_path, nothing, on_evaluation=lambda: asked.append(1))
    assert asked == []  # the last evaluation is nobody's business


@pytest.mark.slow
def test_settings_of_the_optimiser_are_the_configs_after_a_restart(
    index: Index, digits_data: DataConfig, tmp_path: Path
) -> None:
    cfg = config(digits_data, every_s=1e-9)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, index, Worker(), tmp_path, Recorder(5))
    changed = replace(cfg, optim=replace(cfg.optim, momentum=0.5, weight_decay=0.01))
    train(changed, index, Worker(), tmp_path, nothing)
    state = saved_state(tmp_path)
    assert state
    (group, *_) = state["optimizer"]["param_groups"]
    assert (group["momentum"], group["weight_decay"]) == (0.5, 0.01)


@pytest.mark.slow
def test_the_number_of_decoding_threads_changes_nothing(index: Index, digits_data: DataConfig, tmp_path: Path) -> None:
    cfg = config(digits_data)
    one, three = (train(cfg, index, Worker(threads=threads), tmp_path / str(threads), nothing) for threads in (1, 3))
    assert_same(one, three)


@pytest.mark.slow
def test_seed_and_order_seed_both_change_the_run(index: Index, digits_data: DataConfig, tmp_path: Path) -> None:
    ends = []
    for number, changes in enumerate([{}, {"seed": 1}, {"order_seed": 1}]):
        cfg = replace(config(digits_data, epochs=0.01), **changes)
        recorder = Recorder()
        train(cfg, index, Worker(), tmp_path / str(number), recorder)
        ends.append(recorder.curve("train/loss")[-1])
    assert len(set(ends)) == 3


@pytest.mark.slow
def test_reports_carry_the_schedule_and_the_place_in_the_run(
    index: Index, digits_data: DataConfig, tmp_path: Path
) -> None:
    cfg, recorder = config(digits_data, log_every_steps=5, lr=0.02), Recorder()
    train(cfg, index, Worker(), tmp_path, recorder)
    trained = [(step, metrics) for step, metrics in recorder.reports if "train/loss" in metrics]
    assert [step for step, _ in trained] == [1, 5, 10, STEPS]
    assert [metrics["progress"] for _, metrics in trained] == [step / STEPS for step in (1, 5, 10, STEPS)]
    assert trained[0][1]["train/lr"] == pytest.approx(0.02 / 3)  # the first of three steps of warm-up
    per_epoch = training_order(cfg, index.split("train")).steps_per_epoch
    assert trained[1][1]["train/epoch"] == pytest.approx(5 / per_epoch)
    assert all(metrics["data/corrupt_samples"] == 0 for _, metrics in trained)
    assert [(step, set(metrics)) for step, metrics in recorder.reports if "val/loss" in metrics] == [
        (STEPS, {"val/top1", "val/top5", "val/loss", "val/seconds"})
    ]


@pytest.mark.slow
def test_a_learning_rate_that_follows_the_batch_size_is_trained_with(
    index: Index, digits_data: DataConfig, tmp_path: Path
) -> None:
    plain = config(digits_data, lr=0.04, epochs=0.03)
    scaled = replace(plain, optim=SGDConfig(lr=0.02, scaling="linear", reference_batch=plain.training.batch_size // 2))
    ends, recorder = [], Recorder()
    for name, cfg in (("plain", plain), ("scaled", scaled)):
        ends.append(train(cfg, index, Worker(), tmp_path / name, recorder))
    assert_same(*ends)
    rates = recorder.curve("train/lr")
    assert rates[: len(rates) // 2] == rates[len(rates) // 2 :]


@pytest.mark.slow
def test_reported_losses_are_means_since_the_last_report(index: Index, digits_data: DataConfig, tmp_path: Path) -> None:
    each, some = Recorder(), Recorder()
    train(config(digits_data), index, Worker(), tmp_path / "each", each)
    train(config(digits_data, log_every_steps=5), index, Worker(), tmp_path / "some", some)
    for name in ("train/loss", "train/main_loss", "train/top1", "train/gradient_norm"):
        all_steps = each.curve(name)
        expected = [sum(all_steps[a:b]) / (b - a) for a, b in ((0, 1), (1, 5), (5, 10), (10, 12))]
        assert some.curve(name) == pytest.approx(expected, rel=1e-5), name


@pytest.mark.slow
def test_the_loss_goes_down(index: Index, digits_data: DataConfig, tmp_path: Path) -> None:
    gentle = SamplingConfig(area=[0.9, 1.0], mirror=False)
    model = GoogLeNetConfig(width=0.1, batch_norm=True, dropout=0.0)
    cfg = config(digits_data, lr=0.05, epochs=0.66, batch_size=16, averaging="none")
    recorder = Recorder()
    train(replace(cfg, sampling=gentle, model=model), index, Worker(), tmp_path, recorder)
    losses = recorder.curve("train/main_loss")
    assert sum(losses[-10:]) / 10 < 0.85 * sum(losses[:5]) / 5
    assert recorder.curve("val/top1")[-1] > 0.25


@pytest.mark.slow
@pytest.mark.parametrize(("every_s", "log_every_steps"), [(1000.0, 1), (1e-9, 1000)])
def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(
    index: Index, digits_data: DataConfig, tmp_path: Path, every_s: float, log_every_steps: int
) -> None:
    cfg = config(digits_data, lr=1e20, every_s=every_s, log_every_steps=log_every_steps, averaging="none")
    with pytest.raises(
        NonFiniteLoss, match=r"at step [1-3] \(rank 0 on .*, samples \d.*\); lower optim\.lr \(now 1e\+20\)"
    ):
        train(cfg, index, Worker(), tmp_path, nothing)
    saved = saved_state(tmp_path)
    assert (saved is not None) == (every_s < 1)
    if saved is not None:
        assert all(value.isfinite().all() for part in ("model", "average") for value in saved[part].values())


def test_an_epoch_without_a_whole_batch_is_refused(index: Index, digits_data: DataConfig, tmp_path: Path) -> None:
    cfg = config(digits_data, batch_size=2048)
    with pytest.raises(ConfigError, match=r"1438 samples.*training\.batch_size.*2048.*lower"):
        train(cfg, index, Worker(), tmp_path, nothing)


def test_steps_are_the_epochs_rounded_up(index: Index, digits_data: DataConfig) -> None:
    order = training_order(config(digits_data), index.split("train"))
    assert order.steps_per_epoch == 1438 // 8
    steps = [total_steps(epochs, order.steps_per_epoch) for epochs in (1e-6, 0.065, 1.0, 2.5)]
    assert steps == [1, STEPS, 179, 448]


def _folder_of(shard: dict[str, bytes], folder: Path) -> Index:
    folder.mkdir()
    write_tar(folder / "train-000000.tar", shard)
    index = read_index(write_index(folder, {"train-000000.tar": len(shard) // 2}))
    return replace(index, splits=index.splits | {"val": Split("val", index.split("train").shards)})


@pytest.mark.slow
def test_a_corrupt_image_is_trained_on_as_if_the_next_one_were_in_its_place(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    """Losses, shares of right answers, weights and batch norm's statistics, bit by bit."""
    torn = {3: b"junk", 21: small_jpegs[0][: len(small_jpegs[0]) // 2]}
    broken = members(small_jpegs, 24, torn)
    whole = broken | {f"{place:03d}.{kind}": broken[f"{place + 1:03d}.{kind}"] for place in torn for kind in KINDS}
    cfg = config(DataConfig(classes=3), batch_norm=True, epochs=2)
    ends = []
    for name, shard in (("broken", broken), ("whole", whole)):
        recorder, index = Recorder(), _folder_of(shard, tmp_path / f"{name} shards")
        ends.append((train(cfg, index, Worker(), tmp_path / name, recorder), recorder))
    (model, recorder), (expected, expected_recorder) = ends
    for curve in ("train/loss", "train/main_loss", "train/top1"):
        assert recorder.curve(curve) == expected_recorder.curve(curve), curve
    assert max(recorder.curve("data/corrupt_samples")) == 2
    assert max(expected_recorder.curve("data/corrupt_samples")) == 0
    assert_same(model, expected)


def test_a_split_whose_images_are_all_corrupt_has_no_scores(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    index = _folder_of(members(small_jpegs, 24), tmp_path / "shards")
    junk = _folder_of(members(small_jpegs, 24, dict.fromkeys(range(24), b"junk")), tmp_path / "junk")
    index = replace(index, splits=index.splits | {"val": Split("val", junk.split("train").shards)})
    with pytest.raises(ShardError, match=r"none of the 24 images of val can be decoded; mend the shards"):
        train(config(DataConfig(classes=3), epochs=0.1), index, Worker(), tmp_path / "run", nothing)


RUNS = {"plain": False, "batch norm": True}
ALSO = ["ema", "none"]  # averages that are kept as well
RUNS_EPOCHS, RUNS_STEPS = 0.06, 6
RUNS_SIZES = [[0, 40], [0.5, 32], [0.8, 48]]  # of the images, from steps 0, 3 and 5 on
HANDED_AT = 3  # the step at which one worker leaves a run to several


def _run_of_replicas(data: DataConfig, *, batch_norm: bool = False, **training: Any) -> Config:
    """Two samples of each of eight streams, four at a time: three
    workers have shares of 6, 6 and 4 in two, two and one parts, which cut pairs of mixed images apart. A teacher is
    heard as well."""
    training |= {"epochs": RUNS_EPOCHS, "batch_size": 16, "max_batch_per_worker": 4}
    training |= {"also_average": ALSO, "sizes": RUNS_SIZES}
    cfg = config(data, batch_norm=batch_norm, **training)
    mixing = TransformsConfig(mixup_alpha=0.4, cutmix_alpha=1.0, mixing_per="sample")
    loader, teacher = replace(cfg.loader, log_samples=True), DistillConfig(teacher="t")
    return replace(cfg, loader=loader, transforms=mixing, job="distill", distill=teacher)


def _replica(rank: int, world: int, data: DataConfig, val: Split, folder: str) -> None:
    """One of `world` workers; trains both of RUNS, ends the one it is handed, and leaves its networks."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    digits = read_index(data.shards)
    index = replace(digits, splits=digits.splits | {"val": val})
    for run, normalised in (RUNS | {"handed": False}).items():
        recorder = Recorder()
        cfg = _run_of_replicas(data, batch_norm=normalised)
        model = train(cfg, index, Worker(rank, world), Path(folder) / run, recorder, teacher=Path(folder))
        curves = {name: recorder.curve(name) for name in ("train/loss", "train/top1", "val/loss")}
        torch.save({"weights": model.state_dict(), **curves}, Path(folder) / f"{run}-{rank}.pt")
    dist.destroy_process_group()


@dataclass(frozen=True)
class Replicas:
    """What the workers of each run left."""

    world: int
    folder: Path
    left: dict[str, list[Any]]  # of each rank


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.long)])
def replicas(
    request: pytest.FixtureRequest, index: Index, digits_data: DataConfig, tmp_path_factory: pytest.TempPathFactory
) -> Replicas:
    world, folder = request.param, tmp_path_factory.mktemp("replicas")
    often = _run_of_replicas(digits_data, every_s=1e-9)
    random_targets(folder, index.split("train").samples, 10)
    with pytest.raises(KeyboardInterrupt):  # this process is the one worker that hands its run on
        train(often, index, Worker(), folder / "handed", Recorder(HANDED_AT + 1), teacher=folder)
    assert os.environ["PYTHONPATH"]  # the children find our `platform` by it
    multiprocessing.set_forkserver_preload([__name__])  # torch is imported once for all
    arguments = (world, digits_data, index.split("val"), str(folder))
    start_processes(_replica, arguments, nprocs=world, start_method="forkserver")
    runs = [*RUNS, "handed"]
    left = {run: [torch.load(folder / f"{run}-{rank}.pt") for rank in range(world)] for run in runs}
    return Replicas(world, folder, left)


@dataclass(frozen=True)
class Alone:
    """What one worker leaves of the plain run."""

    folder: Path
    weights: dict[str, Tensor]
    recorder: Recorder


@pytest.fixture(scope="module")
def alone(index: Index, digits_data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    folder, recorder = tmp_path_factory.mktemp("alone"), Recorder()
    random_targets(folder, index.split("train").samples, 10)
    network = train(_run_of_replicas(digits_data), index, Worker(), folder, recorder, teacher=folder)
    return Alone(folder, network.state_dict(), recorder)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["plain", "handed"])
def test_any_number_of_workers_ends_where_one_does(alone: Alone, replicas: Replicas, run: str) -> None:
    """Batch norm aside, whose batches are each worker's own. A run handed on by one worker to several is no other."""
    left = replicas.left[run][0]
    for name, value in alone.weights.items():
        torch.testing.assert_close(left["weights"][name], value, rtol=1e-4, atol=1e-6, msg=name)
    steps = len(left["train/loss"])
    assert 0 < steps < RUNS_STEPS if run == "handed" else steps == RUNS_STEPS
    for name in ("train/loss", "train/top1"):
        assert left[name] == pytest.approx(alone.recorder.curve(name)[-steps:], rel=1e-4), name
    assert left["val/loss"] == pytest.approx(alone.recorder.curve("val/loss"), rel=1e-4)


@pytest.mark.parametrize("run", ["plain", "handed"])
def test_any_number_of_workers_keeps_the_same_further_networks(alone: Alone, replicas: Replicas, run: str) -> None:
    expected, found = (read_networks(folder / "networks") for folder in (alone.folder, replicas.folder / run))
    assert list(expected) == list(found) == ["ema", "last"]
    for name, weights in expected.items():
        for key, value in weights.items():
            torch.testing.assert_close(found[name][key], value, rtol=1e-4, atol=1e-6, msg=f"{name} {key}")
    assert not torch.equal(found["ema"]["classifier.weight"], found["last"]["classifier.weight"])


@pytest.mark.parametrize("run", ["plain", "handed"])
def test_any_number_of_workers_sees_the_same_samples_in_every_step(alone: Alone, replicas: Replicas, run: str) -> None:
    expected = samplelog.read(alone.folder)
    assert list(expected) == list(range(RUNS_STEPS))
    assert samplelog.read(replicas.folder / run) == expected


@pytest.mark.parametrize("run", sorted(RUNS))
def test_every_rank_ends_with_the_same_network(replicas: Replicas, run: str) -> None:
    first, *others = (left["weights"] for left in replicas.left[run])
    for name, value in first.items():
        assert all(torch.equal(other[name], value) for other in others), name


@pytest.mark.slow
def test_statistics_of_the_averaged_network_are_the_same_at_any_number_of_workers(
    replicas: Replicas, index: Index, digits_data: DataConfig
) -> None:
    """As one worker takes them for the same weights."""
    cfg, split = _run_of_replicas(digits_data, batch_norm=True), index.split("train")
    order, worker = training_order(cfg, split), Worker()
    network = build(cfg.model, cfg.data.classes, cfg.data.image_size, cfg.seed)
    network.load_state_dict(replicas.left["batch norm"][0]["weights"])
    before = copy.deepcopy(network.eval().state_dict())
    with training_loader(cfg, split, order, worker) as loader:
        pixels = Pixels(cfg.data, worker.device)
        images = batch_norm.newest_images(loader, order, RUNS_STEPS, worker, pixels, cfg.sampling, cfg.transforms)
        batch_norm.recompute(network, images, order.streams, worker, torch.float32)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=1e-5, atol=1e-6, msg=name)


def test_only_rank_0_reports(replicas: Replicas) -> None:
    first, *others = (left["train/loss"] for left in replicas.left["plain"])
    assert len(first) == RUNS_STEPS
    assert others == [[]] * (replicas.world - 1)
