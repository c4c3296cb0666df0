"""Probabilities of a split: every sample once and in order, however it is divided."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from platform.config.data import DataConfig, LoaderConfig
from platform.data.cache import ShardError, ShardFile
from platform.data.decode import EncodedImage
from platform.data.index import Index, Split
from platform.data.order import evaluation_share
from platform.data.pixels import Pixels
from platform.evaluation.predict import PredictConfig, Predictions, predict
from platform.evaluation.views import render, with_mirrors

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def split(digits: Index) -> Split:
    """Two shards: the 180 last digits twice."""
    last = digits.split("val").shards[-1]
    return Split("val", [last, last])


def network() -> nn.Module:
    """Small, and different for every image and its mirror image; its dropout must be off."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 5, stride=3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(400, 10)
    return nn.Sequential(*layers)


def predictions(
    split: Split, share: range, views: int = 1, batch_size: int = 512, threads: int = 1, max_corrupt: int = 0
) -> Predictions:
    """All of a share's in one."""
    data = DataConfig(max_corrupt=max_corrupt)
    cfg = PredictConfig(data, batch_size, LoaderConfig().prefetch_batches)
    some = list(predict(network().train(), split, share, views, cfg, Pixels(data, CPU), torch.float32, threads))
    assert all(len(part.probs_NVK) <= max(1, batch_size // views) for part in some)
    return Predictions(
        np.concatenate([part.ids_N for part in some]),
        np.concatenate([part.labels_N for part in some]),
        np.concatenate([part.valid_N for part in some]),
        torch.cat([part.probs_NVK for part in some]),
    )


@pytest.fixture(scope="module")
def whole(split: Split) -> Predictions:
    return predictions(split, range(split.samples))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "batch_size", "threads"), [(1, 1, 2), (2, 7, 1), (3, 59, 3), (7, 512, 1), (118, 4, 1)]
)
def test_every_sample_comes_once_and_in_order(
    split: Split, whole: Predictions, world: int, batch_size: int, threads: int
) -> None:
    shares = [evaluation_share(split.samples, rank, world) for rank in range(world)]
    parts = [predictions(split, share, batch_size=batch_size, threads=threads) for share in shares]
    assert np.concatenate([part.ids_N for part in parts]).tolist() == list(range(split.samples))
    assert np.concatenate([part.labels_N for part in parts]).tolist() == whole.labels_N.tolist()
    torch.testing.assert_close(torch.cat([part.probs_NVK for part in parts]), whole.probs_NVK)


def test_labels_and_probabilities_belong_to_their_sample(split: Split, whole: Predictions) -> None:
    """Against each sample read, rendered and put through the network alone."""
    reader, model, pixels = split, network().eval(), Pixels(DataConfig(), CPU)
    assert whole.valid_N.all()
    for number in (0, 1, 179, 180, 359):
        sample = reader.read(number)
        assert whole.labels_N[number] == sample.label
        with torch.no_grad():
            probs = model(pixels.evaluation(render(EncodedImage(sample.image), 32, 1))).softmax(-1)
        torch.testing.assert_close(whole.probs_NVK[number], probs)
    assert whole.probs_NVK.dtype == torch.float32
    torch.testing.assert_close(whole.probs_NVK.sum(-1), torch.ones(360, 1))


@pytest.mark.parametrize("views", [10, 144])
def test_views_are_in_their_order(split: Split, whole: Predictions, views: int) -> None:
    share = range(57, 61)  # across the two shards
    found = predictions(split, share, views, batch_size=views * 3)
    assert found.ids_N.tolist() == list(share)
    assert found.probs_NVK.shape == (4, views, 10)
    torch.testing.assert_close(found.probs_NVK[:, :1], whole.probs_NVK[57:61])
    crops = render(EncodedImage(split.read(59).image), 32, views)
    images = with_mirrors(Pixels(DataConfig(), CPU).evaluation(crops)[None], views)[0]
    with torch.no_grad():
        expected = network().eval()(images).softmax(-1)
    torch.testing.assert_close(found.probs_NVK[2], expected)


def test_more_views_than_the_batch_holds_go_one_sample_at_a_time(split: Split) -> None:
    assert predictions(split, range(2), 144, batch_size=1).probs_NVK.shape == (2, 144, 10)


def broken_split(folder: Path) -> Split:
    """Five samples, of which the one at place 2 is no image."""
    path = folder / "val-000000.tar"
    with tarfile.open(path, "w") as tar:
        for place in range(5):
            buffer = io.BytesIO()
            Image.new("RGB", (40, 40), (50 * place, 0, 0)).save(buffer, "PNG")
            content = b"\xff\xd8 torn" if place == 2 else buffer.getvalue()
            for name, data in ((f"{place}.png", content), (f"{place}.cls", b"%d" % (9 - place))):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return Split("val", [ShardFile(str(path), 5, path.stat().st_size, "")])


def test_a_corrupt_sample_keeps_its_place_and_is_marked(tmp_path: Path) -> None:
    found = predictions(broken_split(tmp_path), range(5), batch_size=2, max_corrupt=1)
    assert found.ids_N.tolist() == [0, 1, 2, 3, 4]
    assert found.valid_N.tolist() == [True, True, False, True, True]
    assert found.labels_N.tolist() == [9, 8, 0, 6, 5]


def test_too_many_corrupt_samples_stop_it(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"data\.max_corrupt=0"):
        predictions(broken_split(tmp_path), range(5), max_corrupt=0)
