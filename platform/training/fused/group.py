"""Trainings of several members in one process, whose steps are made together.

In: a function for each member, which runs in a thread of its own. What a member does by itself (its loader, log steps,
evaluations, checkpoints) stays the code that it is. One thread runs at a time: a member hands on where it has a batch
and waits for its step, which is made once every member has one.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from platform.data.batch import Batch
from platform.training.fused.network import FusedNetwork
from platform.training.fused.operations import NotFusable
from platform.training.fused.step import FusedMember, fused_step
from platform.training.memory import OutOfMemory
from platform.training.progress import Progress
from platform.training.step import StepResult

log = logging.getLogger("platform.training")
T = TypeVar("T")


class GroupEnded(BaseException):
    """Another member's training has ended the whole group; no error of this one's."""


@dataclass
class _Turn:
    """A member that waits for its step."""

    member: FusedMember
    batch: Batch
    dtype: torch.dtype
    result: StepResult | None = None
    error: Exception | None = None
    is_over: bool = False


@dataclass(frozen=True)
class Place:
    """A member's place in a group."""

    group: "Group"
    name: str
    progress: Progress  # is not stalled while the member waits for others

    def step(self, member: FusedMember, batch: Batch, dtype: torch.dtype) -> StepResult | None:
        """Wait until every member has a batch, and make the steps of all; returns this one's result, or None where it
        has to make its step by itself: no other is left, or they cannot be computed together.

        Args:
            member: its network, optimiser and settings.
            batch: its global batch.
            dtype: of matrix products and convolutions.

        Raises:
            OutOfMemory: of the GPU.
            GroupEnded: another member has ended the group.
        """
        return self.group.step(self, member, batch, dtype)

    def gather(self, given: T) -> dict[str, T]:
        """Wait until every member has given something of the kind; returns what they gave, in their order and the same
        for all. Once a training.

        Raises:
            GroupEnded: another member has ended the group.
        """
        return self.group.gather(self, given)

    def leave(self) -> None:
        """It needs no further step."""
        self.group.leave(self.name)

    def wait_for_others(self) -> None:
        """Wait, having left, until nobody needs a further step.

        Raises:
            GroupEnded: another member has ended the group.
        """
        self.group.wait_for_others(self)


class Group:
    """Members that are trained side by side. All but `run` is called by the thread that runs.

    Args:
        device: that they are trained on.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._running = threading.Condition()  # its lock is held by the one thread that runs
        self._present: list[str] = []  # members whose training goes on, in their order
        self._turns: dict[str, _Turn] = {}
        self._network: FusedNetwork | None = None
        self._apart = ""  # why each makes its steps by itself; empty: they do not
        self._ended = False
        self._given: dict[str, Any] = {}  # of members that have come to `gather`
        self._gathered: dict[str, Any] = {}  # the same once all have
        self.fused_steps = 0

    def run(self, members: Mapping[str, Callable[[], None]]) -> None:
        """Run every member's function; returns when all of them have.

        A function that raises ends the group: others that wait for a step have a `GroupEnded` there.

        Args:
            members: name -> what trains it, at a place of that name.

        Raises:
            BaseException: the first that a member raised.
        """
        errors: list[BaseException] = []
        self._present = list(members)
        cpus = torch.get_num_threads()

        def run(name: str) -> None:
            torch.set_num_threads(cpus)  # of this thread, as is CUDA's current device
            if self._device.type == "cuda":
                torch.cuda.set_device(self._device)
            with self._running:
                try:
                    if not self._ended:
                        members[name]()
                except BaseException as error:
                    if not isinstance(error, GroupEnded):
                        errors.append(error)
                    self._ended = True
                    self._running.notify_all()
                finally:
                    self.leave(name)

        threads = [threading.Thread(target=run, args=(name,), name=name, daemon=True) for name in members]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def step(self, place: Place, member: FusedMember, batch: Batch, dtype: torch.dtype) -> StepResult | None:
        """See `Place.step`."""
        if self._apart:
            return None
        turn = self._turns[place.name] = _Turn(member, batch, dtype)
        while not turn.is_over:
            if self._ended:
                raise GroupEnded
            if self._turns.keys() == set(self._present):
                self._make_steps()
            else:
                self._wait(place)
        if turn.error:
            raise turn.error
        return turn.result

    def gather(self, place: Place, given: T) -> dict[str, T]:
        """See `Place.gather`."""
        self._given[place.name] = given
        self._running.notify_all()
        while not self._gathered:
            if self._ended:
                raise GroupEnded
            if self._given.keys() >= set(self._present):
                self._gathered = {name: self._given[name] for name in self._present}
            else:
                self._wait(place)
        return self._gathered

    def wait_for_others(self, place: Place) -> None:
        """See `Place.wait_for_others`."""
        while self._present and not self._ended:
            self._wait(place)
        if self._ended:
            raise GroupEnded

    def _wait(self, place: Place) -> None:
        """Until another has handed on. Only who waits is excused: who makes the steps of all may stall."""
        with place.progress.excused():
            self._running.wait()

    def leave(self, name: str) -> None:
        """A member needs no further step: the others go on without it, and its parameters are its own again."""
        if name in self._present:
            self._present.remove(name)
            self._turns.pop(name, None)
            self._release()
            self._running.notify_all()

    def _make_steps(self) -> None:
        turns = [self._turns[name] for name in self._present]
        self._turns = {}
        try:
            if self._are_alike(turns):
                self._compute(turns)
        except NotFusable as error:  # by the first step, if at all: nobody has changed
            self._apart = str(error)
            self._release()
            log.warning("%s are trained one after another: %s", ", ".join(self._present), error)
        except torch.OutOfMemoryError as error:
            advice = OutOfMemory(
                f"out of memory with {len(turns)} members together, {len(turns[0].batch.labels_N)} images each; give a "
                f"smaller number than {len(turns)} in cluster.fuse, or lower training.max_batch_per_worker"
            )
            advice.__cause__ = error
            self._fail(turns, advice)
        except Exception as error:
            self._fail(turns, error)
        for turn in turns:
            turn.is_over = True
        self._running.notify_all()

    def _compute(self, turns: list[_Turn]) -> None:
        members, batches = [turn.member for turn in turns], [turn.batch for turn in turns]
        self._network = self._network or FusedNetwork([member.module for member in members])
        for turn, result in zip(turns, fused_step(self._network, members, batches, turns[0].dtype), strict=True):
            turn.result = result
        self.fused_steps += 1

    def _fail(self, turns: list[_Turn], error: Exception) -> None:
        for turn in turns:
            turn.error = error

    def _are_alike(self, turns: list[_Turn]) -> bool:
        """Whether there are several, of as many images of one size. Members that go on from other steps may be at
        another size of a schedule, and come together later."""
        kinds = {(turn.batch.images.shape, turn.dtype, turn.member.cfg.training.max_batch_per_worker) for turn in turns}
        return len(turns) > 1 and len(kinds) == 1

    def _release(self) -> None:
        if self._network:
            self._network.release()
        self._network = None
