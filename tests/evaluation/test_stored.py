"""What is kept of the views: the same scores from their means, and nearly the same from the largest classes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from platform.config.checks import ConfigError
from platform.config.evaluation import ALL, MEANS, TOP, EvaluationConfig
from platform.evaluation import blocks
from platform.evaluation.blocks import MAX_OVER_CROPS, MODELS_FIRST, block_of
from platform.evaluation.ensemble import score
from platform.evaluation.kept import kept_scores, read_scores
from platform.evaluation.metrics import Scores
from platform.evaluation.predict import Predictions
from platform.evaluation.probabilities import MemberProbabilities, seal, write_part
from platform.evaluation.report import terminal_table
from platform.evaluation.seal import is_complete, kept_as
from platform.evaluation.stored import Stored
from platform.evaluation.table import EnsembleScores

SAMPLES, VIEWS, CLASSES, COUNTS = 60, 144, 40, [1, 10, 144]
LABELS = np.random.default_rng(7).integers(0, CLASSES, SAMPLES)


def probabilities(number: int, sharp: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number)
    own = torch.randn(SAMPLES, 1, CLASSES, generator=generator) + 2.5 * torch.nn.functional.one_hot(
        torch.from_numpy(LABELS), CLASSES
    ).unsqueeze(1)
    return (sharp * (own + torch.randn(SAMPLES, VIEWS, CLASSES, generator=generator))).softmax(-1)


def written(folder: Path, number: int, keep: str, dtype: str = "float32", sharp: float = 1.0, top: int = 20) -> Path:
    place, stored = folder / f"{number}-{keep}-{dtype}", Stored.of(EvaluationConfig(keep=keep, keep_top=top), CLASSES)
    valid, probs = np.arange(SAMPLES) != 5, probabilities(number, sharp)
    for rank, share in enumerate((range(17), range(17, SAMPLES))):
        ids = np.arange(share.start, share.stop)
        batches = [
            Predictions(some, LABELS[some], valid[some], probs[some]) for some in np.array_split(ids, 5) if len(some)
        ]
        write_part(place, rank, share, VIEWS, CLASSES, dtype, iter(batches), stored)
    seal(place, SAMPLES, VIEWS, 2, stored)
    return place


def scores_of(folder: Path, keep: str, members: int = 3, **more: object) -> EnsembleScores:
    places = {f"m{n}": written(folder, n, keep, **more) for n in range(members)}  # pyright: ignore[reportArgumentType]
    return score({name: MemberProbabilities(place) for name, place in places.items()}, COUNTS)


def close(one: Scores, other: Scores, rel: float) -> bool:
    return one.as_list()[:3] == other.as_list()[:3] and math.isclose(one.loss, other.loss, rel_tol=rel)


def test_means_have_the_scores_of_all_views(tmp_path: Path) -> None:
    every, means = scores_of(tmp_path, ALL), scores_of(tmp_path, MEANS)
    for views in COUNTS:
        assert close(means.ensemble[views], every.ensemble[views], 1e-6)
        assert all(close(means.members[name][views], every.members[name][views], 1e-6) for name in every.names)
    assert close(means.alternatives[MAX_OVER_CROPS], every.alternatives[MAX_OVER_CROPS], 1e-6)
    assert MODELS_FIRST in every.alternatives
    assert MODELS_FIRST not in means.alternatives
    assert every.left_out == []
    assert means.left_out == [
        f"Not in the table: {MODELS_FIRST}, which every crop is needed for (evaluation.keep=means)."
    ]
    assert means.left_out[0] in terminal_table(means).replace("\n", " ")
    assert every.images is not None
    assert means.images is not None
    assert np.array_equal(every.images.predicted_EN, means.images.predicted_EN)
    np.testing.assert_allclose(every.images.brier_EN, means.images.brier_EN, rtol=1e-4)


def test_the_largest_classes_have_the_members_scores(tmp_path: Path) -> None:
    """Errors and losses of each member, and losses of the ensemble; its classes nearly."""
    every, top = scores_of(tmp_path, ALL), scores_of(tmp_path, TOP)
    for views in COUNTS:
        assert all(close(top.members[name][views], every.members[name][views], 1e-5) for name in every.names)
        assert math.isclose(top.ensemble[views].loss, every.ensemble[views].loss, rel_tol=1e-5)
        assert abs(top.ensemble[views].top1 - every.ensemble[views].top1) <= 2
    assert every.images is not None
    assert top.images is not None
    np.testing.assert_allclose(top.images.confidence_EN[:-1], every.images.confidence_EN[:-1], rtol=1e-4)
    assert any("20 largest classes" in note for note in top.left_out)


def test_as_many_largest_as_classes_are_all_of_them(tmp_path: Path) -> None:
    place = written(tmp_path, 0, TOP, top=CLASSES)
    assert kept_as(place) == MEANS
    torch.testing.assert_close(MemberProbabilities(place).means(10), probabilities(0)[:, :10].mean(1))


def test_a_broken_network_scores_nothing_however_it_is_kept(tmp_path: Path) -> None:
    stored = Stored.of(EvaluationConfig(keep=TOP, keep_top=5), CLASSES)
    broken = torch.full((SAMPLES, VIEWS, CLASSES), torch.nan)
    write_part(tmp_path, 0, range(SAMPLES), VIEWS, CLASSES, "float32",
               iter([Predictions(np.arange(SAMPLES), LABELS, LABELS >= 0, broken)]), stored)  # fmt: skip
    seal(tmp_path, SAMPLES, VIEWS, 1, stored)
    found = score({"m": MemberProbabilities(tmp_path)}, COUNTS)
    assert [found.ensemble[views].top5 for views in COUNTS] == [0, 0, 0]


@pytest.mark.parametrize("keep", [MEANS, TOP])
def test_what_was_not_kept_is_said(tmp_path: Path, keep: str) -> None:
    place = written(tmp_path, 0, keep)
    assert [views for views in (1, 10, 12, 144) if is_complete(place, views)] == COUNTS
    assert kept_as(place) == keep
    member = MemberProbabilities(place)
    with pytest.raises(ValueError, match="only means over views were kept"):
        member.read(0, 1)
    with pytest.raises(ConfigError, match=rf"evaluation.keep={keep} and views \[1, 10, 144\], and \[12\] are asked"):
        kept_scores({"m": place}, [1, 12], tmp_path / "scores.json")


def test_what_is_left_out_is_kept_with_the_scores(tmp_path: Path) -> None:
    places = {f"m{n}": written(tmp_path, n, MEANS) for n in range(2)}
    found = kept_scores(places, COUNTS, tmp_path / "scores.json")
    assert read_scores(tmp_path / "scores.json") == found
    assert found.left_out


@pytest.mark.parametrize("keep", [ALL, MEANS, TOP])
def test_the_size_is_foretold(tmp_path: Path, keep: str) -> None:
    for dtype in ("float32", "float16"):
        place, stored = written(tmp_path, 0, keep, dtype), Stored.of(EvaluationConfig(keep=keep), CLASSES)
        taken = sum(file.stat().st_size for file in place.glob("*.npy"))
        assert 0 <= taken - stored.bytes_of(SAMPLES, VIEWS, CLASSES, dtype) < 128 * 5


@pytest.mark.parametrize("keep", [ALL, MEANS])
@pytest.mark.parametrize("sharp", [0.3, 1.0, 6.0])
def test_float16_keeps_loss_and_scores_within_a_bound(tmp_path: Path, keep: str, sharp: float) -> None:
    """A logarithm in float16 is right to 2^-11 of itself, so the loss is to 2^-11 of the mean -log p, of the label and,
    for the sum over classes, of all. What is 0 in float32 stays 0, and is a loss of 69 in both."""
    whole, half = (scores_of(tmp_path, keep, dtype=dtype, sharp=sharp) for dtype in ("float32", "float16"))
    logs = torch.stack([-probabilities(n, sharp).double().log() for n in range(3)])
    worst = logs.gather(3, torch.from_numpy(LABELS)[None, :, None, None].expand(3, -1, VIEWS, 1)).mean().item()
    bound = (2 * worst + math.log(CLASSES)) / 2**11
    for views in COUNTS:
        one, other = whole.ensemble[views].rates(), half.ensemble[views].rates()
        assert abs(one["loss"] - other["loss"]) < bound
        assert abs(one["top1"] - other["top1"]) <= 1 / SAMPLES  # a near tie
        for name in whole.names:
            difference = whole.members[name][views].rates()["loss"] - half.members[name][views].rates()["loss"]
            assert abs(difference) < 2 * bound


def test_threads_and_blocks_change_no_bit(tmp_path: Path) -> None:
    members = {f"m{n}": MemberProbabilities(written(tmp_path, n, ALL)) for n in range(3)}
    one = score(members, COUNTS, chunk=7, threads=1)
    several = score(members, COUNTS, chunk=7, threads=3)
    assert one == several
    assert one.images is not None
    assert several.images is not None
    assert np.array_equal(one.images.brier_EN, several.images.brier_EN, equal_nan=True)


def test_memory_is_bounded_whatever_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are no more than `BLOCK_BYTES`, at any size, and the reads are no larger."""
    members = {f"m{n}": MemberProbabilities(written(tmp_path, n, ALL)) for n in range(2)}
    bytes_each = 2 * VIEWS * CLASSES * 4
    for images in (10, 1):
        monkeypatch.setattr(blocks, "BLOCK_BYTES", images * bytes_each)
        assert block_of(members, VIEWS) == images
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 5 * bytes_each)
    read: list[int] = []
    before = MemberProbabilities._read
    monkeypatch.setattr(
        MemberProbabilities, "_read", lambda self, *share: (read.append(share[1] - share[0]), before(self, *share))[1]
    )
    score(members, COUNTS, threads=2)
    assert max(read) == 5
    assert sum(read) == 2 * SAMPLES  # each once
