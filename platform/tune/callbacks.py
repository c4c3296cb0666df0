"""What is told by Ray Tune while a sweep goes on: trials that begin, fail, pause and end.

In: Tune's calls, from its thread. Out: worker groups and places of trials that do not run any more are given back.
"""

import time
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback

from platform.cluster.nodes import release
from platform.lanes.mailbox import GroupEvent
from platform.lanes.places import TrialPlace
from platform.sweep.trial_store import lane_of

LOOK_EVERY_S = 1.0
RUNNING, PAUSED = "RUNNING", "PAUSED"  # Tune's words


class TrialWatch(tune.Callback):
    """Sees to the worker groups and places of trials that Tune has ended or paused, and tells the launcher of those
    that died.

    Args:
        mailbox: Ray's handle of a Mailbox.
        places: that of the Places at shared workers; None: there are none.
    """

    def __init__(self, mailbox: Any, places: Any = None) -> None:
        self._mailbox, self._places = mailbox, places
        self._looked_at = 0.0
        self._started: dict[int, Any] = {}  # by lane
        self._live: dict[int, Any] = {}  # those of them that have not ended

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note which trial a lane's number is."""
        lane = lane_of(str(trial))
        self._started[lane] = self._live[lane] = trial

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Forget it."""
        self._live.pop(lane_of(str(trial)), None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Forget it."""
        self._live.pop(lane_of(str(trial)), None)

    def paused(self) -> int:
        """How many trials are paused."""
        return sum(trial.status == PAUSED for trial in self._live.values())

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Give back, once a second, what trials hold that do not run any more."""
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            holding = ray.get(self._mailbox.holding.remote())  # a few of what may be thousands of trials
            if idle := [lane for lane in holding if self._is_idle(lane)]:
                release(ray.get(self._mailbox.take_groups.remote(idle)))
            if self._places:
                taken: list[TrialPlace] = ray.get(self._places.taken.remote())
                for place in taken:
                    if self._is_idle(lane_of(place.trial)):
                        place.actor.dismiss.remote(place, self._places, wait=False)  # it comes again in a second

    def _is_idle(self, lane: int) -> bool:
        return lane in self._started and self._started[lane].status != RUNNING

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell the launcher that a trial's process died and starts again."""
        event = GroupEvent(lane_of(str(trial)), "failed", "its process ended")
        self._mailbox.put.remote(event)


class Silence(TrialProgressCallback):
    """In the place of Tune's own, which prints of trials without a score at any `verbose`."""

    def _print(self, msg: str) -> None:
        pass
