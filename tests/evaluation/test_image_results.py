"""What is kept of each image against a direct computation, and the file that holds it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.config.checks import ConfigError
from platform.evaluation.ensemble import score
from platform.evaluation.images import NO_CLASS, ImageResults, has_images, likeliest, read_images, write_images
from platform.evaluation.metrics import Scores, rank_of_label
from platform.evaluation.predict import Predictions
from platform.evaluation.probabilities import MemberProbabilities, seal, write_part
from tests.evaluation.test_ensemble import CLASSES, COUNTS, LABELS, SAMPLES, member, probabilities

CORRUPT = (5, 40)


def results(folder: Path, members: int = 3, chunk: int = 256) -> ImageResults:
    opened = {f"m{n}": member(folder, n, corrupt=CORRUPT if n == 1 else ()) for n in range(members)}
    images = score(opened, COUNTS, chunk).images
    assert images is not None
    return images


@pytest.mark.parametrize("chunk", [256, 7])
def test_every_image_is_as_computed_directly(tmp_path: Path, chunk: int):
    images = results(tmp_path, 3, chunk)
    means = np.stack([probabilities(n) for n in range(3)]).astype(np.float64).mean(2)
    means = np.concatenate([means, means.mean(0)[None]])
    kept, rows = ~np.isin(np.arange(SAMPLES), CORRUPT), np.arange(SAMPLES)
    assert images.valid_N.tolist() == kept.tolist()
    assert (images.names, images.views, images.ensemble) == (["m0", "m1", "m2"], 144, 3)
    assert np.array_equal(images.predicted_EN[:, kept], means.argmax(2)[:, kept])
    order = np.argsort(-means, axis=2, kind="stable")
    assert np.array_equal(images.rank_EN[:, kept], (order == LABELS[:, None]).argmax(2)[:, kept])
    own = means[:, rows, LABELS]
    assert images.label_probability_EN[:, kept] == pytest.approx(own[:, kept], rel=1e-5)
    assert images.confidence_EN[:, kept] == pytest.approx(means.max(2)[:, kept], rel=1e-5)
    outcome = np.arange(CLASSES) == LABELS[:, None]
    assert images.brier_EN[:, kept] == pytest.approx(((means - outcome) ** 2).sum(2)[:, kept], rel=1e-5)
    for left_out in range(3):
        others = means[[n for n in range(3) if n != left_out]].mean(0)
        assert np.array_equal(images.without_MN[left_out, kept], others.argmax(1)[kept])
    assert (images.predicted_EN[:, ~kept] == NO_CLASS).all()
    assert not images.right_EN[:, ~kept].any()
    assert np.isnan(images.confidence_EN[:, ~kept]).all()


def test_it_adds_up_to_the_scores(tmp_path: Path):
    opened = {f"m{n}": member(tmp_path, n, corrupt=CORRUPT if n == 1 else ()) for n in range(3)}
    scores = score(opened, COUNTS, 16)
    images = scores.images
    assert images is not None
    every = [*(scores.members[name] for name in images.names), scores.ensemble]
    for number, by_views in enumerate(every):
        assert images.right_EN[number].sum() == by_views[144].top1
        assert (images.rank_EN[number] < 5).sum() == by_views[144].top5
    for place, views in enumerate(COUNTS):
        assert images.hits_CN[place].sum() == sum(each[views].top1 for each in scores.members.values())
        right_N = images.ensemble_right_N(views)
        assert right_N is not None
        assert right_N.sum() == scores.ensemble[views].top1
        assert not right_N[list(CORRUPT)].any()
    assert np.array_equal(images.right_CN[-1] == 1, images.right_EN[images.ensemble])
    assert images.ensemble_right_N(7) is None


def test_a_single_member_is_its_own_ensemble(tmp_path: Path):
    images = results(tmp_path, 1)
    assert np.array_equal(images.predicted_EN[0], images.predicted_EN[1])
    assert np.array_equal(images.confidence_EN[0], images.confidence_EN[1])
    assert images.without_MN.shape == (0, SAMPLES)


PROBS = st.sampled_from([0.0, 0.1, 0.1, 0.3, float("nan")])


@settings(deadline=None)
@given(st.lists(st.lists(PROBS, min_size=4, max_size=4), min_size=1, max_size=6), st.integers(0, 3))
def test_the_predicted_class_is_the_label_where_its_rank_is_0(rows: list[list[float]], label: int):
    """Ties and what is no number included."""
    probs, labels = torch.tensor(rows), torch.full((len(rows),), label)
    right = rank_of_label(probs, labels) == 0
    assert np.array_equal(likeliest(probs.numpy()) == label, right.numpy())
    assert Scores.of(probs, labels, torch.ones(len(rows), dtype=torch.bool)).top1 == right.sum()


def test_a_broken_network_predicts_no_class_and_spoils_nobody_elses(tmp_path: Path):
    probs = torch.full((SAMPLES, 144, CLASSES), torch.nan)
    samples = Predictions(np.arange(SAMPLES), LABELS, np.ones(SAMPLES, np.bool_), probs)
    write_part(tmp_path / "broken", 0, range(SAMPLES), 144, CLASSES, "float32", iter([samples]))
    seal(tmp_path / "broken", SAMPLES, 144, 1)
    images = score({"good": member(tmp_path, 0), "broken": MemberProbabilities(tmp_path / "broken")}, COUNTS).images
    assert images is not None
    assert (images.predicted_EN[1:] == NO_CLASS).all()  # its own, and the mean with it
    assert np.isnan(images.brier_EN[1]).all()
    assert not images.right_EN[1:].any()
    assert np.array_equal(images.without_MN[1], images.predicted_EN[0])
    assert (images.predicted_EN[0] >= 0).all()


def test_what_is_written_is_read(tmp_path: Path):
    images, file = results(tmp_path), tmp_path / "images.npz"
    assert read_images(file) is None
    write_images(file, images, "abc")
    found = read_images(file)
    assert found is not None
    for name in (
        "labels_N",
        "valid_N",
        "predicted_EN",
        "confidence_EN",
        "rank_EN",
        "brier_EN",
        "without_MN",
        "hits_CN",
        "right_CN",
    ):
        np.testing.assert_array_equal(getattr(found, name), getattr(images, name))
    assert has_images(file, "abc")
    assert not has_images(file, "abd")
    assert read_images(file, "abd") is None
    assert read_images(file, "abc") is not None
    assert len(list(tmp_path.glob("images*"))) == 1


def test_a_file_of_an_earlier_version_lacks_what_the_ensemble_said_with_fewer_views(tmp_path: Path):
    images, file = results(tmp_path), tmp_path / "images.npz"
    write_images(file, images, "abc")
    with np.load(file) as content:
        arrays = {name: content[name] for name in content.files if name != "right_CN"}
    np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    found = read_images(file)
    assert found is not None
    assert [found.ensemble_right_N(views) is not None for views in COUNTS] == [views == 144 for views in COUNTS]
    assert np.array_equal(found.ensemble_right_N(144), images.right_EN[images.ensemble])  # pyright: ignore


@pytest.mark.parametrize("damage", ["torn", "pickled", "another shape", "a field less", "text"])
def test_a_damaged_file_is_one_line(tmp_path: Path, damage: str):
    images, file = results(tmp_path), tmp_path / "images.npz"
    write_images(file, images, "abc")
    with np.load(file) as content:
        arrays = {name: content[name] for name in content.files}
    if damage == "torn":
        file.write_bytes(file.read_bytes()[:-300])
    elif damage == "text":
        file.write_text("nothing")
    else:
        if damage == "pickled":
            arrays["rank_EN"] = np.array([{"an": "object"}])
        elif damage == "another shape":
            arrays["rank_EN"] = arrays["rank_EN"][:2]
        else:
            del arrays["rank_EN"]
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match=r"images\.npz is damaged \(.*\); remove it") as error:
        read_images(file)
    assert "\n" not in str(error.value)
    assert damage != "torn" or not has_images(file, "abc")
