"""A trial that a worker trains beside others: what Tune's process does meanwhile. It holds no resources: it only waits.

In: a trial, the workers' places. Out: it has ended; scores went to Tune, and Tune's answers back.
"""

import time
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from platform.lanes.lane import Lane, LaneMember
from platform.lanes.places import TrialPlace
from platform.lanes.reasons import out_of_memory
from platform.sweep.trial_store import lane_of

if TYPE_CHECKING:
    from platform.tune.trial import ScoreReporter, Shared

POLL_EVERY_S = 0.2


class WorkerLost(Exception):
    """The process that trained a trial has ended."""


def train_beside_others(member: LaneMember, reporter: "ScoreReporter | None", shared: "Shared") -> None:
    """Have a worker train and evaluate a trial beside others. Where Tune ends the trial, it leaves the worker.

    Args:
        member: the trial.
        reporter: gets its scores; None: no scheduler looks at it.
        shared: the places, and the mailbox.

    Raises:
        WorkerLost: the worker's process has ended.
        Exception: what the training has raised.
        SystemExit: Tune ends the trial.
    """
    mailbox, places = shared.mailbox, shared.places
    place = _taken(member.name, places)
    try:
        worker = f"shared worker {place.worker}"
        lane = Lane(lane_of(member.name), [member], mailbox, index=shared.index, shared_worker=worker)
        training = place.actor.train.remote(lane, place, places, reporter is not None)
        while not ray.wait([training], timeout=POLL_EVERY_S)[0]:
            evaluation: Any = ray.get(mailbox.unanswered_scores.remote(member.name)) if reporter else None
            if reporter and evaluation:
                reporter.report(evaluation)
                ray.get(mailbox.continue_trial.remote(member.name))
        came_to_its_end = ray.get(training)
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except RayError as error:
        raise WorkerLost(f"the process of shared worker {place.worker} ended{out_of_memory(error)}") from error
    except BaseException:
        _leave(place, places)
        raise
    if not came_to_its_end:
        raise WorkerLost(f"shared worker {place.worker} was told to let it go")


def end_before(trial: str, shared: "Shared") -> None:
    """Have what another process of this trial has begun come to its end: two would write to one folder."""
    places = shared.places
    before: Any
    while before := ray.get(places.of.remote(trial)):
        _leave(before, places)
        time.sleep(POLL_EVERY_S)
    ray.get(shared.mailbox.continue_trial.remote(trial))  # an answer that nobody waits for any more


def _leave(place: TrialPlace, places: Any) -> None:
    try:
        ray.get(place.actor.dismiss.remote(place, places))
    except RayError:  # the worker is gone, or about to be
        places.free.remote(place.trial, place.number)


def _taken(trial: str, places: Any) -> TrialPlace:
    """A place, when there is one."""
    place: Any
    while (place := ray.get(places.take.remote(trial))) is None:
        time.sleep(POLL_EVERY_S)
    return place
