"""`ensemble`: the members of an experiment."""

from dataclasses import dataclass, field

from platform.config.checks import (
    require_name,
    seal,
)


@dataclass
class EnsembleConfig:
    """The members: name -> what differs from the experiment, written as on the command line."""

    members: dict[str, list[str]] = field(default_factory=dict)  # name -> overrides

    def __post_init__(self) -> None:
        seal(self, "ensemble.")
        for name in self.members:
            require_name("ensemble.members has a name that", str(name))
