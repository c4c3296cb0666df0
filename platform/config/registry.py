"""`registry`: under which name a run's model goes into MLflow's model registry."""

from dataclasses import dataclass

from platform.config.checks import require

NAME_LENGTH = 100  # MLflow takes 256, of which `NAME-MEMBER` needs some


@dataclass
class RegistryConfig:
    """Whether a finished run is registered, so that models:/NAME@champion is the best so far."""

    name: str | None = None  # of the registered model; each member's is NAME-MEMBER. None: nothing is registered

    def __post_init__(self) -> None:
        name = self.name
        if name is not None:
            plain = name.replace("-", "").replace("_", "").replace(".", "").isalnum() and name[0] != "."
            require(plain, f"registry.name is {name!r}; use letters, digits, '-', '_' and '.' (models:/NAME@champion)")
            size = len(name)
            require(size <= NAME_LENGTH, f"registry.name has {size} characters; give at most {NAME_LENGTH}")
