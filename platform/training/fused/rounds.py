"""The steps of members that each have a batch: of those that are alike in one pass, of the others by themselves.

In: a turn of each member. Out: its result, its error, or nothing: it has to make its step by itself.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from platform.data.batch import Batch
from platform.text import first_line
from platform.training.fused.network import FusedNetwork
from platform.training.fused.operations import NotFusable
from platform.training.fused.step import FusedMember, NotComputed, NotFinite, NotUpdated, fused_step
from platform.training.memory import OutOfMemory
from platform.training.step import StepResult

log = logging.getLogger("platform.training")


@dataclass
class Turn:
    """A member that waits for its step."""

    kind: str  # of its network and step: no two of other kinds are alike
    member: FusedMember
    batch: Batch
    dtype: torch.dtype
    result: StepResult | None = None
    error: Exception | None = None
    is_over: bool = False


class Rounds:
    """Makes a step of each member at a time, and keeps the networks of those that are computed together."""

    def __init__(self) -> None:
        self._networks: dict[tuple[str, ...], FusedNetwork] = {}  # by the names of those in it; nobody is in two
        self._failed: set[tuple[str, ...]] = set()  # names of those whose last pass together ended in an error
        self.apart: dict[str, str] = {}  # kinds whose members cannot be computed together, and why
        self.fused_steps = 0  # passes of several members
        self.steps_of: Counter[str] = Counter()  # of each member that is there: its steps in them

    def make(self, turns: Mapping[str, Turn]) -> None:
        """Make the steps of members, by name. Those that go on from other steps may be at another size of a schedule,
        and come together later."""
        alike: dict[object, list[str]] = {}
        for name, turn in turns.items():
            most = turn.member.cfg.training.max_batch_per_worker
            alike.setdefault((turn.kind, turn.batch.images.shape, turn.dtype, most), []).append(name)
        for names in alike.values():
            if len(names) > 1:
                self._make(names, [turns[name] for name in names])
        for turn in turns.values():
            turn.is_over = True

    def _make(self, names: Sequence[str], turns: Sequence[Turn]) -> None:
        try:
            self._try(names, turns)
        except Exception as error:  # of giving parameters back too, which takes memory: nobody waits for ever
            _fail(turns, error)

    def _try(self, names: Sequence[str], turns: Sequence[Turn]) -> None:
        try:
            self._compute(names, turns)
            self._failed.discard(tuple(names))
        except NotFinite:  # until whoever it is has noticed, by its next log step
            return
        except NotFusable as error:  # by the first step, if at all: nobody has changed
            self._keep_apart(names, turns, str(error))
        except NotComputed as error:  # nobody has changed: whose error it is meets it again, the others do not
            self._note_failure(names, turns, first_line(error.__cause__ or error))
        except torch.OutOfMemoryError as error:
            advice = OutOfMemory(
                f"out of memory with {len(turns)} members together, {len(turns[0].batch.labels_N)} images each; give a "
                f"smaller number than {len(turns)} in cluster.fuse, or lower training.max_batch_per_worker"
            )
            advice.__cause__ = error
            _fail(turns, advice)

    def _note_failure(self, names: Sequence[str], turns: Sequence[Turn], why: str) -> None:
        """What fails again after each has made its step by itself is no error of one of them."""
        if tuple(names) in self._failed:
            self._keep_apart(names, turns, why)
            return
        self._failed.add(tuple(names))
        self.release(names)
        log.warning("a step of %s together ended in an error (%s); each makes it by itself", ", ".join(names), why)

    def _keep_apart(self, names: Sequence[str], turns: Sequence[Turn], why: str) -> None:
        self.apart[turns[0].kind] = why
        self.release(names)
        log.warning("%s make their steps one after another: %s", ", ".join(names), why)

    def _compute(self, names: Sequence[str], turns: Sequence[Turn]) -> None:
        members, batches = [turn.member for turn in turns], [turn.batch for turn in turns]
        network = self._network(names, members)
        try:
            results = fused_step(network, members, batches, turns[0].dtype)
        except NotUpdated as error:
            results = error.results
            for number, own in error.errors.items():
                turns[number].error = own
        for turn, result in zip(turns, results, strict=True):
            turn.result = result
        self.fused_steps += 1
        self.steps_of.update(names)

    def _network(self, names: Sequence[str], members: Sequence[FusedMember]) -> FusedNetwork:
        found = self._networks.get(tuple(names))
        if found is None:
            self.release(names)
            found = self._networks[tuple(names)] = FusedNetwork([member.module for member in members])
        return found

    def leave(self, name: str) -> None:
        """A member needs no further step, for now: its parameters are its own again."""
        self._failed = {each for each in self._failed if name not in each}
        self.release([name])

    def release(self, names: Sequence[str]) -> None:
        """Give members, and those that are computed with them, parameters of their own again."""
        for together in [together for together in self._networks if not set(names).isdisjoint(together)]:
            self._networks.pop(together).release()


def _fail(turns: Sequence[Turn], error: Exception) -> None:
    for turn in turns:
        turn.error = error
