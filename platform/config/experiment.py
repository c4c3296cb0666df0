"""What a launch makes of `Config`: the experiment that a job runs, and what composes further configs for it.

In: the config as composed, and its overrides. Out: its members, its name and its folder.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from platform.config.sections import Config
from platform.overrides import join

SINGLE = "model"  # what the one member of a training without an ensemble is called


class Composer(Protocol):
    """Makes configs out of `conf/` and overrides. The launcher has the one there is: `platform/compose/composer.py`."""

    def experiment(self, overrides: list[str]) -> "Experiment": ...

    def config(self, overrides: list[str]) -> Config: ...

    def settings(self, overrides: list[str]) -> dict[str, Any]: ...

    def usual_choices(self) -> dict[str, str]: ...


@dataclass
class Experiment:
    """What the launcher hands to a job: the config as composed, one for each member, and what they were composed of."""

    config: Config
    members: dict[str, Config]  # an ensemble's; of a single training one, under the name SINGLE
    overrides: list[str] = field(default_factory=list)  # of the command line
    choices: dict[str, str] = field(default_factory=dict)  # config group -> the file chosen of it
    composer: Composer | None = None  # None: made without the launcher

    def variant(self, overrides: list[str]) -> Config:
        """The config of the same command line with more overrides at its end, in place of its own for the same keys.

        Raises:
            ConfigError: one line with the value, the limit and the remedy.
        """
        assert self.composer is not None, "only the launcher's experiments have variants"
        return self.composer.config(join(self.overrides, overrides))

    @property
    def name(self) -> str:
        return self.config.name or re.sub("[/:]", "-", f"{self.config.model.name}-{self.config.data.name}")

    @property
    def folder(self) -> Path:
        return Path(self.config.output_dir) / self.name
