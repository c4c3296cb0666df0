"""How a run's wall time was spent: a member's attempts, why each ended, which steps were repeated.

In: the log of attempts, `attempts.json` in the member's folder. Out: figures for MLflow.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from platform.files import write_atomically

FILE = "attempts.json"
SHOWN = 20  # attempts in a table
UNDER_WAY = ""
LAUNCHER_LOST = "the launcher died"
SAME_S = 0.001  # two times that are one: sums of seconds since the epoch are not exact
EVALUATED = "finished"  # as members say it that are trained and evaluated


@dataclass
class Attempt:
    """One start of a member's workers. Times are seconds since the epoch, of a running attempt the newest known."""

    began: float  # since when its CPUs and GPUs are held: its group's start, or the end of the member before in it
    started: float  # of its workers
    from_step: int = 0  # of the checkpoint it went on from
    reached: int = 0  # global steps done
    first_step_at: float = 0.0  # 0: it has done none
    last_step_at: float = 0.0
    ended: float = 0.0
    workers: int = 1
    nodes: list[str] = field(default_factory=list)
    reason: str = UNDER_WAY  # why it ended
    queued_s: float = 0.0  # before `began`, for a lane and for room: since the launch, or the attempt before it
    evaluating_at: float = 0.0  # since when it evaluates all views; 0: it does not
    cpus_per_worker: int = 0  # that it held; 0: not known
    gpus_per_worker: int = 0
    others_s: float = 0.0  # of its seconds, those that count for members trained together with it, by the same workers

    @property
    def training_s(self) -> float:
        """Seconds from the first step to the last."""
        return max(self.last_step_at - self.first_step_at, 0.0) if self.first_step_at else 0.0


def of_one_launch(before: Attempt, after: Attempt) -> bool:
    """Whether an attempt is of the launch of the one before: then it waits for workers from that one's end."""
    return abs(after.began - after.queued_s - before.ended) < SAME_S


@dataclass(frozen=True)
class Goodput:
    """Figures over all attempts of a member. Not counted is the time between two launches, and from a launch until the
    member's workers have room; waiting for room after a failure is."""

    attempts: int
    repeated_steps: int
    lost_s: float  # by waiting for workers again, starting them and repeating steps
    wall_s: float
    training_s: float  # spent on steps done for the first time
    reasons: tuple[str, ...]  # why each attempt ended

    @property
    def training_share(self) -> float:
        return self.training_s / self.wall_s if self.wall_s > 0 else 0.0

    @classmethod
    def of(cls, attempts: Sequence[Attempt]) -> "Goodput":
        """Add up a member's attempts, in order."""
        furthest, repeated_steps, lost_s, training_s, wall_s = 0, 0, 0.0, 0.0, 0.0
        for number, attempt in enumerate(attempts):
            steps = attempt.reached - attempt.from_step
            repeated = max(0, min(furthest, attempt.reached) - attempt.from_step)
            repeated_s = attempt.training_s * repeated / steps if steps > 0 else 0.0
            again = number > 0 and of_one_launch(attempts[number - 1], attempt)
            waited_s = attempt.queued_s if again else 0.0
            starting_s = (attempt.first_step_at or attempt.ended) - attempt.began
            lost_s += repeated_s + waited_s + (starting_s if number else 0.0)
            wall_s += attempt.ended - attempt.began + waited_s
            training_s += attempt.training_s - repeated_s
            repeated_steps += repeated
            furthest = max(furthest, attempt.reached)
        reasons = tuple(attempt.reason for attempt in attempts)
        return cls(len(attempts), repeated_steps, lost_s, wall_s, training_s, reasons)

    @property
    def text(self) -> str:
        """One line for the terminal."""
        return (
            f"{self.attempts} attempt(s), {self.repeated_steps} steps repeated, {self.lost_s:.0f} s lost, "
            f"{self.training_share:.0%} of {self.wall_s:.0f} s spent training"
        )

    @property
    def newest_reasons(self) -> str:
        """Why the newest attempts ended, short enough for an MLflow tag."""
        numbered = [f"{number}: {reason or 'under way'}" for number, reason in enumerate(self.reasons, 1)]
        return "; ".join(numbered[-SHOWN:])

    def metrics(self) -> dict[str, float]:
        """The metrics goodput_... for MLflow."""
        return {
            "goodput_attempts": self.attempts,
            "goodput_repeated_steps": self.repeated_steps,
            "goodput_lost_s": self.lost_s,
            "goodput_training_share": self.training_share,
        }


@dataclass(frozen=True)
class Times:
    """What became of the seconds from a member's first launch to its end; they add up to these."""

    queue_s: float = 0.0  # for a lane, and for room: nothing is held
    starting_s: float = 0.0  # of processes, until their first step
    training_s: float = 0.0  # from the first step to the last, with the evaluations of one view between them
    repeated_s: float = 0.0  # the same of steps that were done before
    evaluation_s: float = 0.0  # of all views, after the last step
    idle_s: float = 0.0  # between launches, and after the last step of workers that then died or were stopped

    @classmethod
    def of(cls, attempts: Sequence[Attempt]) -> "Times":
        """Add up a member's attempts, in order."""
        trained_s = Goodput.of(attempts).training_s
        evaluated_s = idle_s = starting_s = 0.0
        for number, attempt in enumerate(attempts):
            first = attempt.first_step_at or attempt.evaluating_at or attempt.ended
            last = attempt.last_step_at if attempt.first_step_at else first
            starting_s += max(first - attempt.began, 0.0)
            rest_s = max(attempt.ended - last, 0.0)
            evaluated = attempt.evaluating_at or attempt.reason == EVALUATED  # a short one is between two heartbeats
            evaluated_s += rest_s if evaluated else 0.0
            idle_s += 0.0 if evaluated else rest_s
            if number:
                idle_s += max(attempt.began - attempt.queued_s - attempts[number - 1].ended, 0.0)
        return cls(
            queue_s=sum(attempt.queued_s for attempt in attempts),
            starting_s=starting_s,
            training_s=trained_s,
            repeated_s=sum(attempt.training_s for attempt in attempts) - trained_s,
            evaluation_s=evaluated_s,
            idle_s=idle_s,
        )

    @classmethod
    def at_work(cls, each: Sequence["Times"]) -> "Times":
        """What several members cost together: the seconds in which their workers were there."""
        parts = ("starting_s", "training_s", "repeated_s", "evaluation_s")
        return cls(**{part: sum(getattr(times, part) for times in each) for part in parts})

    def metrics(self) -> dict[str, float]:
        """The metrics time_... for MLflow, in seconds."""
        return {f"time_{name}": seconds for name, seconds in asdict(self).items()}


def table(attempts: Sequence[Attempt]) -> str:
    """A Markdown table of the newest attempts, headed by the figures of all."""
    rows = [
        f"| {number} | {_local_time(each.began)} | {each.ended - each.began:.0f} s | {each.workers} | "
        f"{each.from_step} to {each.reached} | {(each.reason or 'under way').replace('|', '/')} |"
        for number, each in enumerate(attempts, 1)
    ]
    head = ["| attempt | from | for | workers | steps | ended |", "|--:|---|--:|--:|--:|---|"]
    return "\n".join([Goodput.of(attempts).text, "", *head, *rows[-SHOWN:]])


def _local_time(seconds: float) -> str:
    return time.strftime("%F %T", time.localtime(seconds))


def read_attempts(folder: Path) -> list[Attempt]:
    """Read the log of attempts in a member's folder; empty where there is none, or a damaged one."""
    try:
        return [Attempt(**attempt) for attempt in json.loads((folder / FILE).read_text())]
    except (FileNotFoundError, ValueError, TypeError):
        return []


def write_attempts(folder: Path, attempts: Sequence[Attempt]) -> None:
    """Replace the log of attempts in a member's folder.

    Raises:
        OSError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, json.dumps([asdict(attempt) for attempt in attempts], indent=1) + "\n")
