"""`python -m platform.launch`: compose the config, make it typed, check it, hand it to its job.

In: the command line (Hydra's). Out: an exit status; every error before Ray starts is one line.
"""

import codecs
import io
import locale
import os
import select
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from platform.checkout import ROOT
from platform.cluster.submission import is_submitted, submission
from platform.compose.composer import as_given, of_command_line, store_schemas
from platform.compose.messages import message_of
from platform.compose.paths import home_paths
from platform.compose.quoting import as_typed, has_several_values
from platform.config.checks import CannotGoOn, ConfigError, require
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.experiment.fresh import once
from platform.marks import mark
from platform.models.sources import require_shipped
from platform.overrides import key_of, quoted
from platform.redaction import Redacting, sealed_overrides
from platform.signals import INTERRUPTED

OWN_CONFIG = ("hydra", "main", "schema")  # what Hydra calls the places of configs, less those of --config-dir
MLFLOWS_OWN = {"MLFLOW_TRACKING_URI": "uri", "MLFLOW_EXPERIMENT_NAME": "experiment"}  # variable -> of tracking
HYDRAS_OPTIONS = ("cfg", "package", "config-path", "config-name", "config-dir", "info", "experimental-rerun")


def main() -> None:
    """Run the command line of this process; exits with its status."""
    _print_anything()
    _hide_secrets()
    try:
        sys.exit(launch(sys.argv[1:]))
    except BrokenPipeError:
        sys.exit(_unread())


def launch(arguments: list[str]) -> int:
    """Run a command line; returns the job's status, 2 for a config that cannot work."""
    for variable in MLFLOWS_OWN:
        if not os.environ.get(variable):  # empty is unset, as it is to MLflow
            os.environ.pop(variable, None)
    for word in arguments:
        option, given, _ = word.removeprefix("--").partition("=")
        if word.startswith("--") and given and option not in HYDRAS_OPTIONS:
            return _refused(f"{word} is no option; write {word.removeprefix('--')}")
    sys.argv[1:] = map(as_typed, arguments)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors to us instead of printing them over many lines
    store_schemas()
    OmegaConf.register_new_resolver("choices", _choices, replace=True)  # of the help page
    # Hydra copies all of it for each of the hundred questions that --help asks, and hands out copies of what it holds.
    ConfigStore.__deepcopy__ = lambda store, memo: store  # pyright: ignore[reportAttributeAccessIssue]
    try:
        _compose_and_run()
    except SystemExit as ended:  # the only way out of Hydra that carries a status
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except RunFailed as failed:
        return failed.status
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        return _refused(message_of(error))
    except AssertionError as error:
        if "NoneType" not in str(error):  # OmegaConf's word for a key inside of what is not there
            raise
        return _refused("cluster.kube is there with cluster=kuberay only; add that")
    except KeyboardInterrupt:  # before a job that has more to say about it
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


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
        words = sealed_overrides(sys.orig_argv)
    except ValueError as error:
        sys.exit(_refused(str(error)))
    if words != sys.orig_argv:
        os.execv(sys.executable, [sys.executable, *words[1:]])


@hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name="config")
def _compose_and_run(composed: DictConfig) -> None:
    overrides = list(HydraConfig.get().overrides.task)
    if not {"experiment", "job"} & set(map(key_of, overrides)):
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
    """Run one of `--multirun` and say which it is.

    Raises:
        RunFailed: the others are not concerned.
        SystemExit: interrupted, which ends all.
    """
    several = {key_of(word) for word in sys.argv[1:] if has_several_values(word)}
    swept = " ".join(override for override in overrides if key_of(override) in several)
    number = HydraConfig.get().job.num
    print(f"\nrun {number}: {swept}", flush=True)
    status = _run(composed, overrides)
    if status == INTERRUPTED:
        sys.exit(status)
    if status:
        print(f"error: run {number} ({swept}) ended with {status}", file=sys.stderr, flush=True)
        raise RunFailed(status)


def _run(composed: DictConfig, overrides: list[str]) -> int:
    """Run the job of a composed config; returns its status, 2 for a config that cannot work."""
    try:
        experiment = of_command_line(composed)
        mark("config composed")
        from_environment = _overrides_of_environment(composed, experiment.config)
        if is_submitted(experiment.config.cluster) or experiment.config.cluster.kube is not None:
            return _run_elsewhere(experiment, as_given(composed), overrides + from_environment)
        return import_module(f"jobs.{experiment.config.job}").run(once(experiment))
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        return _refused(message_of(error))
    except BrokenPipeError:  # here, as Hydra would tell of it
        if _is_read():
            raise  # a connection's
        return _unread()
    except CannotGoOn as error:  # of jobs that leave nothing to say more about
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1


def _overrides_of_environment(composed: DictConfig, config: Config) -> list[str]:
    """What MLflow's variables of this process set, said, and as the overrides that other machines need."""
    overrides = []
    for variable, key in MLFLOWS_OWN.items():
        if OmegaConf.is_interpolation(composed.tracking, key) and variable in os.environ:
            value = getattr(config.tracking, key)
            print(f"tracking.{key} is {value}, of {variable}; tracking.{key}=... on the command line wins", flush=True)
            overrides.append(f"tracking.{key}={quoted(value)}")
    if os.environ.get("MLFLOW_EXPERIMENT_ID"):
        name = config.tracking.experiment
        print(
            f"MLFLOW_EXPERIMENT_ID is not used: tracking.experiment is {name}; give the experiment's name", flush=True
        )
    return overrides


def _run_elsewhere(experiment: Experiment, given: Config, overrides: list[str]) -> int:
    """Have another cluster run the same command; returns the status of that."""
    _require_own_configs()
    for member in experiment.members.values():
        require_shipped(member)
    for key, value in home_paths(given):
        raise ConfigError(f"{key} is {value}, a home folder of this machine; write the path that the cluster sees")
    if experiment.config.cluster.kube is not None:
        check = import_module("jobs.check").run
        return import_module("platform.kubernetes.run").run(experiment, given, overrides, check)
    what = submission(experiment, given, overrides)
    # Ray takes its time to import, which errors need not.
    return import_module("platform.cluster.ray_jobs").run(what, experiment.config)


def _require_own_configs() -> None:
    """Refuse configs that another cluster does not have.

    Raises:
        ConfigError: overrides of this command line choose files that only this machine has.
    """
    for source in HydraConfig.get().runtime.config_sources:
        require(
            source.provider in OWN_CONFIG,
            f"{source.path} is a folder of configs of this machine only; move what it chooses into "
            f"{ROOT / 'conf'}, or onto the command line",
        )


def _choices() -> str:
    """Each group of `conf/` with its choices. Hydra's own list has settings of networks too, which nobody chooses."""
    groups = sorted(folder for folder in (ROOT / "conf").iterdir() if folder.is_dir() and folder.name != "hydra")
    lines = [f"{group.name}: {', '.join(sorted(file.stem for file in group.glob('*.yaml')))}" for group in groups]
    return "\n".join(textwrap.fill(line, 120, subsequent_indent="    ", break_on_hyphens=False) for line in lines)


def _experiments() -> str:
    """Each with what it is and what it needs: data, hardware, time."""
    lines = ["Experiments", ""]
    for file in sorted((ROOT / "conf" / "experiment").glob("*.yaml")):
        lines += [f"  {file.stem}", *(f"      {line}" for line in _described(file)), ""]
    return "\n".join([*lines, "Run one:  python -m platform.launch +experiment=NAME", "Options:  --help"])


def _described(experiment_file: Path) -> list[str]:
    """Of the comments at the head of an experiment file: the first of its own, and what it needs if that is there."""
    comments = [line[2:] for line in experiment_file.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    own = [comment for comment in comments if not comment.startswith("@package")]
    return own[:1] + [comment for comment in own[1:] if comment.startswith("Needs: ")]


def _is_read() -> bool:
    """Whether our output still goes somewhere."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # an error or a hang-up is told unasked
    return not output.poll(0)


def _unread() -> int:
    """Whoever reads our output (`| head`) has seen enough: what is left of it goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _refused(message: str) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    main()
