"""`job=register`: a finished run into MLflow's model registry, where the gate decides whether it is the champion.

In: the folder of a run, `registry.name`. Out: versions in the registry, and lines that say which alias and why.
"""

import shlex
import sys
from pathlib import Path

from platform.config.checks import ConfigError, require, require_effect
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.experiment.folder import ExperimentFolder
from platform.experiment.recorded import recorded_in
from platform.redaction import redacted
from platform.sweep.best_trial import trials_tried, with_best_trial
from platform.tracking.answers import NoAnswer
from platform.tracking.candidates import candidate
from platform.tracking.sqlite_store import require_there

WITH_EFFECT = ("job", "register", "registry", "tracking", "output_dir")


def run(experiment: Experiment) -> int:
    """Register a run; 0, also where it is registered already.

    Raises:
        ConfigError: there is no such run, it is not finished or has no model, or MLflow does not take it.
    """
    config = experiment.config
    require(
        config.registry.name is not None, "registry.name is null; give the model's name in MLflow: registry.name=NAME"
    )
    place = config.register.run
    if place is None:
        require(
            ExperimentFolder(experiment.folder).exists(),
            f"there is no run in {experiment.folder}; train it first with the same command without job=register, or "
            "give register.run=runs/NAME",
        )
        place = str(experiment.folder)
    else:
        why = " beside register.run, which names a run as it was"
        require_effect(experiment.overrides, WITH_EFFECT, why)
    print("\n".join(registered(config, place)))
    return 0


def registered(config: Config, place: str) -> list[str]:
    """Register the run in a folder; of a sweep its best trial. Returns lines that say what was done.

    Raises:
        ConfigError: as `run`.
    """
    output_dir = Path(config.output_dir)
    place = with_best_trial(place, output_dir)
    found = candidate(recorded_in(place, output_dir), trials_tried(place, output_dir))
    require_there(config.tracking, f"the run to register is {place}")
    from platform.tracking.mlflow_registry import register  # MLflow takes seconds to import

    assert config.registry.name is not None
    return register(config.tracking, config.registry.name, found)


def register_at_end(experiment: Experiment, *, whole: bool, waiting: int = 0, needs_answer: bool = False) -> bool:
    """Register a run that has just ended, if `registry.name` says so. Whatever comes of it, the run stays as it is.

    Args:
        experiment: that was run.
        whole: every member is finished.
        waiting: entries that MLflow, which is away, has not got yet: it is registered when it has them.
        needs_answer: nothing but this is left to do, so it is not done where MLflow does not answer.

    Returns:
        false if it should be registered and is refused, which is said with the command that does it later. Where MLflow
        does not answer nothing is wrong with the run: true unless `needs_answer`, and it is said as well.
    """
    config = experiment.config
    if config.registry.name is None or config.evaluation.split != "val":
        return True
    later = f"to register it later: {_command(config, experiment.folder)}"
    if whole and waiting:
        print(f"registry  {config.registry.name} gets it when MLflow has what is queued: job=deliver, or {later}")
        return True
    try:
        require(whole, f"{experiment.name} is not registered: not all of it is finished")
        first, *more = registered(config, str(experiment.folder))
        print("\n".join([f"registry  {first}", *(f"{'':<9} {line}" for line in more)]))
    except NoAnswer as error:
        print(f"warning: {error}; the run itself is whole; {later}", file=sys.stderr)
        return not needs_answer
    except ConfigError as error:
        print(f"error: {error}; {later}", file=sys.stderr)
        return False
    return True


def _command(config: Config, folder: Path) -> str:
    words = [f"register.run={folder}", f"registry.name={config.registry.name}", f"tracking.uri={config.tracking.uri}"]
    return shlex.join(["python", "-m", "platform.launch", "job=register", *map(redacted, words)])
