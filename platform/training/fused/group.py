"""Trainings of several members in one process, whose steps are made together.

In: a function for each member, which runs in a thread of its own. What a member does by itself (its loader, log steps,
evaluations, checkpoints) stays the code that it is. One thread runs at a time: a member hands on where it has a batch
and waits for its step, which is made once every member has one.

The members of an ensemble are there from the start, and what one of them raises ends all. A sweep's trials join and
leave one by one, and what one raises is its own (`is_open`).
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from platform.data.batch import Batch
from platform.training.fused.fair_lock import FairLock
from platform.training.fused.rounds import Rounds, Turn
from platform.training.fused.step import FusedMember
from platform.training.progress import Progress
from platform.training.step import StepResult

T = TypeVar("T")


class GroupEnded(BaseException):
    """Another member's training has ended the whole group; no error of this one's."""


class Dismissed(BaseException):
    """A member was told to leave its group; no error of its own."""


@dataclass(frozen=True)
class Place:
    """A member's place in a group.

    What waits here raises GroupEnded where another member has ended the group, and Dismissed where this one was told to
    leave it.
    """

    group: "Group"
    name: str
    progress: Progress  # is not stalled while the member waits for others
    kind: str = ""  # of its network and step: members of other kinds are in no step with it

    def step(self, member: FusedMember, batch: Batch, dtype: torch.dtype) -> StepResult | None:
        """Wait until every member has a batch, and make the steps of all; returns this one's result, or None where it
        has to make its step by itself: no other is alike, or they cannot be computed together.

        Args:
            member: its network, optimiser and settings.
            batch: its global batch.
            dtype: of matrix products and convolutions.

        Raises:
            OutOfMemory: of the GPU.
        """
        return self.group.step(self, member, batch, dtype)

    def gather(self, given: T) -> dict[str, T]:
        """Wait until every member has given something of the kind; returns what they gave, in their order and the same
        for all. Once a training. Members that come and go have only their own."""
        return self.group.gather(self, given)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Wait for somebody else in the block, who may take long: the others go on without this member. Only of members
        that come and go."""
        with self.group.away(self):
            yield

    def leave(self) -> None:
        """It needs no further step."""
        self.group.leave(self.name)

    def wait_for_others(self) -> None:
        """Wait, having left, until nobody needs a further step; members that come and go wait for nobody."""
        self.group.wait_for_others(self)

    def hand_on(self) -> None:
        """Have others go first, within work that is long; only of members that come and go."""
        self.group.hand_on(self)


class Group:
    """Members that are trained side by side. All but `run` and `join` is called by the thread that runs.

    Args:
        device: that they are trained on.
        is_open: members come and go, each by a `join`.
    """

    def __init__(self, device: torch.device, *, is_open: bool = False) -> None:
        self._device, self._is_open = device, is_open
        self._lock: Any = FairLock()  # is held by the one thread that runs
        self._running = threading.Condition(self._lock)
        self._present: list[str] = []  # members whose training goes on, in their order
        self._alone: set[str] = set()  # those of them that make their steps by themselves
        self._turns: dict[str, Turn] = {}
        self._rounds = Rounds()
        self._ended = False
        self._dismissed: dict[str, threading.Event] = {}  # of members that come and go
        self._given: dict[str, Any] = {}  # of members that have come to `gather`
        self._gathered: dict[str, Any] = {}  # the same once all have

    @property
    def fused_steps(self) -> int:
        """How many passes of several members there were."""
        return self._rounds.fused_steps

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
            self._settle_thread(cpus)
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

    def join(self, name: str, run: Callable[[], None], cpus: int, dismissed: threading.Event) -> None:
        """Run one more member's function, in a thread of the caller's that is this member's alone, beside those that
        are there; they go on with it from their next step, and without it when it ends, however it does.

        Args:
            name: of the member, of which none is there.
            run: trains it, at a place of that name.
            cpus: for the arithmetic of its thread.
            dismissed: any thread sets it to have the member leave where it next waits for others.

        Raises:
            Dismissed: it was.
            BaseException: what its function raises; no other member hears of it.
        """
        self._settle_thread(cpus)
        with self._running:
            if dismissed.is_set():  # while it waited to be let in: nothing of it has begun
                raise Dismissed
            self._dismissed[name] = dismissed
            self._present.append(name)
            try:
                run()
            finally:
                del self._dismissed[name]
                self.leave(name)

    def take_steps_of(self, name: str) -> int:
        """How many steps of a member that has left were made together with others', once. Any thread may ask."""
        return self._rounds.steps_of.pop(name, 0)

    def step(self, place: Place, member: FusedMember, batch: Batch, dtype: torch.dtype) -> StepResult | None:
        """See `Place.step`."""
        self._let_others_in(place)
        if place.kind in self._rounds.apart:
            self._alone.add(place.name)
            self._running.notify_all()  # they need not wait for it
            return None
        turn = self._turns[place.name] = Turn(place.kind, member, batch, dtype)
        while not turn.is_over:
            if self._ended:
                raise GroupEnded
            if self._turns.keys() == set(self._present) - self._alone:
                turns = {name: self._turns[name] for name in self._present if name in self._turns}
                self._turns = {}
                self._rounds.make(turns)
                self._running.notify_all()
            else:
                self._wait(place)
        if turn.error:
            raise turn.error
        return turn.result

    def gather(self, place: Place, given: T) -> dict[str, T]:
        """See `Place.gather`."""
        if self._is_open:
            return {place.name: given}
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

    @contextlib.contextmanager
    def away(self, place: Place) -> Iterator[None]:
        """See `Place.away`."""
        if not self._is_open:
            yield
            return
        self.leave(place.name)
        self._lock.release()
        try:
            yield
        finally:
            with place.progress.excused():
                self._lock.acquire()
            self._present.append(place.name)
        self._require_wanted(place)

    def wait_for_others(self, place: Place) -> None:
        """See `Place.wait_for_others`."""
        while self._present and not self._ended and not self._is_open:
            self._wait(place)
        if self._ended:
            raise GroupEnded

    def hand_on(self, place: Place) -> None:
        """See `Place.hand_on`."""
        if self._is_open:
            self._let_others_in(place)

    def leave(self, name: str) -> None:
        """A member needs no further step: the others go on without it, and its parameters are its own again."""
        if name in self._present:
            self._present.remove(name)
            self._alone.discard(name)
            self._turns.pop(name, None)
            self._running.notify_all()  # first, as what follows takes memory, which may not be there
            self._rounds.leave(name)

    def _settle_thread(self, cpus: int) -> None:
        torch.set_num_threads(cpus)  # of this thread, as is CUDA's current device
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)

    def _let_others_in(self, place: Place) -> None:
        """Whoever waits to run, be it to join, goes first: a member that is left alone would never wait for any."""
        if self._lock.waiting:
            with place.progress.excused():
                self._lock.hand_on()
        self._require_wanted(place)

    def _require_wanted(self, place: Place) -> None:
        dismissed = self._dismissed.get(place.name)
        if dismissed and dismissed.is_set():
            raise Dismissed

    def _wait(self, place: Place) -> None:
        """Until another has handed on. Only who waits is excused: who makes the steps of all may stall."""
        with place.progress.excused():
            self._running.wait()
