"""Where a promoted experiment comes from: the sweep whose winners it trains, and that sweep's run in MLflow.

In: an experiment whose file `job=promote` has written. Out: a `Promotion`. Or a config with weights to begin with.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from platform.checkout import ROOT
from platform.config.checks import ConfigError
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.experiment.folder import RECORD, ExperimentFolder
from platform.overrides import key_of, value_of
from platform.redaction import redacted
from platform.tracking.journal import Journal

PROMOTED = re.compile(
    r"^# Written by job=promote on \S+ from (?P<sweep>.+), run at (?P<commit>.+?)"
    r"(?:, MLflow run (?P<run>[0-9a-f]{32}))?\.$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class MlflowRun:
    """A run as MLflow knows it."""

    id: str
    experiment: str  # MLflow's id; empty: not known


@dataclass(frozen=True)
class Promotion:
    """As `job=promote` has noted it in the experiment's file."""

    sweep: str  # its folder
    commit: str
    noted: str | None  # MLflow's id of the sweep's run; None: an earlier version did not note it

    @property
    def text(self) -> str:
        """For a tag."""
        return f"promoted from the sweep {self.sweep}, run at {self.commit}"

    def run(self) -> MlflowRun | None:
        """The sweep's run; None: not known. Another sweep may have taken the folder since."""
        there = run_of(ExperimentFolder(ROOT / self.sweep))
        if self.noted and (there is None or there.id != self.noted):
            return MlflowRun(self.noted, "")
        return there

    def sentence(self) -> str:
        """For a description, with a link to the sweep's run."""
        run = self.run()
        known = f" ([its run](#/experiments/{run.experiment}/runs/{run.id}))" if run and run.experiment else ""
        return f"P{self.text[1:]}{known}."


def promotion(experiment: Experiment) -> Promotion | None:
    """What the experiment's file says; None: it was not promoted."""
    chosen = [value_of(each) for each in experiment.overrides if key_of(each).lstrip("+") == "experiment"]
    for name in chosen:
        file = ROOT / "conf" / "experiment" / f"{Path(str(name)).name}.yaml"
        if file.is_file() and (found := PROMOTED.search(file.read_text(encoding="utf-8"))):
            return Promotion(found["sweep"], found["commit"], found["run"])
    return None


def begun_with(config: Config) -> dict[str, str]:
    """Tags of a run whose network begins with the weights of another, or learns from others: where they are from, and
    MLflow's id of the run that trained them where it is one of ours; none of other runs."""
    init, teacher = config.model.init, config.distill.teacher
    tags = _made_of("initialised_from", init, config.model.init_digest, config.output_dir) if init else {}
    return tags | (_made_of("distilled_from", teacher, config.distill.digest, config.output_dir) if teacher else {})


def _made_of(tag: str, place: str, digest: str, output_dir: str) -> dict[str, str]:
    """Where weights are from, and which of our runs that is."""
    run = _run_that_trained(place, output_dir)
    return {tag: redacted(f"{place}, digest {digest}")} | ({f"{tag}_run": run.id} if run else {})


def _run_that_trained(init: str, output_dir: str) -> MlflowRun | None:
    """Of a member its own; None of weights that an experiment keeps as those it began with, or of none of ours."""
    for place in (Path(init), Path(output_dir) / init):
        for folder in (place, *place.parents):
            if (folder / RECORD).is_file():
                below = [part for part in place.relative_to(folder).parts if part != "members"]
                return None if below[:1] == ["init"] else run_of(ExperimentFolder(folder), "".join(below[:1]))
    return None


def run_of(folder: ExperimentFolder, member: str = "") -> MlflowRun | None:
    """The run in MLflow of a member or trial, otherwise the parent run of the experiment or sweep; None: it has none,
    or the folder is not there any more."""
    try:
        record = folder.record() if folder.exists() else None
    except ConfigError:  # damaged
        return None
    key = (record.member_runs.get(member) or record.parent_run) if record else None
    known = Journal(folder.tracking, for_reading=True).notes.get(key or "")
    return MlflowRun(known["id"], known.get("experiment", "")) if known else None
