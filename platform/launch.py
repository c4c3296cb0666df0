"""`python -m platform.launch`: compose the config, make it typed, check it, hand it to its job.

In: the command line (Hydra's). Out: an exit status; every error before Ray starts is one line.
"""

import codecs
import difflib
import io
import locale
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from platform.checkout import ROOT
from platform.cluster.submission import is_submitted, submission
from platform.config.checks import CannotGoOn, ConfigError, first_line, printable, require
from platform.config.cluster import ClusterConfig
from platform.config.identity import flatten
from platform.config.kubernetes import KubeConfig
from platform.config.sections import MEMORY, Config, Experiment
from platform.overrides import as_typed, at_home, explained, explained_ambiguity, home_paths, refuse_empty, sections
from platform.redaction import Redacting, redacted, sealed_words

INTERRUPTED = 130
OWN_CONFIG = ("hydra", "main", "schema")  # what Hydra calls the places of configs, less those of --config-dir
MLFLOWS_OWN = {"MLFLOW_TRACKING_URI": "uri", "MLFLOW_EXPERIMENT_NAME": "experiment"}  # variable -> of tracking
SINGLE = "model"  # what the one member of a training without an ensemble is called


def main() -> None:
    """Run the command line; exits with the job's status, 2 for a config that cannot work."""
    _print_anything()
    for variable in MLFLOWS_OWN:
        if not os.environ.get(variable):  # empty is unset, as it is to MLflow
            os.environ.pop(variable, None)
    _hide_secrets()
    sys.argv[1:] = map(as_typed, sys.argv[1:])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors to us instead of printing them over many lines
    ConfigStore.instance().store("schema", Config)
    # Hydra copies all of it for each of the hundred questions that --help asks, and hands out copies of what it holds.
    ConfigStore.__deepcopy__ = lambda store, memo: store  # pyright: ignore[reportAttributeAccessIssue]
    try:
        _compose_and_run()
    except RunFailed as failed:
        sys.exit(failed.status)
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        _fail(one_line(error))
    except AssertionError as error:
        if "NoneType" not in str(error):  # OmegaConf's word for a key inside of what is not there
            raise
        _fail("cluster.kube is there with cluster=kuberay only; add that")
    except KeyboardInterrupt:  # before a job that has more to say about it
        print("\ninterrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever reads our output (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _print_anything() -> None:
    """Letters that standard output does not have are written as \\u2014, whatever the locale. Files are UTF-8, also
    where it is another: Python reads that from the environment when it starts."""
    taken = os.environ.get("PYTHONUTF8") == "1" or sys.flags.ignore_environment  # nothing more can be done
    if not sys.flags.utf8_mode and codecs.lookup(locale.getencoding()).name != "utf-8" and not taken:
        os.environ["PYTHONUTF8"] = "1"
        os.environ["PYTHONIOENCODING"] = os.environ.get("PYTHONIOENCODING") or locale.getencoding()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    sys.stdout, sys.stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()  # None where they are closed
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _hide_secrets() -> None:
    """Go on without the passwords and tokens of URLs on the command line: process lists show it, Ray's dashboard has it
    as the entrypoint, Hydra writes it into multirun.yaml. The environment hands them to the same process anew."""
    sys.stdout, sys.stderr = Redacting(sys.stdout), Redacting(sys.stderr)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        words = sealed_words(sys.orig_argv)
    except ValueError as error:
        _fail(str(error))
    if words != sys.orig_argv:
        os.execv(sys.executable, [sys.executable, *words[1:]])


@hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name="config")
def _compose_and_run(composed: DictConfig) -> None:
    overrides = list(HydraConfig.get().overrides.task)
    if not any(override.lstrip("+").startswith(("experiment=", "job=")) for override in overrides):
        print(_experiments())
        return
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        _run_one_of_several(composed, overrides)
    elif status := _run(composed, overrides):
        sys.exit(status)


class RunFailed(Exception):
    """One of the runs of `--multirun`, which has said why. Hydra goes on with the others, and then raises it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it ended with {status}")
        self.status = status


def _run_one_of_several(composed: DictConfig, overrides: list[str]) -> None:
    """
    Raises:
        RunFailed: the others are not concerned.
        SystemExit: interrupted, which ends all.
    """
    common = {word.replace("\\", "") for word in sys.argv}  # Hydra escapes what it hands on
    swept = " ".join(override for override in overrides if override.replace("\\", "") not in common)
    number = HydraConfig.get().job.num
    print(f"\nrun {number}: {swept}", flush=True)
    status = _run(composed, overrides)
    if status == INTERRUPTED:
        sys.exit(status)
    if status:
        print(f"error: run {number} ({swept}) ended with {status}", file=sys.stderr, flush=True)
        raise RunFailed(status)


def _run(composed: DictConfig, overrides: list[str]) -> int:
    """Returns the job's status, 2 for a config that cannot work."""
    try:
        experiment = compose(composed, overrides)
        from_environment = _words_of_environment(composed, experiment.config)
        if is_submitted(experiment.config.cluster) or experiment.config.cluster.kube is not None:
            return _run_elsewhere(experiment, as_given(composed), overrides + from_environment)
        return import_module(f"jobs.{experiment.config.job}").run(experiment)
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
        return 2
    except CannotGoOn as error:  # of jobs that leave nothing to say more about
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1


def _words_of_environment(composed: DictConfig, config: Config) -> list[str]:
    """What MLflow's variables of this process set, said, and as the overrides that other machines need."""
    words = []
    for variable, key in MLFLOWS_OWN.items():
        if OmegaConf.is_interpolation(composed.tracking, key) and variable in os.environ:
            value = getattr(config.tracking, key)
            print(f"tracking.{key} is {value}, of {variable}; tracking.{key}=... on the command line wins", flush=True)
            quoted = value.replace("'", "\\'")
            words.append(f"tracking.{key}='{quoted}'")
    if os.environ.get("MLFLOW_EXPERIMENT_ID"):
        name = config.tracking.experiment
        print(
            f"MLFLOW_EXPERIMENT_ID is not used: tracking.experiment is {name}; give the experiment's name", flush=True
        )
    return words


def _run_elsewhere(experiment: Experiment, given: Config, overrides: list[str]) -> int:
    """Have another cluster run the same words; returns the status of that."""
    _require_own_configs()
    for key, value in home_paths(given):
        raise ConfigError(f"{key} is {value}, a home folder of this machine; write the path that the cluster sees")
    if experiment.config.cluster.kube is not None:
        return import_module("jobs.kuberay").run(experiment, given, overrides)
    what = submission(experiment, given, overrides)
    # Ray takes its time to import, which errors need not.
    return import_module("platform.cluster.ray_jobs").run(what, experiment.config)


def _require_own_configs() -> None:
    """
    Raises:
        ConfigError: words of this command line choose files that only this machine has.
    """
    for source in HydraConfig.get().runtime.config_sources:
        require(
            source.provider in OWN_CONFIG,
            f"{source.path} is a folder of configs of this machine only; move what it chooses into "
            f"{ROOT / 'conf'}, or onto the command line",
        )


def compose(composed: DictConfig, overrides: list[str]) -> Experiment:
    """The typed experiment and its members, each composed as the command line with the member's words at its end."""
    config = typed(composed)
    members = {}
    for name, words in config.ensemble.members.items():
        try:
            members[name] = variant(overrides, words)
        except (ConfigError, HydraException, OmegaConfBaseException) as error:
            raise ConfigError(f"ensemble member {name}: {one_line(error)}") from error
    _refuse_without_effect(overrides, list(config.ensemble.members.values()))
    return Experiment(config, members or {SINGLE: config})


def variant(overrides: list[str], words: list[str]) -> Config:
    """The command line with `words` at its end, in the place of its own for the same keys."""
    words = [as_typed(word) for word in words]
    return typed(hydra.compose("config", _without(overrides, words) + words))


def _refuse_without_effect(overrides: list[str], members: list[list[str]]) -> None:
    """An override that every member replaces by its own would be dropped without a word."""
    for override in overrides:
        if members and all(override not in _without([override], words) for words in members):
            key = override.split("=")[0]
            raise ConfigError(f"{override} has no effect: every ensemble member sets {key}; change the members instead")


def as_given(composed: DictConfig) -> Config:
    """A composed config as dataclasses, interpolations resolved, paths as they are."""
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    return config


def typed(composed: DictConfig) -> Config:
    """The same with absolute paths (workers have other directories)."""
    config = at_home(as_given(composed))
    refuse_empty(config)
    return replace(
        config,
        output_dir=str(Path(config.output_dir).absolute()),
        data=replace(config.data, shards=_absolute(config.data.shards)),
        checkpoint=replace(
            config.checkpoint, copy_to=_absolute(config.checkpoint.copy_to) if config.checkpoint.copy_to else None
        ),
        storage=replace(
            config.storage,
            cache=config.storage.cache if config.storage.cache == MEMORY else _absolute(config.storage.cache),
        ),
    )


def _absolute(path: str) -> str:
    from platform.data.storage import is_remote  # fsspec takes its time, which a list of experiments need not

    return path if is_remote(path) else str(Path(path).absolute())


def _without(overrides: list[str], words: list[str]) -> list[str]:
    """The command line less the keys a member sets itself: Hydra refuses a group chosen twice."""
    own = {word.split("=")[0].lstrip("+") for word in words}
    return [override for override in overrides if override.split("=")[0].lstrip("+") not in own]


def _experiments() -> str:
    files = sorted((ROOT / "conf" / "experiment").glob("*.yaml"))
    lines = [f"  {file.stem:<28}{_summary(file)}" for file in files]
    return "\n".join(
        ["Experiments:", *lines, "", "Run one:  python -m platform.launch +experiment=NAME", "Options:  --help"]
    )


def _summary(experiment_file: Path) -> str:
    """The second comment line of an experiment file."""
    comments = [line for line in experiment_file.read_text().splitlines() if line.startswith("# ")]
    return comments[1].removeprefix("# ") if len(comments) > 1 else ""


def one_line(error: BaseException) -> str:
    """An error of the config as one line with the value and the remedy, whoever raised it."""
    return printable(redacted(_one_line(error)))


def _one_line(error: BaseException) -> str:
    text = str(error)
    cause = error.__cause__ or error.__context__
    if isinstance(error, ConfigError):
        return text
    if isinstance(cause, ConfigError):
        return str(cause)
    if isinstance(error, OverrideParseException):
        return explained(error)
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is ???, Hydra's word for a value that is missing; give one"
    if match := re.match(r"Ambiguous value for argument '(.*)'", text):
        return explained_ambiguity(match[1])
    if match := re.match(r"Could not override '([\w./@]+)'\. No match in the defaults list", text):
        return f"{match[1]} is not chosen yet; write +{match[1]}=NAME"
    if match := re.match(r"Could not override '([\w.]+)'", text):
        return unknown_key(match[1])
    if match := re.search(r"Could not find '([\w/]+)/([^/']+)'", text):
        return _no_such_choice(match[1], match[2])
    if match := re.match(r"Error merging override ([^=]+)=(.*)", text):
        if keys := sections().get(match[1]):
            return f"{match[1]} is {match[2]!r}, and a section of settings; give one of {_listed(match[1], keys)}"
        reason = first_line(cause) if cause else "it is of the wrong type"
        return f"{match[1]} is {match[2]!r}: {reason}; --cfg job shows its kind"
    return "; ".join(line.strip() for line in text.splitlines()[:3] if line.strip())


def unknown_key(key: str) -> str:
    """The message for a key that Hydra does not find, with the nearest that exist."""
    known = list(flatten(asdict(Config(cluster=ClusterConfig(kube=KubeConfig())))))
    if key in known:
        return f"{key} gets entries it does not have yet; write +{key}=..."
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    remedy = f"did you mean {' or '.join(near)}?" if near else "see --cfg job for all keys"
    return f"{key} does not exist; {remedy}"


def _listed(section: str, keys: list[str]) -> str:
    more = f", or of {len(keys) - 6} more: see --cfg job" if len(keys) > 6 else ""
    return ", ".join(f"{section}.{key}" for key in keys[:6]) + more


def _no_such_choice(group: str, name: str) -> str:
    """The message for a choice without a file; `model=torchvision/resnet18` asks for one of the group model."""
    while "/" in group and not (ROOT / "conf" / group).is_dir():
        group, _, below = group.rpartition("/")
        name = f"{below}/{name}"
    said = f"{group}={name} does not exist; choose one of {', '.join(_choices(group))}"
    return f"{said}, or give model.name={name}" if group == "model" and name.startswith("torchvision/") else said


def _choices(group: str) -> Iterable[str]:
    return sorted(file.stem for file in (ROOT / "conf" / group).glob("*.yaml"))


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
