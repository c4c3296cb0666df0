"""An experiment that was run, as its folder has it: the exact configs, the data, and what it was made with.

In: the folder of an experiment, perhaps with the name of one of its members or trials. Out: a `Recorded`, or an error
that says what there is.
"""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platform.config.checks import ConfigError, require
from platform.config.recorded import config_of
from platform.config.sections import Config
from platform.evaluation import report
from platform.evaluation.kept import read_scores
from platform.experiment.folder import ExperimentFolder
from platform.experiment.origin import Origin

SHOWN = 6  # experiments that are named where none is meant


@dataclass(frozen=True)
class Recorded:
    """What is known of a run."""

    name: str
    configs: dict[str, Config]  # of each member; of a single training one
    data: dict[str, str] | None  # as `experiment.fingerprint` makes it; None: not known
    origin: Origin | None  # None: an earlier version did not write it
    folder: Path | None = None  # None: it is on another machine
    figures: dict[str, dict[str, float]] = field(default_factory=dict)  # final ones of each member, where known

    def require_one(self, label: str) -> None:
        """It is one classifier: a network, or an ensemble of several; rows of a table are compared, and none.

        Raises:
            ConfigError: names the rows.
        """
        rows = len(self.configs) > 1 and next(iter(self.configs.values())).table.has_rows
        names = ", ".join(self.configs)
        require(not rows, f"{label} is a table whose rows are compared, and no ensemble; give {label}/ROW, of {names}")


def recorded_in(place: str, output_dir: Path) -> Recorded:
    """What a folder of results says of its run.

    Args:
        place: runs/NAME, or NAME of one in `output_dir`; with /MEMBER at its end that member or trial alone.
        output_dir: where experiments are.

    Raises:
        ConfigError: there is no such run, or its record cannot be used.
    """
    folder, member = _found(Path(place).expanduser(), output_dir)
    record, origin = folder.record(), Origin.read(folder.path)
    is_sweep = "sweep" in record.identity
    there = list(record.member_runs if is_sweep else record.configs)
    if is_sweep and not member:
        raise ConfigError(f"{folder.path} is a sweep; give one of its trials, such as {folder.path}/{there[-1]}")
    if member and member not in there:
        near = difflib.get_close_matches(member, there, 1) or there[:1]
        raise ConfigError(f"{folder.path} has no {member}; did you mean {folder.path}/{near[0]}?")
    names = [member] if member else there
    return Recorded(
        name="-".join(filter(None, (folder.name, member))),
        configs={name: _typed(record.configs[name], f"{folder.path}, {name}", origin) for name in names},
        data=record.identity.get("data"),
        origin=origin,
        folder=folder.path,
        figures={} if is_sweep else _figures(folder, names),
    )


def _figures(folder: ExperimentFolder, names: list[str]) -> dict[str, dict[str, float]]:
    scores = read_scores(folder.scores("val"))
    members = scores.members if scores else {}
    return {name: report.metrics(members[name], "val") for name in names if name in members}


def _found(place: Path, output_dir: Path) -> tuple[ExperimentFolder, str]:
    """The experiment's folder, and the member that is named behind it, if one is."""
    for base in dict.fromkeys((Path(), output_dir)):
        whole, parent = ExperimentFolder(base / place), ExperimentFolder((base / place).parent)
        if whole.exists():
            return ExperimentFolder(whole.path.absolute()), ""
        if parent.exists():
            return ExperimentFolder(parent.path.absolute()), place.name
    there = sorted(path.parent.name for path in output_dir.glob("*/experiment.json"))
    if near := difflib.get_close_matches(place.name, there, 1):
        remedy = f"did you mean {output_dir / near[0]}?"
    elif there:
        remedy = f"in {output_dir} are {', '.join(there[:SHOWN])}{' and more' if len(there) > SHOWN else ''}"
    else:
        remedy = f"there is none in {output_dir}"
    raise ConfigError(f"no experiment.json in {place}; {remedy}")


def _typed(settings: dict[str, Any], whose: str, origin: Origin | None) -> Config:
    try:
        return config_of(settings)
    except ConfigError as error:
        at = f"; it was run at commit {origin.commit}" if origin else ""
        raise ConfigError(f"the config of {whose}: {error}{at}") from error
