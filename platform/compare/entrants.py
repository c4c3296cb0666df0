"""The runs that are compared: what was said of each image, with which config, on which data.

In: experiments, members or trials as they are named on the command line. Out: an `Entrant` for each, all of the same
images and the same number of views. Torch is imported only where probabilities have to be read.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from platform.config.checks import ConfigError, require
from platform.config.identity import flatten, identity
from platform.config.sections import VIEW_COUNTS, Config
from platform.evaluation.images import ImageResults, has_images, read_images
from platform.evaluation.kept import digest_of, scored
from platform.evaluation.seal import is_complete
from platform.experiment.folder import ExperimentFolder
from platform.experiment.recorded import Recorded, recorded_in
from platform.text import printable

SPLIT = "val"
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


@dataclass(frozen=True)
class _Run:
    """A run whose record is read, and which of its members are finished."""

    label: str
    then: Recorded
    folder: ExperimentFolder
    finished: list[str]
    unfinished: list[str]
    kept: ImageResults | None  # what the run itself kept of each image

    @property
    def is_member(self) -> bool:
        return self.then.name != self.folder.name


def entrants(places: Sequence[str], output_dir: Path, say: Callable[[str], None] = print) -> list[Entrant]:
    """Read the runs.

    Args:
        places: `compare.runs`.
        output_dir: where experiments are.
        say: told what takes its time.

    Raises:
        ConfigError: fewer than two runs, one is not there, not finished, or given twice, or they are of other images.
    """
    require(len(places) > 1, f"compare.runs has {len(places)} run(s); give two or more: compare.runs=[runs/A,runs/B]")
    runs = [_run(place, output_dir) for place in places]
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


def _run(place: str, output_dir: Path) -> _Run:
    then = recorded_in(place, output_dir)
    assert then.folder is not None
    folder = ExperimentFolder(then.folder)
    names = list(then.configs)
    kept = read_images(folder.images(SPLIT))
    finished = [name for name in names if _is_evaluated(folder, name) or (kept and name in kept.names)]
    label = f"{folder.name}/{names[0]}" if then.name != folder.name else folder.name
    if not finished:
        state = folder.member(names[0]).state()
        why = f" ({state.error})" if state.error else ""
        raise ConfigError(f"{label} is not finished{printable(why)}: it has no scores; its own command goes on with it")
    return _Run(label, then, folder, finished, [name for name in names if name not in finished], kept)


def _is_evaluated(folder: ExperimentFolder, name: str) -> bool:
    return is_complete(folder.member(name).probabilities_of(SPLIT), 1)


def _place(run: _Run) -> tuple[Path, bool, list[str]]:
    return run.folder.path.resolve(), run.is_member, run.finished


def _require_same_data(runs: list[_Run]) -> None:
    """Refuse validation sets of other digests; records of earlier versions have none, and their labels decide.

    Raises:
        ConfigError: with both.
    """
    known = [(run, run.then.data[SPLIT]) for run in runs if run.then.data and SPLIT in run.then.data]
    for run, data in known[1:]:
        first, wanted = known[0]
        require(
            data == wanted,
            f"{first.label} and {run.label} were evaluated on other images ({first.label}: {wanted}; {run.label}: "
            f"{data}); only results on the same images can be compared",
        )


def _views(run: _Run) -> int:
    """The most views that all its members have; those of what was kept where probabilities were removed."""
    places = _probabilities(run.folder, run.finished).values()
    found = [views for views in VIEW_COUNTS if all(is_complete(place, views) for place in places)]
    return max(found) if found or run.kept is None else run.kept.views


def _probabilities(folder: ExperimentFolder, names: Sequence[str]) -> dict[str, Path]:
    return {name: folder.member(name).probabilities_of(SPLIT) for name in names}


def _entrant(run: _Run, views: int, say: Callable[[str], None]) -> Entrant:
    wanted = run.finished[0] if run.is_member else None
    images = _kept(run, views, wanted)
    if images is None:
        say(f"reading the probabilities of {run.label} ...")
        images = scored(_probabilities(run.folder, run.finished), [views]).images
        assert images is not None
    number = images.names.index(wanted) if wanted else images.ensemble
    configs = [run.then.configs[name] for name in run.finished]
    return Entrant(run.label, images, number, _settings(run, configs), len(configs), run.unfinished, configs[0])


def _kept(run: _Run, views: int, member: str | None) -> ImageResults | None:
    """What was kept of each image by the run itself; None: nothing, or of other views, members or probabilities."""
    images = run.kept
    if images is None or images.views != views:
        return None
    if images.names != run.finished if member is None else member not in images.names:
        return None
    try:
        digest = digest_of(_probabilities(run.folder, images.names), images.view_counts)
    except OSError:  # probabilities were removed, which are large: nothing says that these are not theirs
        return images
    return images if has_images(run.folder.images(SPLIT), digest) else None


def _settings(run: _Run, configs: list[Config]) -> dict[str, str]:
    """What makes the run what it is, as text; the names of runs are none of it."""
    flat = [flatten(identity(asdict(config))) for config in configs]
    keys = dict.fromkeys(key for each in flat for key in each if key != "name")
    settings = {key: _values([each.get(key) for each in flat]) for key in keys}
    commit = run.then.origin.commit[:SHORT] if run.then.origin else "unknown"
    return {"members": str(len(configs)), "commit": commit} | settings


def _values(values: list[Any]) -> str:
    """A value, or those of several members that differ."""
    return printable(", ".join(dict.fromkeys(map(str, values))))
