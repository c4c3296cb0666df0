"""The order of a training's images, from its config.

In: a config, or what of it decides the order; the training split. Out: an `Order`.
"""

from typing import Any

from platform.config.checks import require
from platform.config.data import NOT_BALANCED, LoaderConfig
from platform.config.sections import Config
from platform.data import draws
from platform.data.balance import Balance, weights_of
from platform.data.blend import BlendedOrder
from platform.data.index import Split
from platform.data.labels import labels_of
from platform.data.line import Ids
from platform.data.order import Order, require_batch, steps_per_epoch
from platform.data.sets import Blend


def training_order(cfg: Config, split: Split, labels: Ids | None = None) -> Order:
    """The order of a config's training images, from its seeds, streams, block and batch size.

    Args:
        cfg: the training's.
        split: its images, as `sets.training_split` has them.
        labels: theirs, where somebody has them; None: they are read if `data.balance` needs them.

    Raises:
        ConfigError: an epoch holds no whole batch, or `data.balance` does not fit the classes.
    """
    assert isinstance(split, Blend) == bool(cfg.data.also), "it is of all sets: `sets.training_split`"
    shared = cfg.ensemble.order_key
    key = draw_seed(cfg) if shared is None else shared
    return keyed_order(split, cfg.loader, cfg.training.batch_size, key, cfg.data.balance, labels, cfg.sampling.repeats)


def draw_seed(cfg: Config) -> int:
    """What a training's crops, colours and dropout masks follow from, and its order unless members share one."""
    return draws.key(cfg.seed, cfg.order_seed)


def member_order(
    split: Split,
    loader: LoaderConfig,
    batch_size: int,
    seed: int,
    order_seed: int,
    balance: Any = NOT_BALANCED,
    labels: Ids | None = None,
    repeats: int = 1,
) -> Order:
    """The order of one training: streams and block of `loader`, in global batches of `batch_size`; of several sets, by
    their weights.

    Raises:
        ConfigError: an epoch holds no whole batch, a set has fewer samples than there are streams, or `balance` does
            not fit the classes.
    """
    return keyed_order(split, loader, batch_size, draws.key(seed, order_seed), balance, labels, repeats)


def keyed_order(
    split: Split, loader: LoaderConfig, batch_size: int, seeds: int, balance: Any, labels: Ids | None, repeats: int
) -> Order:
    """The same of one integer in the place of both seeds."""
    if isinstance(split, Blend):
        require_batch(split, batch_size)
        for key, of_set in zip(split.names, split.of_sets, strict=True):
            require(
                of_set.samples >= loader.streams,
                f"{key} has {of_set.samples} training images, fewer than loader.streams ({loader.streams}), which all "
                "read of it; lower that",
            )
        sizes = [of_set.sizes for of_set in split.of_sets]
        return BlendedOrder(sizes, split.parts, loader.streams, batch_size, loader.block, seeds)
    if balance == NOT_BALANCED or split.samples < batch_size:
        return Order.of(split, loader.streams, batch_size, loader.block, seeds, repeats=repeats)
    labels = labels_of(split) if labels is None else labels
    given = steps_per_epoch(split.samples, loader.streams, batch_size) * (batch_size // loader.streams)  # by a stream
    shown = -(-given // repeats) * loader.streams  # all that it goes through, so that the classes have their shares
    counts = Balance(labels, weights_of(balance, labels, split.opened.rule.numbers), shown, seeds)
    return Order.of(split, loader.streams, batch_size, loader.block, seeds, counts, repeats)
