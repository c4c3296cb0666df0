"""What an experiment's members are worth beyond the paper's table, as `evaluation` asks for it.

In: the folder of an experiment and its finished members. Out: methods, computed or as they were kept.
"""

from collections.abc import Callable
from pathlib import Path

from platform.config.checks import ConfigError
from platform.config.evaluation import TOP, EvaluationConfig
from platform.config.sections import Config
from platform.evaluation.cost import read_cost
from platform.evaluation.method import Method, kind_of
from platform.evaluation.methods import TeacherWanted, Wanted, kept_methods
from platform.evaluation.seal import is_complete, kept_as
from platform.experiment.folder import ExperimentFolder
from platform.experiment.teacher import Teacher


def methods_of(
    folder: ExperimentFolder, members: dict[str, Path], config: Config, say: Callable[[str], None] = print
) -> list[Method]:
    """The methods that are asked for; whole images that were not evaluated are named, and left out.

    Args:
        folder: of the experiment.
        members: the finished ones: name -> folder of probabilities.
        config: of the experiment: what is evaluated, and its teacher.
        say: told what is left out, and before something is computed.

    Raises:
        ConfigError: probabilities are missing or damaged.
    """
    evaluation = config.evaluation
    whole = (
        {name: folder.member(name).whole_images_of(evaluation.split) for name in members} if evaluation.dense else {}
    )
    missing = [name for name, place in whole.items() if not _has(place, evaluation.dense)]
    if missing:
        say(f"whole images at {evaluation.dense} px were not evaluated by {', '.join(missing)}; job=evaluate does that")
        whole = {}
    kept = _kept(folder, list(members), evaluation, say)
    blends = evaluation.blends
    if blends and (approximate := [name for name, place in members.items() if kept_as(place) == TOP]):
        say(
            f"no blends: of {', '.join(approximate)} only the largest classes were kept (evaluation.keep=top), and "
            "weights and temperatures need all; job=evaluate with evaluation.keep=means evaluates them again"
        )
        blends = False
    wanted = Wanted(max(evaluation.views), blends, whole, kept, _teacher(config, say))
    return kept_methods(members, wanted, folder.methods(evaluation.split), say)


def _kept(
    folder: ExperimentFolder, members: list[str], evaluation: EvaluationConfig, say: Callable[[str], None]
) -> dict[str, dict[str, Path]]:
    """Further networks of the members' trainings: kind -> network -> folder of its probabilities."""
    found: dict[str, dict[str, Path]] = {}
    views, split = max(evaluation.views), evaluation.split
    for member in members:
        for network in folder.member(member).kept_networks():
            place = folder.member(member).probabilities_of_network(network, split)
            if not is_complete(place, views):
                say(f"{network} of {member} was not evaluated in {views} crops; job=evaluate does that")
                continue
            name = f"{member} {network}" if len(members) > 1 else network
            found.setdefault(kind_of(network), {})[name] = place
    return found


def _teacher(config: Config, say: Callable[[str], None]) -> TeacherWanted | None:
    """The networks that the members have learnt from, where they were evaluated on the same images."""
    if config.distill.teacher is None:
        return None
    try:
        places, views = Teacher.of(config).evaluated(config.evaluation.split)
    except ConfigError as error:
        say(f"the teacher is not in the table: {error}")
        return None
    if not views:
        say(
            f"the teacher is not in the table: not all of {config.distill.teacher} was evaluated on "
            f"{config.evaluation.split}; job=evaluate with the command that began it does that"
        )
        return None
    return TeacherWanted(places, views)


def _has(place: Path, sides: list[int]) -> bool:
    try:
        return is_complete(place, len(sides)) and read_cost(place).sides == sides
    except (OSError, ValueError, TypeError, KeyError):
        return False
