"""The batches of members that are trained together and see the images in one order: each image is decoded once.

In: each member's feed, and the step that it goes on from. Out: a loader for each, which gives the bits of a loader of
its own. Members that go on from other steps, or fall behind, read by themselves.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from platform.data.batch import Batch
from platform.data.hybrid_loader import Division
from platform.data.image_sizes import ImageSizes
from platform.data.sampling import draws_used
from platform.data.shared_loader import MemberDraws, SharedLoader
from platform.data.train_loader import TrainLoader
from platform.data.training_order import draw_seed
from platform.training.feed import BatchSource, Feed
from platform.training.fused.group import Place

MOST_WAITING = 2  # batches that a member has not taken


@dataclass
class Offer:
    """What a member needs, for the others to see whether they need the same."""

    name: str
    steps: range
    sizes: ImageSizes
    repeats: int  # of a sample in a batch, which the order depends on
    draws: MemberDraws
    batches: "SharedBatches | None" = field(default=None, compare=False)  # of all that need the same, at the first

    def fits(self, other: "Offer") -> bool:
        """Whether one loader can read for both."""
        return (self.steps.start, self.sizes, self.repeats) == (other.steps.start, other.sizes, other.repeats)


class SharedBatches:
    """One loader for several members, who take each step at about the same time. All is called by the thread that runs.

    Args:
        open_loader: makes the loader, for these members.
        offers: of the members.
    """

    def __init__(self, open_loader: Callable[[list[MemberDraws]], SharedLoader], offers: list[Offer]) -> None:
        self._open = open_loader
        self._offers = {offer.name: offer for offer in offers}
        self._waiting: dict[str, dict[int, Batch]] = {offer.name: {} for offer in offers}  # by step
        self._next = offers[0].steps.start
        self._loader: SharedLoader | None = None
        self._steps: Iterator[list[Batch]] = iter(())
        self._corrupt = 0
        self.decode_s = dict.fromkeys(self._offers, 0.0)  # of each member: its part of the threads' time

    def take(self, name: str, step: int) -> Batch | None:
        """A member's batch of a step, the one after the last that it took; None: from here on it reads by itself."""
        if name not in self._offers:
            return None
        if step not in self._waiting[name]:
            self._read()
        return self._waiting[name].pop(step)

    def leave(self, name: str) -> None:
        """A member needs no further batch: the others' are read without it."""
        if self._offers.pop(name, None):
            self._waiting.pop(name)
            self._close()

    @property
    def corrupt_samples(self) -> int:
        """Those of this pass that could not be decoded."""
        return self._loader.corrupt.count if self._loader else self._corrupt

    def _read(self) -> None:
        """Have the next step of all members."""
        for name in [name for name, batches in self._waiting.items() if len(batches) >= MOST_WAITING]:
            self.leave(name)  # its steps are not made with the others': their batches would fill the memory
        if self._loader is None:
            self._loader = self._open([offer.draws for offer in self._offers.values()])
            self._loader.corrupt.count = self._corrupt
            self._steps = self._loader.member_steps(self._next, max(each.steps.stop for each in self._offers.values()))
        before_s = self._loader.decode_s
        for name, batch in zip(self._offers, next(self._steps), strict=True):
            self._waiting[name][self._next] = batch
            self.decode_s[name] += (self._loader.decode_s - before_s) / len(self._offers)
        self._next += 1

    def _close(self) -> None:
        if self._loader:
            self._corrupt = self._loader.corrupt.count
            self._loader.close()
        self._loader = None


class MemberLoader:
    """A member's batches out of those of several, then, if it falls behind, by a loader of its own. Close it.

    Args:
        name: the member's.
        batches: of the members.
        own: the member's loader.
    """

    def __init__(self, name: str, batches: SharedBatches, own: TrainLoader) -> None:
        self._name, self._batches, self._own = name, batches, own
        self._waited_s = 0.0
        self.threads = own.threads

    @property
    def waited_s(self) -> float:
        """Seconds that `steps` has waited for batches."""
        return self._waited_s + self._own.waited_s

    @property
    def decode_s(self) -> float:
        """Of the threads together: what counts for this member."""
        return self._batches.decode_s[self._name] + self._own.decode_s

    def counts(self) -> dict[str, float]:
        """As `TrainLoader.counts`."""
        found = self._own.counts()
        return found | {"data/corrupt_samples": found["data/corrupt_samples"] + self._batches.corrupt_samples}

    def steps(self, start: int, stop: int) -> Iterator[Batch]:
        """The member's batches `start` .. `stop` - 1; raises what `TrainLoader.steps` does."""
        for step in range(start, stop):
            asked = time.perf_counter()
            batch = self._batches.take(self._name, step)
            self._waited_s += time.perf_counter() - asked
            if batch is None:
                yield from self._own.steps(step, stop)
                return
            yield batch

    def close(self) -> None:
        """The others go on without it."""
        self._batches.leave(self._name)
        self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_loader(
    feed: Feed, sizes: ImageSizes, steps: range, place: Place | None, division: Division | None = None
) -> BatchSource:
    """A training's loader: of its own, or one with others that are trained together with it and see the same images.

    Args:
        feed: the training's.
        sizes: of its images at each step.
        steps: that it has still to do.
        place: among the others; None: it is trained by itself.
        division: of the images between the decoders of `loader.decoder=auto`, where it is known.

    Raises:
        GroupEnded: another member has ended the group.
    """
    own, cfg = feed.open(sizes, division), feed.cfg
    if place is None or cfg.ensemble.order_key is None or cfg.loader.decoder != "cpu":
        return own
    drawn = MemberDraws(cfg.sampling, draw_seed(cfg), draws_used(cfg.transforms))
    offer = Offer(place.name, steps, sizes, cfg.sampling.repeats, drawn)
    offers = [each for each in place.gather(offer).values() if each.fits(offer)]
    if len(offers) == 1:
        return own

    def opened(members: list[MemberDraws]) -> SharedLoader:
        pin = feed.worker.device.type == "cuda"
        share = {"threads": feed.worker.threads, "prefetch": cfg.loader.prefetch_batches, "pin": pin}
        return SharedLoader(feed.split, feed.order, cfg.data, members, sizes=sizes, **share)

    first = offers[0]
    first.batches = first.batches or SharedBatches(opened, offers)
    return MemberLoader(place.name, first.batches, own)
