"""`bench.scale`: the sizes at which `bench.parts=[scale]` measures what grows with them."""

from dataclasses import dataclass, field

from platform.config.checks import require, require_at_least, require_choice, seal

SCALE_ROWS = ("index", "launcher", "copies", "trials", "probabilities")


@dataclass
class ScaleConfig:
    """What `bench.parts=[scale]` measures, and at which rising sizes: the growth is taken from one to another."""

    rows: list[str] = field(default_factory=lambda: list(SCALE_ROWS))  # which of them
    shards: list[int] = field(default_factory=lambda: [1_000, 10_000, 100_000])  # index: shards of a data set
    workers: list[int] = field(default_factory=lambda: [32, 128, 512])  # launcher: of all lanes together
    seconds: list[int] = field(default_factory=lambda: [10_000, 100_000, 604_800])  # launcher: simulated; up to a week
    checkpoints: list[int] = field(default_factory=lambda: [100, 1_000, 10_000])  # copies: made by a training
    trials: list[int] = field(default_factory=lambda: [500, 5_000])  # trials: of a sweep
    images: list[int] = field(default_factory=lambda: [500, 2_000])  # probabilities: evaluated images
    members: int = 3  # probabilities: of the ensemble
    classes: int = 125  # probabilities: of the data set
    linked_members: bool = False  # probabilities: the members' files are links to the first's: a seventh of the disk
    week_looks: int = 240  # launcher: of the most workers, spread evenly over a simulated week

    def __post_init__(self) -> None:
        seal(self, "bench.scale.")
        for row in self.rows:
            require_choice("bench.scale.rows", row, SCALE_ROWS)
        for key in ("shards", "workers", "seconds", "checkpoints", "trials", "images"):
            _require_sizes(f"bench.scale.{key}", getattr(self, key))
        require_at_least("bench.scale.members", self.members, 1)
        require_at_least("bench.scale.classes", self.classes, 5)
        require_at_least("bench.scale.week_looks", self.week_looks, 80)


def _require_sizes(key: str, sizes: list[int]) -> None:
    """Whether growth can be taken from such sizes."""
    rising = len(sizes) > 1 and sizes == sorted(set(sizes)) and sizes[0] > 0
    require(rising, f"{key} is {sizes}; give two rising sizes or more, each at least 1")
