"""Experiments composed as the command line does it, and the RayJobs that become of them."""

from typing import Any

import hydra
from hydra.core.config_store import ConfigStore

from platform.checkout import ROOT
from platform.config.sections import Config, Experiment
from platform.kubernetes.rayjob import rayjob
from platform.launch import as_given, compose


def composed(*words: str) -> tuple[Experiment, Config]:
    """The experiment of a command line, and its config with paths as they were given."""
    ConfigStore.instance().store("schema", Config)
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = hydra.compose("config", list(words))
        return compose(config, list(words)), as_given(config)


def render(*words: str) -> dict[str, Any]:
    """The manifest of a command line, with `cluster=kuberay` at its end where no other is chosen."""
    all_words = on_kubernetes(*words)
    return rayjob(*composed(*all_words), all_words)


def on_kubernetes(*words: str) -> list[str]:
    return [*words] if any(word.startswith("cluster=") for word in words) else [*words, "cluster=kuberay"]
