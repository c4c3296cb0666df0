"""Members with one order have the bits of loaders of their own, whoever leaves, falls behind or begins elsewhere."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from platform.config.data import DataConfig
from platform.config.ensemble import EnsembleConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.data import decode
from platform.data.batch import Batch
from platform.data.image_sizes import ImageSizes
from platform.data.index import Index
from platform.data.sets import training_split
from platform.training.feed import Feed
from platform.training.fused.group import Group, Place
from platform.training.fused.shared_batches import MemberLoader, open_loader
from platform.training.progress import Progress
from platform.training.worker import Worker
from tests.training.test_loop import config, index  # noqa: F401

STEPS = 6


@pytest.fixture
def feeds(digits_data: DataConfig, index: Index) -> dict[str, Feed]:  # noqa: F811
    cfg = replace(config(digits_data), ensemble=EnsembleConfig(shared_order=True, order_key=5))
    members = {
        "a": cfg,
        "b": replace(cfg, order_seed=1, sampling=SamplingConfig(method="random_square")),
        "c": replace(cfg, seed=2),
    }
    return {name: _feed(member, index) for name, member in members.items()}


def _feed(cfg: Config, data: Index) -> Feed:
    return Feed.of(cfg, training_split(data, cfg.data), Worker(), Progress(), None)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images that were opened to be decoded."""
    found: list[int] = []
    before = decode.EncodedImage.__init__

    def counted(self: Any, *args: Any) -> None:
        found.append(1)
        before(self, *args)

    monkeypatch.setattr(decode.EncodedImage, "__init__", counted)
    return found


def loaders(feeds: dict[str, Feed], begin: dict[str, int] | None = None) -> dict[str, Any]:
    """As members of one group open them."""
    group, found = Group(torch.device("cpu")), {}

    def run(name: str) -> None:
        feed = feeds[name]
        sizes = ImageSizes.of([], feed.cfg.data.image_size, STEPS)
        steps = range((begin or {}).get(name, 0), STEPS)
        found[name] = open_loader(feed, sizes, steps, Place(group, name, Progress()))

    group.run({name: lambda name=name: run(name) for name in feeds})
    return found


def alone(feed: Feed, start: int = 0) -> list[Batch]:
    with feed.open() as loader:
        return list(loader.steps(start, STEPS))


def require_equal(found: list[Batch], expected: list[Batch]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("images", "labels_N", "ids_N", "valid_N", "mirrored_N", "colour_draws_N8", "dropout_keys_N"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
        np.testing.assert_array_equal(ours.step_draws, theirs.step_draws)


def in_turns(steps: dict[str, Iterator[Batch]], count: int) -> dict[str, list[Batch]]:
    """So many steps of all, as members make them."""
    found: dict[str, list[Batch]] = {name: [] for name in steps}
    for _ in range(count):
        for name, batches in steps.items():
            found[name] += islice(batches, 1)
    return found


def test_each_image_is_opened_once_for_all(feeds: dict[str, Feed], opened: list[int]):
    expected = {name: alone(feed) for name, feed in feeds.items()}
    ids = [batch.ids_N.tolist() for batch in expected["a"]]
    assert all([batch.ids_N.tolist() for batch in batches] == ids for batches in expected.values())
    assert not torch.equal(expected["a"][0].images, expected["c"][0].images)  # crops of their own
    opened.clear()
    made = loaders(feeds)
    found = in_turns({name: each.steps(0, STEPS) for name, each in made.items()}, STEPS)
    assert len(opened) == STEPS * 8
    for name, loader in made.items():
        require_equal(found[name], expected[name])
        assert loader.decode_s > 0
        assert loader.counts()["data/corrupt_samples"] == 0
        loader.close()


def test_who_leaves_is_not_decoded_for_and_who_falls_behind_reads_by_itself(feeds: dict[str, Feed]):
    expected = {name: alone(feed) for name, feed in feeds.items()}
    made = loaders(feeds)
    steps = {name: each.steps(0, STEPS) for name, each in made.items()}
    found = in_turns(steps, 2)
    made["b"].close()
    more = in_turns({"a": steps["a"]}, STEPS - 2)  # without c
    require_equal(found["a"] + more["a"], expected["a"])
    require_equal(found["b"], expected["b"][:2])
    require_equal(found["c"] + list(steps["c"]), expected["c"])
    for name in "ac":
        made[name].close()


def test_members_that_go_on_from_other_steps_or_have_no_common_order_read_by_themselves(
    feeds: dict[str, Feed],
    index: Index,  # noqa: F811
):
    made = loaders(feeds, {"c": 3})
    assert {name for name, each in made.items() if isinstance(each, MemberLoader)} == {"a", "b"}
    require_equal(list(made["c"].steps(3, STEPS)), alone(feeds["c"], 3))
    for each in made.values():
        each.close()
    own = {name: _feed(replace(feed.cfg, ensemble=EnsembleConfig()), index) for name, feed in feeds.items()}
    assert not any(isinstance(each, MemberLoader) for each in loaders(own).values())
