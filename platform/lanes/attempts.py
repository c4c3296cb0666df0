"""The launcher's record of attempts: when each member was started, how far it came, why it ended.

In: beats and events. Out: `attempts.json` of each member, kept up to date so that a killed launcher loses a second
(a few of them where hundreds of members write to a slow disk).
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Collection
from typing import TYPE_CHECKING

from platform.experiment.cost import TimeTogether, share_out
from platform.experiment.folder import ExperimentFolder
from platform.experiment.goodput import LAUNCHER_LOST, UNDER_WAY, Attempt, read_attempts, write_attempts
from platform.training.progress import TESTING

if TYPE_CHECKING:
    from platform.lanes.mailbox import Beat, GroupEvent

WRITE_EVERY_S = 1.0
WRITE_SHARE = 0.05  # of the launcher's time at most: hundreds of files a second are slow on a shared file system
NOTICE_HOLDS_S = 300.0  # clouds give 30 to 120 seconds


class Attempts:
    """Those of the members of one launch, after those of earlier ones."""

    def __init__(self, folder: ExperimentFolder, names: list[str]) -> None:
        self._folder = folder
        self._launched = time.time()
        self._of: dict[str, list[Attempt]] = {}
        self._began: dict[str, float] = {}
        self._waiting: dict[str, None] = {}  # those that this launch has neither begun nor ended
        self._lane_of: dict[str, int] = {}
        self._team_of: dict[str, str] = {}  # members that are trained together have the same
        self._at_shared_workers: dict[str, TimeTogether] = {}  # of trials that are trained together, by their worker
        self._on: defaultdict[int, dict[str, None]] = defaultdict(dict)  # members that have begun on a lane
        self._lane_free_at: dict[int, float] = {}  # when its last member left
        self._notices: dict[int, GroupEvent] = {}  # of preemption, of each lane
        self._changed: set[str] = set()
        self._write_at = 0.0  # by the monotonic clock; not before
        for name in names:
            self.add(name)

    def add(self, name: str, began: float | None = None) -> None:
        """A member that this launch runs; a trial of a sweep began when it was its turn, members with the launch."""
        self._began[name], self._waiting[name] = began or self._launched, None
        attempts = self._of[name] = read_attempts(self._folder.member(name).path)
        if attempts and attempts[-1].reason == UNDER_WAY:
            attempts[-1].reason = LAUNCHER_LOST
        self._changed.add(name)

    def of(self, member: str) -> list[Attempt]:
        """Those of a member, of earlier launches too; any thread may ask."""
        return list(self._of.get(member, ()))

    @property
    def names(self) -> list[str]:
        """The members that this launch runs; any thread may ask."""
        return list(self._of)

    @property
    def count(self) -> int:
        """How many these are."""
        return len(self._of)

    @property
    def waiting(self) -> list[str]:
        """Those of them that this launch has not begun yet; any thread may ask."""
        return list(self._waiting)

    def waiting_s(self, member: str, now: float) -> float:
        """How long a member that this launch has not begun yet has waited for its workers; 0: it has begun."""
        begun = any(attempt.started >= self._launched for attempt in self.of(member))
        return 0.0 if begun else max(now - self._began[member], 0.0)

    def beat(self, beat: "Beat") -> None:
        """Take in where a worker is. Rank 0 speaks for all."""
        self._move(beat.member, beat.lane)
        self._team_of[beat.member] = beat.team or beat.member
        attempts = self._of[beat.member]
        if beat.rank != 0:
            if attempts and attempts[-1].reason == UNDER_WAY and beat.node not in attempts[-1].nodes:
                attempts[-1].nodes = sorted({*attempts[-1].nodes, beat.node})
            return
        if not attempts or attempts[-1].started != beat.started:
            attempts.append(self._begin(beat, attempts))
            if beat.team and beat.team not in self._of:  # no member is its first: it is a shared worker
                self._at_shared_workers.setdefault(beat.team, TimeTogether()).add(beat.member, attempts[-1])
            self._waiting.pop(beat.member, None)
        attempt = attempts[-1]
        if attempt.reason != UNDER_WAY:  # a beat that came late
            return
        if len(attempts) > 1:  # workers outlive a killed launcher by seconds, and may have saved
            attempts[-2].reached = max(attempts[-2].reached, beat.from_step)
        attempt.from_step = max(beat.from_step, 0)
        attempt.first_step_at = beat.first_step_at
        if beat.step > attempt.reached:
            attempt.reached, attempt.last_step_at = beat.step, beat.last_step_at or beat.moved_at
        if beat.doing == TESTING and not attempt.evaluating_at:
            attempt.evaluating_at = beat.at
        attempt.reached = max(attempt.reached, attempt.from_step)
        attempt.ended = beat.at
        self._changed.add(beat.member)

    def event(self, event: "GroupEvent") -> list[str]:
        """Note why a lane's group is started again; returns the members that it was training, of which there are
        several where they are trained together."""
        members = self._current(event.lane)
        if event.kind == "preempted":
            self._notices[event.lane] = event
        if members and event.kind in ("failed", "resized"):
            notice = self._notices.pop(event.lane, None)
            announced = notice is not None and event.time - notice.time < NOTICE_HOLDS_S
            for member in members:
                self.end(member, f"preempted: {notice.text}" if announced and notice else event.text, event.time)
        return members

    def end(self, member: str, reason: str, at: float) -> None:
        """A member's attempt is over.

        Args:
            member: its name.
            reason: why, for people.
            at: seconds since the epoch.
        """
        attempts = self._of[member]
        self._waiting.pop(member, None)
        if attempts and attempts[-1].reason == UNDER_WAY:
            attempts[-1].reason, attempts[-1].ended = reason, at
            self._free(member, at)
            self._changed.add(member)

    def _free(self, member: str, at: float) -> None:
        """A lane's member has left. The first beat of the next one may have come before this was told: until now it has
        waited for the lane, unless both are trained together."""
        lane = self._lane_of[member]
        self._lane_free_at[lane] = at
        current = self._current(lane)
        if any(self._team_of[other] == self._team_of[member] for other in current):
            return
        self._notices.pop(lane, None)
        for following in current:
            attempt = self._of[following][-1]
            waited_s = max(min(at, attempt.started) - attempt.began, 0.0)
            attempt.began, attempt.queued_s = attempt.began + waited_s, attempt.queued_s + waited_s
            self._changed.add(following)

    def close(self, reason: str) -> None:
        """End all that are under way."""
        for member in self._of:
            self.end(member, reason, time.time())
        self.write(now=True)

    def write(self, *, now: bool = False) -> None:
        """Write what has changed, at most once a second, and more rarely where that takes long, unless `now`."""
        began = time.monotonic()
        if not now and began < self._write_at:
            return
        self._share_out(self._changed)
        with contextlib.suppress(OSError):  # a full disk: the members' own writes say so
            for member in list(self._changed):
                if self._of[member]:
                    write_attempts(self._folder.member(member).path, self._of[member])
                self._changed.discard(member)
        took_s = time.monotonic() - began
        self._write_at = began + max(WRITE_EVERY_S, took_s / WRITE_SHARE)

    def _begin(self, beat: "Beat", before: list[Attempt]) -> Attempt:
        if before and before[-1].reason == UNDER_WAY:
            self.end(beat.member, "its workers died", before[-1].ended)
        if before and before[-1].started >= self._launched:
            waits_from = free_at = before[-1].ended
        else:
            waits_from = self._began[beat.member]
            free_at = max(self._lane_free_at.get(beat.lane, 0.0), waits_from)
        began = max(free_at, beat.held_since or beat.started)  # a lane that is free may still wait for room
        return Attempt(
            began,
            beat.started,
            max(beat.from_step, 0),
            workers=beat.world,
            nodes=[beat.node],
            queued_s=began - waits_from,
            cpus_per_worker=beat.cpus,
            gpus_per_worker=beat.gpus,
        )

    def _current(self, lane: int) -> list[str]:
        """The members that a lane trains. Looks at the lane's own: a sweep may have had thousands of trials."""
        return [member for member in self._on[lane] if (found := self._of[member]) and found[-1].reason == UNDER_WAY]

    def _share_out(self, members: Collection[str]) -> None:
        """Note what of these members' seconds counts for others that were trained together with them."""
        teams = {(self._lane_of[name], self._team_of[name]) for name in members if name in self._team_of}
        for lane, team in teams:
            names = [name for name in self._on[lane] if self._team_of[name] == team]
            if len(names) > 1:
                share_out([each for name in names for each in self._of[name] if each.started >= self._launched])
                self._changed.update(names)
        for worker in {self._team_of.get(name, "") for name in members} & self._at_shared_workers.keys():
            self._changed.update(self._at_shared_workers[worker].share_out())

    def _move(self, member: str, lane: int) -> None:
        """Note which lane a member is on."""
        before = self._lane_of.get(member)
        if before != lane:
            if before is not None:
                self._on[before].pop(member, None)
            self._lane_of[member] = lane
            self._on[lane][member] = None
