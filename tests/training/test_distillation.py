"""Learning from a teacher: its loss by hand, its rows by sample id, mixed with the images, the same after a cut."""

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.distill import DistillConfig
from platform.config.identity import identity
from platform.config.loss import LossConfig
from platform.config.sections import Config
from platform.config.transforms import TransformsConfig
from platform.data.index import Index
from platform.data.inputs import BatchInputs
from platform.data.mixing import mixes
from platform.data.pixels import Pixels
from platform.evaluation.targets import FILE, Targets, are_whole, write_targets
from platform.training.distillation import taught_losses
from platform.training.loop import train
from platform.training.loss import losses
from platform.training.worker import Worker
from tests.training.teachers import random_targets
from tests.training.test_loop import Recorder, assert_same, config, index, nothing  # noqa: F401
from tests.training.test_step import CLASSES, CPU, batch, network, step
from tests.training.test_step import config as step_config

pytestmark = pytest.mark.usefixtures("one_thread")
TEACHER = DistillConfig(teacher="runs/t", weight=0.75, temperature=3.0)


def test_the_loss_by_hand() -> None:
    """The network says 1/8, 2/8, 5/8 and the teacher 1/2, 1/4, 1/4; at T = 2 the roots of these."""
    logits = torch.tensor([[0.0, math.log(2), math.log(5)]])
    own = np.sqrt([1 / 8, 2 / 8, 5 / 8]) / np.sqrt([1 / 8, 2 / 8, 5 / 8]).sum()
    theirs = np.sqrt([1 / 2, 1 / 4, 1 / 4]) / np.sqrt([1 / 2, 1 / 4, 1 / 4]).sum()
    expected = 0.1 * -math.log(2 / 8) + 0.9 * 2**2 * float((theirs * np.log(theirs / own)).sum())
    distill = DistillConfig(teacher="t", weight=0.9, temperature=2.0)
    taught = torch.from_numpy(theirs).float()[None]
    found = taught_losses(logits, torch.tensor([1]), taught, LossConfig(), distill)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_it_ends_where_the_network_says_what_the_teacher_says() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    distill = replace(TEACHER, weight=1.0)
    taught = (logits.detach() / distill.temperature).softmax(1)
    found = taught_losses(logits, torch.zeros(4, dtype=torch.long), taught, LossConfig(), distill).sum()
    found.backward()
    assert logits.grad is not None
    assert abs(found.item()) < 1e-5
    assert logits.grad.abs().max() < 1e-5


def test_without_a_teacher_it_is_the_labels_loss_to_the_bit() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    smooth = LossConfig(smoothing=0.1)
    assert torch.equal(taught_losses(logits, labels, None, smooth, TEACHER), losses(logits, labels, smooth))


@pytest.mark.parametrize("per_worker", [256, 3])
def test_a_step_teaches_every_classifier_in_parts_of_any_size(per_worker: int) -> None:
    samples, model = batch(), network()
    samples.teacher_logs_NK = torch.randn(13, CLASSES).log_softmax(1).half()
    cfg = replace(step_config(per_worker=per_worker), distill=TEACHER, job="distill")
    images = BatchInputs(samples, Pixels(cfg.data, CPU), cfg.sampling, cfg.transforms).part(slice(0, 13)).images
    taught = (samples.teacher_logs_NK.float() / 3).softmax(1)

    def mean_of(logits: Tensor) -> Tensor:
        apart = F.kl_div((logits / 3).log_softmax(1), taught, reduction="batchmean")
        return 0.25 * F.cross_entropy(logits, samples.labels_N) + 0.75 * 9 * apart

    main, *auxiliary = map(mean_of, model(images))
    result, _ = step(cfg, samples, model)
    assert result.main_loss.item() == pytest.approx(main.item(), rel=1e-5)
    assert result.loss.item() == pytest.approx((main + 0.3 * sum(auxiliary)).item(), rel=1e-5)


def test_rows_are_mixed_in_the_shares_of_the_images() -> None:
    samples, mixing = batch(12), TransformsConfig(mixup_alpha=0.5, cutmix_alpha=1.0, mixing_per="sample")
    samples.per_stream, samples.teacher_logs_NK = 4, torch.randn(12, CLASSES).log_softmax(1).half()
    mixed, rows = mixes(samples, mixing), (samples.teacher_logs_NK.float() / 2).softmax(1)
    assert mixed is not None
    shares = torch.from_numpy(mixed.shares_N)[:, None]
    expected = rows * shares + rows[torch.from_numpy(mixed.partners_N)] * (1 - shares)
    pixels = Pixels(DataConfig(classes=CLASSES), CPU)
    for part in (slice(0, 12), slice(3, 7)):  # which cuts pairs apart
        taught = BatchInputs(samples, pixels, Config().sampling, mixing).part(part).taught(2.0)
        torch.testing.assert_close(taught, expected[part])


def test_targets_are_the_members_mean_by_sample_id(tmp_path: Path) -> None:
    of = random_targets(tmp_path, 10_001, 7)  # more than a chunk
    generator = torch.Generator().manual_seed(0)
    mean = torch.stack([(3 * torch.randn(10_001, 1, 7, generator=generator)).softmax(-1)[:, 0] for _ in "ab"]).mean(0)
    ids = torch.tensor([10_000, 0, 5000, 5000, 3333])
    torch.testing.assert_close(Targets(tmp_path).rows(ids).float().exp(), mean[ids], rtol=0.005, atol=1e-6)
    assert are_whole(tmp_path, of)
    assert not are_whole(tmp_path, replace(of, views=10))
    assert not are_whole(tmp_path, replace(of, teacher="another"))
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x00")
    assert not are_whole(tmp_path, of)
    with pytest.raises(ValueError, match="not of 9 images"):
        write_targets(tmp_path, [tmp_path / "m0"], replace(of, samples=9), lambda: None)


@pytest.mark.slow
def test_a_taught_run_that_is_cut_ends_bitwise_as_an_undisturbed_one(
    index: Index,  # noqa: F811
    digits_data: DataConfig,
    tmp_path: Path,
) -> None:
    random_targets(tmp_path, index.split("train").samples, 10)
    before = hashlib.sha256((tmp_path / FILE).read_bytes()).digest()
    cfg = replace(config(digits_data, every_s=1e-9, epochs=0.03), job="distill", distill=TEACHER)
    taught = train(cfg, index, Worker(), tmp_path / "whole", nothing, teacher=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, index, Worker(), tmp_path / "cut", Recorder(3), teacher=tmp_path)
    assert_same(train(cfg, index, Worker(), tmp_path / "cut", nothing, teacher=tmp_path), taught)
    alone = train(cfg, index, Worker(), tmp_path / "alone", nothing)
    assert any(not torch.equal(a, b) for a, b in zip(taught.parameters(), alone.parameters(), strict=True))
    assert hashlib.sha256((tmp_path / FILE).read_bytes()).digest() == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"distill": DistillConfig(teacher="t")}, "job=train has none; give job=distill"),
        ({"job": "distill"}, "give distill.teacher=runs/NAME of a finished run"),
        ({"job": "distill", "distill": TEACHER, "loss": LossConfig(name="bce")}, "loss.name is bce; give loss=cross_e"),
        (
            {"job": "distill", "distill": replace(TEACHER, weight=1.0), "loss": LossConfig(smoothing=0.1)},
            "loss.* has no effect",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config(**settings)
    assert said in str(error.value)
    with pytest.raises(ConfigError, match=r"no effect without distill\.teacher"):
        DistillConfig(weight=0.5)


def test_the_teacher_is_part_of_the_identity_and_its_absence_is_not() -> None:
    from dataclasses import asdict

    assert "distill" not in identity(asdict(Config()))
    one = identity(asdict(Config(job="distill", distill=replace(TEACHER, digest="a"))))
    assert one != identity(asdict(Config(job="distill", distill=replace(TEACHER, digest="b"))))
