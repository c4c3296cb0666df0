"""Probabilities on disk: parts of several workers read back as one, and nothing but the whole is sealed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from platform.data.order import evaluation_share
from platform.evaluation.metrics import Scores
from platform.evaluation.predict import Predictions
from platform.evaluation.probabilities import MemberProbabilities, seal, write_part
from platform.evaluation.seal import is_complete
from platform.evaluation.views import in_order

SAMPLES, VIEWS, CLASSES = 23, 10, 6


def everything() -> Predictions:
    torch.manual_seed(0)
    labels, valid = torch.randint(CLASSES, (SAMPLES,)).numpy(), np.arange(SAMPLES) % 7 != 3
    return Predictions(np.arange(SAMPLES), labels, valid, torch.randn(SAMPLES, VIEWS, CLASSES).softmax(-1))


def batches(share: range, size: int = 4) -> Iterator[Predictions]:
    full = everything()
    for first in range(share.start, share.stop, size):
        some = slice(first, min(first + size, share.stop))
        yield Predictions(full.ids_N[some], full.labels_N[some], full.valid_N[some], full.probs_NVK[some])


def write(folder: Path, shares: list[range], dtype: str = "float32") -> None:
    for rank, share in enumerate(shares):
        write_part(folder, rank, share, VIEWS, CLASSES, dtype, batches(share))


def shares_of(world: int) -> list[range]:
    return [evaluation_share(SAMPLES, rank, world) for rank in range(world)]


@pytest.mark.parametrize("world", [1, 2, 5, 30])
def test_what_several_workers_wrote_reads_back_as_one(tmp_path: Path, world: int) -> None:
    """At 30 workers some have no sample at all."""
    write(tmp_path / "member", shares_of(world))
    seal(tmp_path / "member", SAMPLES, VIEWS, world)
    member, full = MemberProbabilities(tmp_path / "member"), everything()
    assert (member.samples, member.views, member.classes) == (SAMPLES, VIEWS, CLASSES)
    assert member.labels_N.tolist() == full.labels_N.tolist()
    assert member.valid_N.tolist() == full.valid_N.tolist()
    for start, stop in ((0, SAMPLES), (0, 1), (3, 17), (SAMPLES - 1, SAMPLES)):
        assert torch.equal(member.read(start, stop), full.probs_NVK[start:stop])


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    write(tmp_path, shares_of(2), "float16")
    seal(tmp_path, SAMPLES, VIEWS, 2)
    found = MemberProbabilities(tmp_path).read(0, SAMPLES)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, everything().probs_NVK, rtol=0.004, atol=0)
    assert np.load(tmp_path / "part-0000.npy").dtype == np.float16


def test_half_precision_keeps_the_loss_of_confident_mistakes(tmp_path: Path) -> None:
    """Probabilities down to the smallest that float32 has, which float16 takes for 0: a loss of 69 each by `Scores`."""
    torch.manual_seed(0)
    logits = 40 * torch.randn(SAMPLES, VIEWS, CLASSES)
    full = everything()
    whole = Predictions(full.ids_N, full.labels_N, full.valid_N, logits.softmax(-1))
    write_part(tmp_path, 0, range(SAMPLES), VIEWS, CLASSES, "float16", iter([whole]))
    seal(tmp_path, SAMPLES, VIEWS, 1)
    stored, labels = MemberProbabilities(tmp_path), torch.from_numpy(full.labels_N)
    expected = Scores.of(whole.probs_NVK[:, 0], labels, stored.valid_N)
    found = Scores.of(stored.read(0, SAMPLES)[:, 0], labels, stored.valid_N)
    assert expected.loss / expected.samples > 20
    assert found.loss == pytest.approx(expected.loss, rel=1e-3)
    assert (found.top1, found.top5) == (expected.top1, expected.top5)
    assert torch.equal(stored.read(0, SAMPLES) == 0, whole.probs_NVK == 0)  # what is 0 is 0 again


def test_half_precision_of_earlier_versions_is_read_as_probabilities(tmp_path: Path) -> None:
    full = everything()
    np.save(tmp_path / "part-0000.npy", full.probs_NVK.half().numpy())
    np.savez(tmp_path / "part-0000-labels.npz", first=0, labels=full.labels_N, valid=full.valid_N)
    seal(tmp_path, SAMPLES, VIEWS, 1)
    assert torch.equal(MemberProbabilities(tmp_path).read(0, SAMPLES), full.probs_NVK.half().float())


@pytest.mark.parametrize(
    ("shares", "parts", "message"),
    [
        ([range(12)], 1, "holds 12 samples, the split 23"),
        ([range(12)], 2, "part 1 of 2 is missing"),
        ([range(12), range(11, SAMPLES)], 2, "part 1 .* starts at sample 11, not 12"),
        ([range(12), range(13, SAMPLES)], 2, "part 1 .* starts at sample 13, not 12"),
        ([range(SAMPLES), range(SAMPLES)], 2, "part 1 .* starts at sample 0, not 23"),
        ([range(1, SAMPLES)], 1, "starts at sample 1, not 0"),
    ],
    ids=["short", "missing part", "overlap", "gap", "twice", "late start"],
)
def test_what_is_not_every_sample_once_is_refused(
    tmp_path: Path, shares: list[range], parts: int, message: str
) -> None:
    write(tmp_path, shares)
    with pytest.raises(ValueError, match=message):
        seal(tmp_path, SAMPLES, VIEWS, parts)
    assert not is_complete(tmp_path, 1)


def test_only_a_sealed_set_with_enough_views_is_complete(tmp_path: Path) -> None:
    assert not is_complete(tmp_path / "absent", 1)
    write(tmp_path, shares_of(2))
    assert not is_complete(tmp_path, 1)
    seal(tmp_path, SAMPLES, VIEWS, 2)
    assert is_complete(tmp_path, 1)
    assert is_complete(tmp_path, VIEWS)
    assert not is_complete(tmp_path, VIEWS + 1)


def test_evaluating_again_breaks_the_old_seal_first(tmp_path: Path) -> None:
    """Or a run killed in between would leave old and new parts that look complete."""
    write(tmp_path, shares_of(2))
    seal(tmp_path, SAMPLES, VIEWS, 2)
    write(tmp_path, shares_of(3)[:1])
    assert not is_complete(tmp_path, 1)


def test_parts_of_an_earlier_larger_world_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, shares_of(5))
    write(tmp_path, shares_of(2))
    seal(tmp_path, SAMPLES, VIEWS, 2)
    assert torch.equal(MemberProbabilities(tmp_path).read(0, SAMPLES), everything().probs_NVK)


def test_144_views_of_an_earlier_version_are_read_in_todays_order(tmp_path: Path) -> None:
    """It had the first ten, then the other crops, then their mirror images."""
    torch.manual_seed(1)
    own, mirrored = torch.rand(2, 3, 72, CLASSES)
    before = torch.cat([own[:, :5], mirrored[:, :5], own[:, 5:], mirrored[:, 5:]], 1)
    found = Predictions(np.arange(3), np.zeros(3, np.int64), np.ones(3, bool), before)
    write_part(tmp_path, 0, range(3), 144, CLASSES, "float32", iter([found]))
    (tmp_path / "complete.json").write_text('{"samples": 3, "views": 144, "parts": 1}')
    assert torch.equal(MemberProbabilities(tmp_path).read(0, 3), in_order(own, mirrored, 144))
    assert torch.equal(MemberProbabilities(tmp_path).read(1, 2)[0, 10:12, 0], torch.stack([own, mirrored])[:, 1, 5, 0])
    seal(tmp_path, 3, 144, 1)  # as this version writes it
    assert torch.equal(MemberProbabilities(tmp_path).read(0, 3), before)
