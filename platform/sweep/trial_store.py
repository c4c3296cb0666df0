"""The store of a sweep: its trials, what each tried, and how it ended. `trials.json` in the sweep's folder, and
`trials.jsonl` beside it: what changed since, while a sweep runs or where it was killed.

In: points from the search, ends from the cluster. Out: what the next launch goes on from, and what the ranking reads.
A trial is an ordinary member of the experiment; its files are in `members/NAME/`.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from platform.changes import append_change, forget_changes, read_changes, read_with_changes
from platform.config.checks import ConfigError
from platform.files import write_atomically
from platform.text import first_line

FILE, CHANGES = "trials.json", "trials.jsonl"
WAITING, FINISHED, STOPPED, FAILED = "waiting", "finished", "stopped", "failed"
DIVERGED = "diverged"  # the loss was not finite any more, which would come again
OVER = (FINISHED, STOPPED, DIVERGED)  # a new launch does not try these again
STATES = (WAITING, FAILED, *OVER)

Point = dict[str, Any]  # swept key or config group -> value; keys whose condition does not hold are absent


def name_of(point: int, seed: int) -> str:
    """p003-s0: the first seed of point 3."""
    return f"p{point:03d}-s{seed}"


def lane_of(name: str) -> int:
    """The number under which Ray's events of the trial come."""
    point, seed = name.removeprefix("p").split("-s")
    return int(point) * 1000 + int(seed)


@dataclass
class Trial:
    """One training of one point with one seed."""

    name: str  # of its folder and its MLflow run
    point: int
    values: Point
    seed: int  # 0, 1, ...: added to the experiment's `seed`
    overrides: list[str]  # the same, as on the command line
    state: str = WAITING
    reason: str = ""  # why it was stopped early, or failed
    changes: list[list[Any]] = field(default_factory=list)  # [epoch, key, value] of what PBT changed on the way


@dataclass
class TrialStore:
    """What is in `trials.json` and `trials.jsonl`."""

    base: dict[str, Any] = field(default_factory=dict)  # the experiment's config without any point
    choices: dict[str, str] = field(default_factory=dict)  # its Hydra groups: {"schedule": "googlenet", ...}
    commit: str = ""  # of the checkout that ran it
    trials: list[Trial] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> "TrialStore":
        """The store in a sweep's folder; an empty one if there is none.

        Raises:
            ConfigError: it is torn, or not ours.
        """
        path = folder / FILE
        try:
            store = read_with_changes(path, lambda: cls._read(folder))
            store._check()
        except FileNotFoundError:
            if (folder / CHANGES).exists():
                raise ConfigError(
                    f"{path} is missing, though {CHANGES} is there; bring it back, or give fresh=true to start anew"
                ) from None
            return cls()
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ConfigError(
                f"{path} is damaged ({first_line(error)}); bring it back, or give fresh=true to start anew"
            ) from error
        return store

    @classmethod
    def _read(cls, folder: Path) -> "TrialStore":
        content = json.loads((folder / FILE).read_text())
        trials = {trial.name: trial for each in read_changes(folder / CHANGES) if (trial := _trial(each))}
        known = [_trial(each) for each in content["trials"]]
        trials = [trials.pop(trial.name, trial) for trial in known] + list(trials.values())
        return cls(**content | {"trials": trials})

    def _check(self) -> None:
        """Raise ValueError for what no sweep has written."""
        counts = Counter(trial.name for trial in self.trials)
        for trial in self.trials:
            if trial.name != name_of(trial.point, trial.seed) or counts[trial.name] > 1:
                raise ValueError(f"a trial {trial.name!r} with point {trial.point} and seed {trial.seed}")
            if trial.state not in STATES or not isinstance(trial.values, dict):
                raise ValueError(f"{trial.name} is {trial.state!r} with {trial.values!r:.40}")
        if {trial.point for trial in self.trials} != set(range(self.points)):
            raise ValueError("a point is missing")

    def write(self, folder: Path) -> None:
        """As a whole, which takes as long as there are trials: at the start of a launch and at its end."""
        write_atomically(folder / FILE, json.dumps(asdict(self), indent=1) + "\n")
        forget_changes(folder / CHANGES)

    def note(self, folder: Path, trial: Trial) -> None:
        """That a trial was added, or is another now; a line, however many trials there are."""
        append_change(folder / CHANGES, asdict(trial))

    def trial(self, name: str) -> Trial:
        return next(trial for trial in self.trials if trial.name == name)

    @property
    def points(self) -> int:
        """How many have been tried; their numbers are those below."""
        return len({trial.point for trial in self.trials})

    def of_point(self, point: int) -> list[Trial]:
        """Its trials, one a seed."""
        return [trial for trial in self.trials if trial.point == point]


def _trial(content: dict[str, Any]) -> Trial:
    if "words" in content:  # their name until version 0.1
        content["overrides"] = content.pop("words")
    return Trial(**content)
