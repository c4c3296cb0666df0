"""`evaluation`: which images are evaluated, in how many views."""

from dataclasses import dataclass, field

from platform.config.checks import (
    EVALUATED_SPLITS,
    VIEW_COUNTS,
    require,
    require_at_least,
    require_choice,
)


@dataclass
class EvaluationConfig:
    """Which images are evaluated, in how many views, and what is kept of them."""

    split: str = "val"  # job=evaluate: which part is evaluated; test: images that nothing was chosen by
    views: list[int] = field(default_factory=lambda: [1, 10, 144])  # crops of an image, out of these
    every_epochs: int = 1  # single-view evaluation while training; 0: only at the end
    batch_size: int = 512  # views in one forward pass
    stored_dtype: str = (
        "float32"  # of the probabilities kept on disk: samples x views x classes; float16: of their logs
    )

    def __post_init__(self) -> None:
        require_choice("evaluation.split", self.split, EVALUATED_SPLITS)
        known = bool(self.views) and self.views == sorted(set(self.views) & set(VIEW_COUNTS))
        require(known, f"evaluation.views is {self.views}; give rising numbers out of {list(VIEW_COUNTS)}")
        require_at_least("evaluation.every_epochs", self.every_epochs, 0)
        require_at_least("evaluation.batch_size", self.batch_size, 1)
        require_choice("evaluation.stored_dtype", self.stored_dtype, ("float32", "float16"))
