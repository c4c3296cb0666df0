"""Networks applied densely: equal to the crop's probabilities at its size, and to crops one by one at larger ones."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from platform.config.data import DataConfig
from platform.config.evaluation import DENSE_NETWORKS
from platform.config.models import MODELS
from platform.data.cache import ShardFile
from platform.data.index import Split
from platform.data.pixels import Pixels
from platform.evaluation.cost import Cost, read_cost, write_cost
from platform.evaluation.dense import DenseNetwork
from platform.evaluation.predict import PredictConfig, Predictions
from platform.evaluation.whole_images import predict_whole, whole
from platform.models.build import build

CPU = torch.device("cpu")
SIZES = {"googlenet": 64, "bn_inception": 64, "inception_v2": 80, "inception_v3": 80}


def trained(name: str, size: int) -> nn.Module:
    """A network whose answers differ from image to image."""
    network = build(MODELS[name](name), 7, size, seed=3).eval()
    torch.manual_seed(0)
    nn.init.normal_(network.get_submodule("classifier").weight, std=0.5)  # pyright: ignore[reportArgumentType]
    return network


@pytest.mark.parametrize("name", DENSE_NETWORKS)
def test_on_an_image_of_the_crops_size_it_is_the_network_itself(name: str):
    size = SIZES[name]
    network, images = trained(name, size), torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = network(images).softmax(1)
    assert expected.std() > 0.02
    torch.testing.assert_close(DenseNetwork(network, size).probabilities(images), expected, atol=1e-6, rtol=1e-4)


class Tiny(nn.Module):
    """Without padding, so that each position of a larger image sees just what a crop there would."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=2)
        self.stages = nn.ModuleDict({"a": nn.Sequential(*convolutions)})
        self.classifier = nn.Linear(6, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.stages["a"](images).mean((2, 3)))


def test_on_a_larger_image_it_is_the_mean_over_crops_at_every_stride():
    torch.manual_seed(0)
    network, images = Tiny().eval(), torch.randn(3, 3, 19 + 8, 19 + 12)  # the network's stride is 4
    crops = [images[:, :, y : y + 19, x : x + 19] for y in range(0, 9, 4) for x in range(0, 13, 4)]
    with torch.no_grad():
        expected = torch.stack([network(crop).softmax(1) for crop in crops]).mean(0)
    torch.testing.assert_close(DenseNetwork(network, 19).probabilities(images), expected)


def split_of(folder: Path, sizes: list[tuple[int, int]]) -> Split:
    """A shard of noise, of these heights and widths; of height 0: no image."""
    path = folder / "val-000000.tar"
    with tarfile.open(path, "w") as tar:
        for number, size in enumerate(sizes):
            buffer = io.BytesIO(b"\xff\xd8 torn")
            if size[0]:
                Image.fromarray(noise(number, size)).save(buffer, "PNG")
            for name, data in ((f"{number:03d}.png", buffer.getvalue()), (f"{number:03d}.cls", b"%d" % (number % 5))):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return Split("val", [ShardFile(str(path), len(sizes), path.stat().st_size, "")])


def noise(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def found(split: Split, cost: Cost, *, mirror: bool = True, batch_size: int = 16, max_corrupt: int = 0) -> Predictions:
    """All in one, in the order of the images."""
    data = DataConfig(classes=5, image_size=35, mirror=mirror, max_corrupt=max_corrupt)
    cfg, pixels, share = PredictConfig(data, batch_size, 2), Pixels(data, CPU), range(split.samples)
    parts = list(predict_whole(seeded(), split, share, cost, cfg, pixels, torch.float32, 2))
    ids, labels, valid = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("ids_N", "labels_N", "valid_N")
    )
    order = ids.argsort()
    return Predictions(ids[order], labels[order], valid[order], torch.cat([part.probs_NVK for part in parts])[order])


def seeded() -> nn.Module:
    torch.manual_seed(0)
    return Tiny().eval()


SHAPES = [(30, 40), (40, 30), (30, 40), (25, 25), (30, 40), (35, 35), (60, 80), (9, 90), (90, 9)]


@pytest.mark.parametrize("batch_size", [1, 16, 512])
@pytest.mark.parametrize("mirror", [True, False])
def test_every_image_once_at_every_scale_whatever_its_size(tmp_path: Path, batch_size: int, mirror: bool):
    cost, split = Cost([35, 40]), split_of(tmp_path, SHAPES)
    some = found(split, cost, mirror=mirror, batch_size=batch_size)
    assert some.ids_N.tolist() == list(range(9))
    assert some.labels_N.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    network, pixels, crops = DenseNetwork(seeded(), 35), Pixels(DataConfig(), CPU), 0.0
    for number, size in enumerate(SHAPES):
        for scale, side in enumerate((35, 40)):
            image = pixels.evaluation(whole(noise(number, size), side)[None])
            crops += (1 + mirror) * image[0, 0].numel() / 35**2
            both = [image, image.flip(-1)] if mirror else [image]
            expected = torch.stack([network.probabilities(each) for each in both]).mean(0)[0]
            torch.testing.assert_close(some.probs_NVK[number, scale], expected)
    assert (cost.images, cost.cut) == (9, 2)
    assert cost.crops == pytest.approx(crops)


def test_of_a_long_image_the_middle_is_taken():
    pixels = noise(0, (20, 200))
    assert torch.equal(whole(pixels, 20), torch.from_numpy(pixels[:, 60:140]))
    assert whole(noise(0, (200, 10)), 20).shape == (80, 20, 3)


def test_an_image_that_cannot_be_decoded_keeps_its_place(tmp_path: Path):
    some = found(split_of(tmp_path, [(30, 30), (0, 0), (30, 30)]), cost := Cost([35]), max_corrupt=1)
    assert some.valid_N.tolist() == [True, False, True]
    assert torch.equal(some.probs_NVK[1], torch.full((1, 5), 0.2))
    assert cost.images == 2


def test_multiply_adds_are_in_proportion_to_pixels():
    """Of GoogLeNet; what is counted as cost."""
    network = trained("googlenet", 64).to("meta")

    def multiply_adds(height: int, width: int) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.empty(1, 3, height, width, device="meta"))
        return counter.get_total_flops() // 2

    assert multiply_adds(128, 192) / multiply_adds(64, 64) == pytest.approx(128 * 192 / 64**2, rel=0.03)


def test_what_the_parts_have_cost_is_added_up(tmp_path: Path):
    (tmp_path / "complete.json").write_text('{"parts": 2}')
    write_cost(tmp_path, 0, Cost([35, 40], 3, 12.0, 1))
    write_cost(tmp_path, 1, Cost([35, 40], 1, 8.0))
    assert read_cost(tmp_path) == Cost([35, 40], 4, 20.0, 1)
    assert read_cost(tmp_path).of_image == 5.0
    write_cost(tmp_path, 1, Cost([40], 1, 8.0))
    with pytest.raises(ValueError, match="of different scales"):
        read_cost(tmp_path)
