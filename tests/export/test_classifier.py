"""The classifier gives an image the probabilities that evaluation gave it; what is no image is an error of its own."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from platform.config.data import DataConfig
from platform.data.index import Index
from platform.data.pixels import Pixels
from platform.evaluation.predict import PredictConfig, predict
from platform.export.classifier import Classifier
from platform.export.description import Description
from tests.export.exported import CLASSES, network, write_members

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]  # exporting takes seconds
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    return {"m1": network(1), "m2": network(2)}


@pytest.fixture(scope="module")
def described(
    tmp_path_factory: pytest.TempPathFactory, networks: dict[str, nn.Module], digits_data: DataConfig
) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_members(folder, networks, digits_data, views=10)
    return folder


@pytest.fixture(scope="module")
def classifier(described: Path) -> Classifier:
    return Classifier.load(described)


@pytest.mark.parametrize("views", [1, 10, 12, 144])
def test_validation_images_get_the_probabilities_of_evaluation(
    classifier: Classifier, networks: dict[str, nn.Module], digits: Index, digits_data: DataConfig, views: int
) -> None:
    split, share = digits.split("val"), range(3 if views == 144 else 12)
    cfg = PredictConfig(digits_data, batch_size=288, prefetch_batches=1)
    expected = [
        torch.cat([
            some.probs_NVK
            for some in predict(each, split, share, views, cfg, Pixels(digits_data, CPU), torch.float32, threads=1)
        ]).mean(1)
        for each in networks.values()
    ]  # fmt: skip
    found = classifier.predict([split.read(number).image for number in share], views)
    assert found.errors == [None] * len(share)
    np.testing.assert_allclose(found.members_MNK, torch.stack(expected), atol=1e-6)
    np.testing.assert_allclose(found.probs_NK, torch.stack(expected).mean(0), atol=1e-6)
    assert np.ptp(found.probs_NK, axis=0).max() > 1e-3  # else any order of the images would do


def test_networks_get_images_in_the_memory_format_of_evaluation(small_jpegs: list[bytes]) -> None:
    """In which convolutions take half the time on CPU, and give the very sums of evaluation."""
    seen: list[bool] = []

    def program(images: torch.Tensor) -> torch.Tensor:
        seen.append(images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous())
        return images.mean((2, 3))

    about = Description(["r", "g", "b"], ["m"], 32, [0.5] * 3, [0.5] * 3, mirror=True, views=10)
    Classifier(about, {"m": program}, CPU).predict(small_jpegs[:2])
    assert seen == [True]


def test_images_that_cannot_be_decoded_are_nan_and_an_error_in_their_place(
    classifier: Classifier, photos: list[bytes], small_jpegs: list[bytes]
) -> None:
    bad = [b"", b"no image", photos[0][:3000], b"\xff\xd8\xff" + bytes(1000)]
    found = classifier.predict([small_jpegs[0], *bad, small_jpegs[1]], views=1)
    assert np.isnan(found.probs_NK).all(1).tolist() == [False, True, True, True, True, False]
    assert np.isnan(found.members_MNK[:, 1:5]).all()
    assert np.isnan(found.disagreement_N).tolist() == [False, True, True, True, True, False]
    assert [bool(error) for error in found.errors] == [False, True, True, True, True, False]
    assert all("\n" not in error and "0x" not in error for error in found.errors if error)
    np.testing.assert_allclose(found.probs_NK[[0, 5]], classifier.predict(small_jpegs[:2], views=1).probs_NK, atol=1e-6)
    assert classifier.predict(bad).probs_NK.shape == (4, len(CLASSES))
    assert classifier.predict([]).probs_NK.shape == (0, len(CLASSES))


def test_the_usual_number_of_views_is_that_of_the_description(classifier: Classifier, small_jpegs: list[bytes]) -> None:
    assert (classifier.classes, classifier.members, classifier.views) == (CLASSES, ["m1", "m2"], 10)
    usual, ten = classifier.predict(small_jpegs[:1]), classifier.predict(small_jpegs[:1], views=10)
    np.testing.assert_array_equal(usual.probs_NK, ten.probs_NK)
    with pytest.raises(ValueError, match="views is 7; give 1, 10, 12, 144"):
        classifier.predict(small_jpegs[:1], views=7)


def test_disagreement_is_the_share_of_members_that_say_something_else(
    classifier: Classifier, small_jpegs: list[bytes]
) -> None:
    found = classifier.predict(small_jpegs, views=1)
    expected = [
        sum(member.argmax() != mean.argmax() for member in found.members_MNK[:, place]) / 2
        for place, mean in enumerate(found.probs_NK)
    ]
    assert found.disagreement_N.tolist() == expected
    assert set(expected) & {0.5, 1.0}


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no classifier\.json that can be read; give the folder of a model"):
        Classifier.load(tmp_path)
    (tmp_path / "classifier.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="is of format 99, this code reads 1; export the model again"):
        Classifier.load(tmp_path)
    (tmp_path / "classifier.json").write_text('{"format": 1, "members": ["../../etc"]}')
    with pytest.raises(ValueError, match="does not describe a classifier"):
        Classifier.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"members": ["../../etc"]}, "members is ['../../etc']"),
        ({"members": ["m1", "m1"]}, "members is ['m1', 'm1']"),
        ({"image_size": 10**9}, "image_size is 1000000000"),
        ({"image_size": True}, "image_size is True"),
        ({"views": 10**30}, f"views is {10**30}"),
        ({"mean": [float("nan")] * 3}, "mean is [nan, nan, nan]"),
        ({"std": [0.5, 0.5]}, "std is [0.5, 0.5]"),
        ({"std": [0, 1, 1]}, "std is [0, 1, 1]"),
        ({"mean": "x"}, "mean is x"),
        ({"classes": []}, "classes is []"),
        ({"classes": [["a"]] * 10}, "classes is [['a']"),
        ({"mirror": "no"}, "mirror is no"),
        ({"data_digest": 1}, "data_digest is 1"),
        ({"__class__": "os"}, "unexpected keyword argument"),
        ({"classes": ["a", "b"]}, "m1.pt2 gives logits [1, 10] for 2 classes; export the model again"),
    ],
)
def test_a_description_that_no_export_has_written_is_one_line(
    tmp_path: Path, described: Path, changes: dict[str, Any], said: str
) -> None:
    content = json.loads((described / "classifier.json").read_text()) | changes
    (tmp_path / "classifier.json").write_text(json.dumps(content))
    for name in ("m1.pt2", "m2.pt2"):
        (tmp_path / name).symlink_to(described / name)
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        Classifier.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": ' + "9" * 5000 + "}", "\xff", ""])
def test_a_description_that_is_none_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "classifier.json").write_text(text)
    with pytest.raises(ValueError, match=r"has no classifier\.json that can be read; give the folder of a model"):
        Classifier.load(tmp_path)
