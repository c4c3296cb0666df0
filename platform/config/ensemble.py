"""`ensemble`: the members of an experiment."""

from dataclasses import dataclass, field

from platform.config.checks import (
    require,
    require_name,
    seal,
)


@dataclass
class EnsembleConfig:
    """The members: name -> what differs from the experiment, written as on the command line."""

    members: dict[str, list[str]] = field(default_factory=dict)  # name -> overrides
    # All members see the images in one order, the experiment's; crops, colours and dropout stay each one's own. Those
    # that are trained together (cluster.fuse) then decode each image once. Part of what an experiment is
    shared_order: bool = False
    order_key: int | None = None  # of that order, which the launcher fills in

    def __post_init__(self) -> None:
        seal(self, "ensemble.")
        for name in self.members:
            require_name("ensemble.members has a name that", str(name))
        require(
            self.order_key is None or self.shared_order,
            f"ensemble.order_key is {self.order_key}, and ensemble.shared_order is false; leave it out",
        )
