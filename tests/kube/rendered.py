"""Experiments composed as the command line does it, and the RayJobs that become of them."""

from typing import Any

import hydra

from platform.compose.composer import as_given
from platform.config.sections import Config, Experiment
from platform.kubernetes.rayjob import rayjob
from tests.composing import composing


def composed(*words: str) -> tuple[Experiment, Config]:
    """The experiment of a command line, and its config with paths as they were given."""
    with composing() as composer:
        return composer.experiment(list(words)), as_given(hydra.compose("config", list(words)))


def render(*words: str) -> dict[str, Any]:
    """The manifest of a command line, with `cluster=kuberay` at its end where no other is chosen."""
    all_words = on_kubernetes(*words)
    return rayjob(*composed(*all_words), all_words)


def on_kubernetes(*words: str) -> list[str]:
    return [*words] if any(word.startswith("cluster=") for word in words) else [*words, "cluster=kuberay"]
