"""The trials of a sweep on disk: what each tried and how it ended. `trials.json` in the sweep's folder has them all;
`trials.jsonl` beside it has what changed since, while a sweep runs or after it was killed.

In: points from the search, states from the cluster. Out: what the next launch goes on from and the ranking reads.
A trial is an ordinary member of the experiment; its files are in `members/NAME/`.
"""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from platform.changes import append_change, forget_changes, read_changes, read_with_changes
from platform.config.checks import ConfigError
from platform.files import write_atomically
from platform.text import first_line

FILE, CHANGES = "trials.json", "trials.jsonl"
WAITING, FINISHED, STOPPED, FAILED = "waiting", "finished", "stopped", "failed"
DIVERGED = "diverged"  # the loss became infinite or NaN, as it would every time
OVER = (FINISHED, STOPPED, DIVERGED)  # a new launch does not train these again
STATES = (WAITING, FAILED, *OVER)

Point = dict[str, Any]  # swept key or config group -> value, without the keys whose `when` does not hold


def name_of(point: int, seed: int) -> str:
    """The name of a trial: `p003-s0` for the first seed of point 3."""
    return f"p{point:03d}-s{seed}"


def lane_of(name: str) -> int:
    """The number of a trial's lane, by which Ray's events are told apart."""
    point, seed = name.removeprefix("p").split("-s")
    return int(point) * 1000 + int(seed)


@dataclass
class Trial:
    """One training of one point with one seed."""

    name: str  # of its folder and its MLflow run
    point: int
    values: Point
    seed: int  # 0, 1, ...: added to the experiment's `seed`
    overrides: list[str]  # the values and the seed, as on a command line
    state: str = WAITING
    reason: str = ""  # why it was stopped early, or failed
    changes: list[list[Any]] = field(default_factory=list)  # by PBT during the training: [epoch, key, value]


@dataclass
class TrialStore:
    """The content of `trials.json` and `trials.jsonl`."""

    base: dict[str, Any] = field(default_factory=dict)  # config of the experiment, without a point
    choices: dict[str, str] = field(default_factory=dict)  # its Hydra groups: {"schedule": "googlenet", ...}
    commit: str = ""  # git's, of the checkout that ran the sweep; empty: unknown
    trials: list[Trial] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> "TrialStore":
        """The trials in a sweep's folder; an empty store if there are none.

        Raises:
            ConfigError: a file is damaged or missing.
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
        """Refuse what no sweep has written.

        Raises:
            ValueError: names it.
        """
        counts = Counter(trial.name for trial in self.trials)
        for trial in self.trials:
            if trial.name != name_of(trial.point, trial.seed) or counts[trial.name] > 1:
                raise ValueError(f"a trial {trial.name!r} with point {trial.point} and seed {trial.seed}")
            if trial.state not in STATES or not isinstance(trial.values, dict):
                raise ValueError(f"{trial.name} is {trial.state!r} with {trial.values!r:.40}")
        if {trial.point for trial in self.trials} != set(range(self.points)):
            raise ValueError("a point is missing")

    def write(self, folder: Path) -> None:
        """Write all trials to `trials.json`. Takes the longer the more there are: for the start and end of a launch."""
        write_atomically(folder / FILE, json.dumps(asdict(self), indent=1) + "\n")
        forget_changes(folder / CHANGES)

    def note(self, folder: Path, trial: Trial) -> None:
        """Append a new or changed trial to `trials.jsonl`: one line, however many trials there are."""
        append_change(folder / CHANGES, asdict(trial))

    def trial(self, name: str) -> Trial:
        """The trial of this name, which must be there."""
        return next(trial for trial in self.trials if trial.name == name)

    @property
    def points(self) -> int:
        """How many points have been tried. They are numbered from 0."""
        return len({trial.point for trial in self.trials})

    def is_whole(self, reported: Collection[str]) -> bool:
        """Whether no trial has failed, and the scores of all that are finished are reported."""
        known = set(reported)
        lacking = (trial.state == FINISHED and trial.name not in known for trial in self.trials)
        return not any(lacking) and all(trial.state != FAILED for trial in self.trials)

    def of_point(self, point: int) -> list[Trial]:
        """The trials of a point, one for each seed."""
        return [trial for trial in self.trials if trial.point == point]


def _trial(content: dict[str, Any]) -> Trial:
    if "words" in content:  # their name until version 0.1
        content["overrides"] = content.pop("words")
    return Trial(**content)
