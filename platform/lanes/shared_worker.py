"""A worker that trains several trials of a sweep together: they come and leave one by one, and what one of them raises
is its own.

In: trials, each a lane of one member. Out: they have ended; whoever asked for that is told how.
"""

import contextlib
import functools
import os
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, RayError

from platform.experiment.run_logs import note
from platform.lanes.lane import Lane
from platform.lanes.lone_worker import LoneWorker
from platform.lanes.mailbox import ANSWER_S
from platform.lanes.places import TrialPlace
from platform.lanes.worker import run_lane
from platform.training.fused.group import Dismissed, Group
from platform.training.learning_curve import EvaluationPoint

POLL_EVERY_S = 0.1


@dataclass
class _Training:
    """A trial's, in a thread of its own."""

    is_to_leave: threading.Event = field(default_factory=threading.Event)
    has_left: threading.Event = field(default_factory=threading.Event)
    was_dismissed: bool = False
    error: BaseException | None = None


class SharedWorker(LoneWorker):
    """The actor. Each of its calls has a thread, as trials last.

    Args:
        gpus: of this worker.
    """

    def __init__(self, gpus: int) -> None:
        super().__init__()
        self._device = torch.device("cuda", 0) if gpus else torch.device("cpu")
        self._group = Group(self._device, is_open=True)
        self._trainings: dict[int, _Training] = {}  # by the number of a place
        self._refused: set[int] = set()  # places that were taken away before their trial came
        self._guard = threading.Lock()  # of both

    def run(self, lane: Lane, gpus: int) -> None:
        """Be there for trials, until the process is ended."""
        threading.Event().wait()

    def train(self, lane: Lane, place: TrialPlace, places: Any, is_scheduled: bool) -> bool:
        """Train and evaluate a trial beside the others, and return when the mailbox has all that was told.

        Args:
            lane: its one member is the trial.
            place: the trial's.
            places: Ray's handle of a Places, which is told when the trial has left.
            is_scheduled: whether the trial waits after each evaluation for the scheduler's answer.

        Returns:
            whether it came to its end; False: it was told to leave.

        Raises:
            Exception: what its training raises; the others go on.
        """
        training = _Training()
        with self._guard:
            if place.number in self._refused:
                return False
            self._trainings[place.number] = training
        if is_scheduled:
            lane = replace(lane, on_evaluation=functools.partial(self._ask, lane.mailbox, training))
        run = functools.partial(self._run, lane, place.trial, training)
        threading.Thread(target=run, name=place.trial, daemon=True).start()
        training.has_left.wait()
        together = self._group.take_steps_of(place.trial)
        note(f"{place.trial}: {together} of its steps were made together with those of other trials")
        with contextlib.suppress(RayError, GetTimeoutError):  # it takes calls in their order: this one is the last
            ray.get(lane.mailbox.claims.remote(), timeout=ANSWER_S)
        del self._trainings[place.number]
        places.free.remote(place.trial, place.number, together)
        if training.error:
            _raise(training.error)
        return not training.was_dismissed

    def dismiss(self, place: TrialPlace, places: Any, *, wait: bool = True) -> None:
        """Have a trial leave its place, and `wait` until it has; one that has not come yet is not taken any more."""
        with self._guard:
            training = self._trainings.get(place.number)
            if training is None:
                self._refused.add(place.number)
        if training is None:
            places.free.remote(place.trial, place.number)
            return
        training.is_to_leave.set()
        if wait:
            training.has_left.wait()

    def _run(self, lane: Lane, trial: str, training: _Training) -> None:
        cpus = lane.members[0].config.cluster.cpus_per_worker

        def train() -> None:
            lane.mailbox.holds.remote(lane.number)  # until now others had the worker
            run_lane(lane, 0, 1, self._device, self._leaves.is_set, self._group)

        try:
            self._group.join(trial, train, cpus, training.is_to_leave)
        except Dismissed:
            training.was_dismissed = True
        except BaseException as error:
            training.error = error
        finally:
            training.has_left.set()

    def _ask(self, mailbox: Any, training: _Training, trial: str, evaluation: EvaluationPoint) -> None:
        """Have the scheduler look at a trial's scores, and wait until the trial may go on, or is to leave."""
        ray.get(mailbox.ask_scheduler.remote(trial, evaluation))
        while not training.is_to_leave.is_set() and ray.get(mailbox.unanswered_scores.remote(trial)):
            time.sleep(POLL_EVERY_S)


def _raise(error: BaseException) -> None:
    """Raise a trial's error. One of the device is all trials': nothing can be computed in this process any more."""
    if isinstance(error, torch.AcceleratorError):
        note("the device is unusable: this process ends, and its trials go on from their newest checkpoints")
        os._exit(1)
    raise error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
