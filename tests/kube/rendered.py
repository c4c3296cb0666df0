"""Experiments composed as the command line does it, and the RayJobs that become of them."""

from typing import Any

from platform.compose.composer import as_given
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.kubernetes.rayjob import rayjob
from tests.composing import experiment_of


def composed(*words: str) -> tuple[Experiment, Config]:
    """The experiment of a command line, and its config with paths as they were given."""
    experiment, composed = experiment_of(*words)
    return experiment, as_given(composed)


def render(*words: str) -> dict[str, Any]:
    """The manifest of a command line, with `cluster=kuberay` at its end where no other is chosen."""
    all_words = on_kubernetes(*words)
    return rayjob(*composed(*all_words), all_words)


def on_kubernetes(*words: str) -> list[str]:
    return [*words] if any(word.startswith("cluster=") for word in words) else [*words, "cluster=kuberay"]
