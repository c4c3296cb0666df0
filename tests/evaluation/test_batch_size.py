"""Views in a forward pass: as many as pay, fewer where memory is short, and every sample once in any case."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.evaluation import BATCH_SIZE, EvaluationConfig
from platform.config.sections import Config
from platform.data.index import Index, Split
from platform.data.pixels import Pixels
from platform.evaluation.batch_size import MOST, Passes, largest_that_pays
from platform.evaluation.predict import PredictConfig, predict, views_at_once

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


class Card:
    """A device with room for so many views, that computes so many at a time in a second."""

    def __init__(self, room: int, at_a_time: int) -> None:
        self._room, self._at_a_time = room, at_a_time
        self.now, self.tried, self.freed = 0.0, [], 0

    def run(self, views: int) -> None:
        self.tried.append(views)
        if views > self._room:
            raise torch.OutOfMemoryError
        self.now += -(-views // self._at_a_time)

    def free(self) -> None:
        self.freed += 1

    def found(self, begin: int = 512) -> int:
        return largest_that_pays(self.run, lambda: None, self.free, lambda: self.now, begin=begin)


@pytest.mark.parametrize(
    ("room", "at_a_time", "found"),
    [
        (10**6, 1, 512),  # no number is faster than another: the first is kept
        (10**6, 2048, 2048),  # 4096 take twice as long
        (10**6, 10**6, MOST),
        (3000, 10**6, 2048),  # memory ends between 2048 and 4096
        (200, 10**6, 128),  # the first does not fit: a half, a quarter
        (1, 10**6, 1),
    ],
)
def test_twice_as_many_until_memory_is_short_or_nothing_is_gained(room: int, at_a_time: int, found: int) -> None:
    card = Card(room, at_a_time)
    assert card.found() == found
    assert card.freed == sum(views > room for views in card.tried)
    assert max(card.tried) <= MOST


def test_not_even_one_view_fits() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Card(0, 1).found()


def short_of_memory(room: int, sizes: list[int]) -> Callable[[Tensor], Tensor]:
    def run(images: Tensor) -> Tensor:
        sizes.append(len(images))
        if len(images) > room:
            raise torch.OutOfMemoryError
        return images * 2

    return run


def test_a_pass_that_memory_is_too_short_for_is_halved_and_said(caplog: pytest.LogCaptureFixture) -> None:
    passes, sizes, batch = Passes(10, 4), list[int](), torch.arange(10.0)
    assert torch.equal(passes.of(batch, short_of_memory(3, sizes)), batch * 2)
    assert sizes == [10, 5, 3, 3, 3, 1]
    assert "out of memory with 40 views in a forward pass; 20 at a time from here on" in caplog.text
    sizes.clear()
    assert torch.equal(passes.of(batch[:7], short_of_memory(3, sizes)), batch[:7] * 2)
    assert sizes == [3, 3, 1]  # what did not fit is not tried again
    with pytest.raises(torch.OutOfMemoryError):
        passes.of(batch, short_of_memory(0, sizes))


class Small(nn.Module):
    """A network that has room for so many images."""

    def __init__(self, room: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.room, self.layers = room, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.room:
            raise torch.OutOfMemoryError
        return self.layers(images)


def test_every_sample_comes_once_in_order_however_memory_ends(digits: Index) -> None:
    split, pixels = Split("val", digits.split("val").shards[-1:]), Pixels(DataConfig(), CPU)

    def all_of(room: int) -> tuple[list[int], Tensor]:
        cfg = PredictConfig(DataConfig(), 40, 1)
        found = list(predict(Small(room), split, range(split.samples), 1, cfg, pixels, torch.float32, 1))
        return [int(each) for part in found for each in part.ids_N], torch.cat([part.probs_NVK for part in found])

    ids, whole = all_of(10**6)
    ids_in_parts, in_parts = all_of(7)
    assert ids == ids_in_parts == list(range(split.samples))
    torch.testing.assert_close(in_parts, whole)


def test_auto_is_the_default_on_cpu() -> None:
    data = DataConfig()
    auto = PredictConfig.of(Config(data=data, evaluation=EvaluationConfig(batch_size="auto")))
    assert auto.larger
    assert views_at_once(nn.Linear(1, 1), auto, Pixels(data, CPU), torch.float32) == BATCH_SIZE
    assert not PredictConfig.of(Config(data=data)).larger
    assert PredictConfig.of(Config(data=data)).batch_size == BATCH_SIZE == 512


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "many"])
def test_what_is_neither_a_number_nor_auto_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"evaluation.batch_size is .*; give at least 1, or auto"):
        EvaluationConfig(batch_size=wrong)
