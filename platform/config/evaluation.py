"""`evaluation`: which images are evaluated, in how many views."""

from dataclasses import dataclass, field
from typing import Any

from platform.config.checks import (
    EVALUATED_SPLITS,
    VIEW_COUNTS,
    is_whole,
    require,
    require_at_least,
    require_choice,
)

AUTO = "auto"
BATCH_SIZE = 512  # views; where it is auto, what trying begins with
KEEPS = ALL, MEANS, TOP = "all", "means", "top"  # of evaluation.keep
# An average over the last maps, and a linear layer; torchvision's VGG has linear layers of the last maps' positions
DENSE_NETWORKS = ("googlenet", "bn_inception", "inception_v2", "inception_v3")


@dataclass
class EvaluationConfig:
    """Which images are evaluated, in how many views, and what is kept of them."""

    split: str = "val"  # job=evaluate: which part is evaluated; test: images that nothing was chosen by
    views: list[int] = field(default_factory=lambda: [1, 10, 144])  # crops of an image, out of these
    # whole images as well, at every position of the last maps: their shorter sides in pixels, as [256,320]; none
    dense: list[int] = field(default_factory=list)
    blends: bool = False  # weighted and greedy averaging, and temperature, from the kept probabilities
    every_epochs: int = 1  # single-view evaluation while training; 0: only at the end
    # views in one forward pass; auto: found on the GPU before the first one, by trying twice as many until memory is
    # short or nothing is gained; on CPU the default. Scores depend on it by rounding: a number keeps every bit
    batch_size: Any = BATCH_SIZE
    fold_batch_norm: bool = False  # into the convolutions before it: fewer passes over memory; scores to the rounding
    stored_dtype: str = (
        "float32"  # of the probabilities kept on disk: samples x views x classes; float16: of their logs
    )

    # what is kept of them: all: of every view; means: their means over each number in views, and the largest over all;
    # top: of these means the largest classes, so that scores of an ensemble are approximate
    keep: str = ALL
    keep_top: int = 20  # of keep=top: how many classes

    def __post_init__(self) -> None:
        require_choice("evaluation.split", self.split, EVALUATED_SPLITS)
        known = bool(self.views) and self.views == sorted(set(self.views) & set(VIEW_COUNTS))
        require(known, f"evaluation.views is {self.views}; give rising numbers out of {list(VIEW_COUNTS)}")
        rising = self.dense == sorted(set(self.dense))
        require(rising, f"evaluation.dense is {self.dense}; give rising shorter sides in pixels, such as [256,320]")
        require_at_least("evaluation.every_epochs", self.every_epochs, 0)
        size = self.batch_size
        known = size == AUTO or (is_whole(size) and size >= 1)
        require(known, f"evaluation.batch_size is {size!r}; give at least 1, or auto")
        require_choice("evaluation.stored_dtype", self.stored_dtype, ("float32", "float16"))
        require_choice("evaluation.keep", self.keep, KEEPS)
        require_at_least("evaluation.keep_top", self.keep_top, 5)  # for top-5 to be exact

    @property
    def views_at_once(self) -> int:
        """Views in one forward pass, where no other number is found."""
        return BATCH_SIZE if self.batch_size == AUTO else int(self.batch_size)

    def require_dense(self, model: str, image_size: int, job: str) -> None:
        """Whether whole images, if they are asked for, can be evaluated.

        Args:
            model: name of the network.
            image_size: that it is trained with.
            job: what is done.

        Raises:
            ConfigError: they cannot.
        """
        if not self.dense:
            return
        sides = f"evaluation.dense is {self.dense}"
        require(job != "sweep", f"{sides}, which a sweep's trials are not scored by; leave it out")
        require(
            self.dense[0] >= image_size,
            f"{sides}, and the network is trained with data.image_size={image_size}; give at least that",
        )
        require(
            model in DENSE_NETWORKS,
            f"{sides}, and model.name={model} is not known to end in an average over its last maps and a linear layer, "
            f"as {', '.join(DENSE_NETWORKS)} do; leave it out",
        )
