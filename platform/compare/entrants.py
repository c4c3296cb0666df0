"""The runs that are compared: what was said of each image, with which config, on which data.

In: experiments, members or trials as they are named on the command line. Out: an `Entrant` for each, all of the same
images and the same number of views. Torch is imported only where probabilities have to be read.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from platform.compare.lacking import reason
from platform.config.checks import VIEW_COUNTS, ConfigError, require
from platform.config.identity import flatten, identity
from platform.config.sections import Config
from platform.evaluation.images import ImageResults, has_images, read_images
from platform.evaluation.kept import digest_of, scored
from platform.evaluation.seal import is_complete
from platform.experiment.folder import ExperimentFolder
from platform.experiment.recorded import Recorded, recorded_in
from platform.sweep.best_trial import trials_tried, with_best_trial
from platform.text import printable
from platform.tracking.parameters import without_effect

NOT_USED = "(not used)"
SHORT = 12  # characters of a commit


@dataclass(frozen=True)
class Entrant:
    """One of the runs."""

    label: str  # NAME or NAME/MEMBER
    images: ImageResults
    number: int  # in E of `images`
    settings: dict[str, str]  # dotted key -> value; of several members all values
    members: int
    unfinished: list[str]  # members that are not in it
    config: Config  # of the first member
    split: str = "val"
    tried: int = 1  # trials of the sweep that it was chosen from, or could have been


@dataclass(frozen=True)
class _Run:
    """A run whose record is read, and which of its members are finished."""

    label: str
    then: Recorded
    folder: ExperimentFolder
    finished: list[str]
    unfinished: list[str]
    split: str
    kept_in: Path  # what the run itself kept of each image
    kept: ImageResults | None  # what it is; None: nothing
    tried: int  # trials of its sweep

    @property
    def is_member(self) -> bool:
        return self.then.name != self.folder.name


@dataclass(frozen=True)
class _Lacking:
    """A run that has nothing to compare."""

    label: str
    reason: str


def entrants(
    places: Sequence[str], output_dir: Path, split: str = "val", say: Callable[[str], None] = print
) -> list[Entrant]:
    """Read the runs.

    Args:
        places: `compare.runs`; a sweep is its best trial.
        output_dir: where experiments are.
        split: of which images: val or test.
        say: told what takes its time, and which trial a sweep is.

    Raises:
        ConfigError: fewer than two runs, one is not there, not finished, or given twice, or they are of other images.
    """
    require(len(places) > 1, f"compare.runs has {len(places)} run(s); give two or more: compare.runs=[runs/A,runs/B]")
    runs = _runs([_of_sweep(place, output_dir, say) for place in places], output_dir, split)
    for number, run in enumerate(runs):
        same = [place for place, each in zip(places, runs[:number], strict=False) if _place(each) == _place(run)]
        require(not same, f"compare.runs has {run.label} twice; give each run once")
    names = [run.label for run in runs]
    if len(set(names)) < len(names):  # of two folders
        runs = [replace(run, label=printable(place)) for run, place in zip(runs, places, strict=True)]
    _require_same_data(runs)
    views = min(map(_views, runs))
    found = [_entrant(run, views, say) for run in runs]
    for each in found[1:]:
        require(
            np.array_equal(each.images.labels_N, found[0].images.labels_N),
            f"{found[0].label} and {each.label} were evaluated on images with other labels; only results on the same "
            "images can be compared",
        )
    return found


def _of_sweep(place: str, output_dir: Path, say: Callable[[str], None]) -> str:
    """The place, where that is a sweep of its best trial, which is said."""
    trial = with_best_trial(place, output_dir)
    if trial != place:
        say(f"{printable(place)} is a sweep: its best trial {Path(trial).name} stands for it")
    return trial


def _runs(places: Sequence[str], output_dir: Path, split: str) -> list[_Run]:
    """The runs, all of which have results.

    Raises:
        ConfigError: names those that have none, with what makes them.
    """
    found = [_run(place, output_dir, split) for place in places]
    lacking = [each for each in found if isinstance(each, _Lacking)]
    if lacking:
        reasons = "; ".join(f"{each.label}: {each.reason}" for each in lacking)
        images = "validation" if split == "val" else split
        raise ConfigError(f"{len(lacking)} of {len(found)} runs have no results on the {images} images: {reasons}")
    return [each for each in found if isinstance(each, _Run)]


def _run(place: str, output_dir: Path, split: str) -> _Run | _Lacking:
    then = recorded_in(place, output_dir)
    assert then.folder is not None
    folder = ExperimentFolder(then.folder)
    names = list(then.configs)
    is_trial = "sweep" in folder.record().identity
    kept_in = folder.member(names[0]).images if is_trial and split == "val" else folder.images(split)
    kept = read_images(kept_in)
    finished = [name for name in names if _is_evaluated(folder, name, split) or (kept and name in kept.names)]
    label = f"{folder.name}/{names[0]}" if then.name != folder.name else folder.name
    then.require_one(label)
    if not finished:
        return _Lacking(label, reason(then, folder, split))
    unfinished = [name for name in names if name not in finished]
    return _Run(label, then, folder, finished, unfinished, split, kept_in, kept, trials_tried(place, output_dir))


def _is_evaluated(folder: ExperimentFolder, name: str, split: str) -> bool:
    return is_complete(folder.member(name).probabilities_of(split), 1)


def _place(run: _Run) -> tuple[Path, bool, list[str]]:
    return run.folder.path.resolve(), run.is_member, run.finished


def _require_same_data(runs: list[_Run]) -> None:
    """Refuse images of other digests; records of earlier versions have none, and their labels decide.

    Raises:
        ConfigError: with both.
    """
    known = [(run, run.then.data[run.split]) for run in runs if run.then.data and run.split in run.then.data]
    for run, data in known[1:]:
        first, wanted = known[0]
        require(
            data == wanted,
            f"{first.label} and {run.label} were evaluated on other images ({first.label}: {wanted}; {run.label}: "
            f"{data}); only results on the same images can be compared",
        )


def _views(run: _Run) -> int:
    """The most views that all its members have; those of what was kept where probabilities were removed."""
    places = _probabilities(run, run.finished).values()
    found = [views for views in VIEW_COUNTS if all(is_complete(place, views) for place in places)]
    return max(found) if found or run.kept is None else run.kept.views


def _probabilities(run: _Run, names: Sequence[str]) -> dict[str, Path]:
    return {name: run.folder.member(name).probabilities_of(run.split) for name in names}


def _entrant(run: _Run, views: int, say: Callable[[str], None]) -> Entrant:
    wanted = run.finished[0] if run.is_member else None
    images = _kept(run, views, wanted)
    if images is None:
        say(f"reading the probabilities of {run.label} ...")
        images = scored(_probabilities(run, run.finished), [views]).images
        assert images is not None
    number = images.names.index(wanted) if wanted else images.ensemble
    configs = [run.then.configs[name] for name in run.finished]
    settings = _settings(run, configs)
    return Entrant(run.label, images, number, settings, len(configs), run.unfinished, configs[0], run.split, run.tried)


def _kept(run: _Run, views: int, member: str | None) -> ImageResults | None:
    """What was kept of each image by the run itself; None: nothing, or of other views, members or probabilities."""
    images = run.kept
    if images is None or images.views != views:
        return None
    if images.names != run.finished if member is None else member not in images.names:
        return None
    try:
        digest = digest_of(_probabilities(run, images.names), images.view_counts)
    except OSError:  # probabilities were removed, which are large: nothing says that these are not theirs
        return images
    return images if has_images(run.kept_in, digest) else None


def _settings(run: _Run, configs: list[Config]) -> dict[str, str]:
    """What makes the run what it is, as text; the names of runs are none of it. Settings that are without effect, such
    as the area of crops of a method that has none, are all alike."""
    flat = [flatten(identity(asdict(config))) for config in configs]
    for each in flat:
        each |= dict.fromkeys(without_effect(each) & each.keys(), NOT_USED)
    keys = dict.fromkeys(key for each in flat for key in each if key != "name")
    settings = {key: _values([each.get(key) for each in flat]) for key in keys}
    commit = run.then.origin.commit[:SHORT] if run.then.origin else "unknown"
    return {"members": str(len(configs)), "commit": commit} | settings


def _values(values: list[Any]) -> str:
    """A value, or those of several members that differ."""
    return printable(", ".join(dict.fromkeys(map(str, values))))
