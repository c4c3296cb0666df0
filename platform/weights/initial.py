"""The weights that the members of an experiment begin with, read once before Ray starts.

In: an experiment. Out: the same with `model.init_digest` filled in; in its folder init/DIGEST.safetensors, which the
workers read, and of each member initial.json: what fitted and what did not.
"""

import functools
import json
import logging
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from platform.config.checks import ConfigError, require
from platform.config.experiment import SINGLE, Experiment
from platform.config.sections import Config
from platform.data.index import Index
from platform.experiment.folder import ExperimentFolder
from platform.files import write_atomically
from platform.text import first_line

if TYPE_CHECKING:  # torch takes seconds, which what begins with none need not
    from platform.models.initial import Fit, Weights

log = logging.getLogger("platform")
READING = ("evaluate", "report", "register", "deliver", "predict", "serve", "compare")  # jobs that begin no training
FIT = "initial.json"
PUBLISHED = ("timm:", "torchvision:")
ROUNDED = 0.005  # of values 0..1: means and deviations are written with more digits or fewer


@dataclass
class InitialWeights:
    """What the members begin with."""

    experiment: Experiment  # with the digests
    weights: "dict[str, Weights]" = field(default_factory=dict)  # digest -> those that were read just now
    digests: dict[tuple[str, ...], str] = field(default_factory=dict)  # see _source() -> what was read of it

    def keep(self, folder: ExperimentFolder, data: Index) -> list[str]:
        """Keep the weights in the experiment's folder, and what fits of them with each member; once.

        Args:
            folder: the experiment's, whose lock is held.
            data: the data set, which knows the classes' names.

        Returns:
            a line for each member of which that was not kept before.

        Raises:
            ConfigError: too little fits.
            OSError: the disk does not take it.
        """
        for digest, weights in self.weights.items():
            if not (place := folder.initial_weights_file(digest)).exists():
                weights.write(place)
        kept = [self._keep_fit(folder, name, config, data) for name, config in _beginning(self.experiment)]
        return [line for line in kept if line]

    def _keep_fit(self, folder: ExperimentFolder, name: str, config: Config, data: Index) -> str:
        place = folder.member(name).path / FIT
        if place.exists():
            return ""
        found = fit_of(config, self._weights(folder, config.model.init_digest), data.classes)
        place.parent.mkdir(parents=True, exist_ok=True)
        said = {"init": config.model.init, "digest": config.model.init_digest, **asdict(found)}
        write_atomically(place, json.dumps(said, indent=1) + "\n")
        return f"{name} begins with {config.model.init}: {found.text} ({place})"

    def _weights(self, folder: ExperimentFolder, digest: str) -> "Weights":
        from platform.models.initial import Weights

        return self.weights.get(digest) or Weights.read(folder.initial_weights_file(digest))


def read_initial_weights(experiment: Experiment) -> InitialWeights:
    """Read the weights that members begin with, and check that they fit.

    A digest that is given is enough where the experiment's folder has these weights.

    Raises:
        ConfigError: there are none, they are others than those of the digest, or of another network.
    """
    if not any(_beginning(experiment)) and not experiment.config.model.init:
        return InitialWeights(experiment)
    found = InitialWeights(experiment)
    members = {name: _resolved(config, found, name) for name, config in experiment.members.items()}
    config = members[SINGLE] if SINGLE in members else _of_all(members, found)
    found.experiment = replace(experiment, config=config, members=members)
    if experiment.config.sweep.space:  # whose trials are composed of the overrides
        found.experiment.overrides = [*experiment.overrides, f"model.init_digest={config.model.init_digest}"]
    return found


def fit_of(config: Config, weights: "Weights", classes: list[str]) -> "Fit":
    """What of the weights a member begins with.

    Args:
        config: the member's.
        weights: the others.
        classes: names of its classes; empty: nobody named them, or they are not known yet.

    Raises:
        ConfigError: too little fits.
    """
    from platform.models.initial import classifiers, fit, have_same_classes
    from platform.models.rehearsal import on_meta

    own = on_meta(config.model, config.data.classes, config.data.image_size).state_dict()
    heads = classifiers(config.model, config.data.classes, config.data.image_size)
    found = fit(own, weights.tensors, heads, same_classes=have_same_classes(weights, classes))
    found.require_enough(str(config.model.init), config.model.name)
    return found


def _beginning(experiment: Experiment) -> list[tuple[str, Config]]:
    """The members that begin with weights."""
    return [(name, config) for name, config in experiment.members.items() if config.model.init]


def _resolved(config: Config, found: InitialWeights, name: str) -> Config:
    """The config with the digest of the weights, which are added to those that were found."""
    model, folder = config.model, ExperimentFolder(found.experiment.folder)
    if not model.init:
        return config
    known = model.init_digest or _recorded_digest(found.experiment, folder, name)
    if known and folder.initial_weights_file(known).exists() and not config.fresh:
        return _with_digest(config, known)
    digest = _read(config, found)
    require(
        known in ("", digest),
        f"model.init is {model.init}, whose digest is {digest}, not model.init_digest={known}; bring the file back, or "
        "leave model.init_digest out to begin with this one",
    )
    fit_of(config, found.weights[digest], [])
    if said := _other_normalisation(config, found.weights[digest]):
        _say_once(said)
    return _with_digest(config, digest)


def _of_all(members: dict[str, Config], found: InitialWeights) -> Config:
    """The config of an experiment of several members with the digest of those that begin as it says. Where none does,
    and nothing is trained, nobody needs its weights."""
    config = found.experiment.config
    same = [each for each in members.values() if _source(each) == _source(config) and config.model.init]
    if same and not config.model.init_digest:
        return _with_digest(config, same[0].model.init_digest)
    return config if config.job in READING else _resolved(config, found, "")


def _other_normalisation(config: Config, weights: "Weights") -> str:
    """What is to be said where the weights have seen images of another mean and scale; empty: nothing."""
    mean, std = weights.normalised or (config.data.mean, config.data.std)
    differ = [abs(one - other) for one, other in zip([*mean, *std], [*config.data.mean, *config.data.std], strict=True)]
    if max(differ) <= ROUNDED:
        return ""
    wanted, here = (
        f"data.mean=[{','.join(f'{value:.4g}' for value in of)}] data.std=[{','.join(f'{value:.4g}' for value in by)}]"
        for of, by in ((mean, std), (config.data.mean, config.data.std))
    )
    return f"the weights of model.init={config.model.init} were trained with {wanted}, and here is {here}; give theirs"


@functools.cache
def _say_once(message: str) -> None:
    """Warn once a process: members begin with the same weights."""
    log.warning(message)


def _source(config: Config) -> tuple[str, ...]:
    """What decides which weights are read: those of timm and torchvision are made for the network's settings."""
    model = config.model
    made_for = f"{config.data.image_size} {model.settings}" if str(model.init).startswith(PUBLISHED) else ""
    return str(model.init), model.name, made_for


def _read(config: Config, found: InitialWeights) -> str:
    """Add the weights of a config to those that were found, once; returns their digest."""
    from platform.weights import sources

    source = _source(config)
    if source not in found.digests:
        try:
            weights = sources.read(source[0], config.model, found.experiment, config.data.image_size)
        except ConfigError as error:
            raise _with_remedy(error, found.experiment) from error
        digest = weights.digest()
        found.weights.setdefault(digest, weights)
        found.digests[source] = digest
    return found.digests[source]


def _with_remedy(error: ConfigError, experiment: Experiment) -> ConfigError:
    """Weights that are gone may be kept in the experiment's folder."""
    kept = sorted(path.stem for path in experiment.folder.glob("init/*.safetensors"))
    if len(kept) != 1 or experiment.config.fresh:
        return error
    return ConfigError(f"{first_line(error)}; or go on with those of before, model.init_digest={kept[0]}")


def _recorded_digest(experiment: Experiment, folder: ExperimentFolder, name: str) -> str:
    """The digest that a job which begins no training finds in the record of the one that did; empty: none."""
    if experiment.config.job not in READING or not folder.exists():
        return ""
    recorded = folder.record().configs.get(name, {}).get("model", {})
    same = recorded.get("init") == experiment.members[name].model.init if name in experiment.members else False
    return str(recorded.get("init_digest", "")) if same else ""


def _with_digest(config: Config, digest: str) -> Config:
    return replace(config, model=replace(config.model, init_digest=digest))
