"""`training` and `checkpoint`: how long, in what batches and precision; when the state is saved."""

from dataclasses import dataclass, field
from typing import Any

from platform.config.checks import (
    require,
    require_at_least,
    require_choice,
    require_image_sizes,
    seal,
)
from platform.config.choices import AVERAGINGS

PRECISIONS = ("auto", "float32", "bfloat16")
NOT_COMPILED, DEFAULT_MODE, CUDA_GRAPHS = "off", "default", "reduce-overhead"
COMPILE_MODES = (NOT_COMPILED, DEFAULT_MODE, "max-autotune-no-cudagraphs", CUDA_GRAPHS)  # as torch.compile calls them
TF32 = ("convolutions", "all", "off")
GRAPHED_OPTIMISERS = ("sgd", "adamw")  # fused kernels that read learning rates from the device
GRADIENT_COMPRESSIONS = ("none", "bfloat16")


@dataclass
class TrainingConfig:
    """How long, in what batches, in what precision; which average of the weights is evaluated."""

    epochs: float = 12.0  # may be a fraction
    batch_size: int = 32  # global, over all workers and accumulated micro-batches; a multiple of loader.streams
    max_batch_per_worker: int = 256  # images in one forward pass; more than this is accumulated
    precision: str = "auto"  # auto: bfloat16 where the CPU or GPU has it in hardware
    channels_last: bool = True  # memory format of images and weights: faster convolutions
    # torch.compile of the network, in training and evaluation. default: fused kernels, the only one for a CPU;
    # max-autotune-no-cudagraphs: the fastest of several, searched for minutes; reduce-overhead: replayed as CUDA
    # graphs, one GPU and images of one size
    compile: str = NOT_COMPILED
    # experimental: a whole step as one CUDA graph, optimiser too; one GPU, optim=sgd or adamw, images of one size and
    # no transforms. The learning rate is float32 then, as the kernels read it
    cuda_graphs: bool = False
    tf32: str = TF32[0]  # what a GPU may round to TF32 in float32: convolutions, matrix products too (all), nothing
    autotune: bool = True  # cuDNN tries its algorithms for each shape of images, and keeps the fastest; GPU only
    gradient_compression: str = GRADIENT_COMPRESSIONS[0]  # of gradients that workers exchange: half the bytes, rounded
    averaging: str = "polyak"  # of AVERAGINGS
    averaging_start: float = 0.5  # polyak: share of the run after which the uniform average begins
    averaging_epochs: float = 1.0  # ema: horizon, epochs after which a step has faded to 1/e
    # other averages of the same training that are evaluated as well, of AVERAGINGS; none: its newest weights
    also_average: list[str] = field(default_factory=list)
    snapshots: bool = False  # the weights at the end of each cycle of schedule=cosine_restarts are evaluated as well
    log_every_steps: int = 10  # metrics are read and logged, which waits for the device
    # [first, last] steps, counted from 1, of which rank 0 writes a trace of PyTorch's profiler; at most 50
    profile_steps: list[int] = field(default_factory=list)
    max_attempts: int = 3  # starts in a row without progress, before a member is given up
    bad_steps: str = "stop"  # at a loss or gradient that is not finite, or above the limit; skip: without the update
    max_bad_steps: int = 10  # skip: so many in a row stop the member after all
    patience_epochs: float = 0.0  # training ends when validation top-1 has not risen for so many epochs; 0: at its end
    min_delta: float = 0.0  # patience_epochs: a rise of top-1, a share, that is not larger is none
    weights: str = "last"  # which are evaluated and exported; best: of the evaluation with the highest top-1
    max_gradient_norm: float = 0.0  # a gradient of a larger L2 norm is a bad step, too; 0: no limit
    # Pixels of the images in training, each size from a share of the run on, such as [[0,160],[0.5,192],[0.8,224]].
    # Empty: data.image_size throughout. Testing always has that, and so has batch norm's recomputing for averages
    sizes: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        require(0 < self.epochs < 1e6, f"training.epochs is {self.epochs}; give more than 0, less than a million")
        require_at_least("training.batch_size", self.batch_size, 1)
        require_at_least("training.max_batch_per_worker", self.max_batch_per_worker, 1)
        require_choice("training.precision", self.precision, PRECISIONS)
        self.compile = NOT_COMPILED if str(self.compile).lower() == "false" else self.compile  # what YAML makes of off
        self.tf32 = "off" if str(self.tf32).lower() == "false" else self.tf32
        require_choice("training.compile", self.compile, COMPILE_MODES)
        require_choice("training.tf32", self.tf32, TF32)
        require_choice("training.gradient_compression", self.gradient_compression, GRADIENT_COMPRESSIONS)
        require_choice("training.averaging", self.averaging, AVERAGINGS)
        require(0 <= self.averaging_start < 1, f"training.averaging_start is {self.averaging_start}; give [0, 1)")
        require(self.averaging_epochs > 0, f"training.averaging_epochs is {self.averaging_epochs}; give more than 0")
        for each in self.also_average:
            require_choice("training.also_average", each, AVERAGINGS)
        distinct = len({self.averaging, *self.also_average}) == 1 + len(self.also_average)
        require(
            distinct,
            f"training.also_average is {self.also_average}, and training.averaging={self.averaging}; give each once",
        )
        require_at_least("training.log_every_steps", self.log_every_steps, 1)
        steps = self.profile_steps
        require(
            not steps or (len(steps) == 2 and 1 <= steps[0] <= steps[1] < steps[0] + 50),
            f"training.profile_steps is {steps}; give [first, last], from 1, at most 50 steps, such as [100,110]",
        )
        require_at_least("training.max_attempts", self.max_attempts, 1)
        require_choice("training.bad_steps", self.bad_steps, ("stop", "skip"))
        require_at_least("training.max_bad_steps", self.max_bad_steps, 1)
        patience, delta = self.patience_epochs, self.min_delta
        require(0 <= patience < 1e6, f"training.patience_epochs is {patience}; give 0 (off), or epochs below a million")
        require(0 <= delta < 1, f"training.min_delta is {delta}; give a share of top-1 in [0, 1)")
        require(
            not delta or patience > 0,
            f"training.min_delta is {delta}, without effect with training.patience_epochs=0; give both",
        )
        require_choice("training.weights", self.weights, ("last", "best"))
        require_at_least("training.max_gradient_norm", self.max_gradient_norm, 0)
        require_image_sizes("training.sizes", self.sizes)
        self.sizes = [[float(share), float(size)] for share, size in self.sizes]
        require(
            self.compile != CUDA_GRAPHS or not self.sizes,
            f"training.compile is {CUDA_GRAPHS}, whose graphs are of one size of images, and training.sizes has "
            f"{len(self.sizes)}; set training.compile=default, or leave training.sizes out",
        )
        self._require_graphs()

    def _require_graphs(self) -> None:
        """Whether whole steps can be graphs, as far as these settings say."""
        said = "training.cuda_graphs is true, whose graph is of one step"
        require(
            not self.cuda_graphs or not self.sizes,
            f"{said} and size, and training.sizes has {len(self.sizes)}; give training.cuda_graphs=false, or leave "
            "training.sizes out",
        )
        require(
            not self.cuda_graphs or self.compile != CUDA_GRAPHS,
            f"{said}, and training.compile is {CUDA_GRAPHS}, whose graphs are its own; give training.compile=default",
        )
        require(
            not self.cuda_graphs or self.bad_steps == "stop",
            f"{said}, optimiser included, and training.bad_steps is {self.bad_steps}, which looks at it before; give "
            "training.bad_steps=stop",
        )


@dataclass
class CheckpointConfig:
    """When the training state is saved, where to, and how many are kept. A killed run resumes from the newest."""

    every_s: float = 300.0  # between checkpoints
    every_steps: int = 0  # as well; 0: by time alone
    with_evaluations: bool = False  # as well, with every single-view evaluation, and on disk before training goes on
    keep: int = 2  # newest ones
    keep_best: bool = True  # and the one of the best single-view score so far (evaluation.every_epochs)
    keep_finished: bool = True  # false: those of a finished member are removed, most of what a run takes on disk
    copy_to: str | None = None  # folder or URL for a copy of each; a run whose machine is lost resumes from there
    max_failures: int = 3  # in a row that could not be written, before the member stops
    grace_s: float = 20.0  # after Ctrl-C, SIGTERM or before a resize, for a last one

    def __post_init__(self) -> None:
        seal(self, "checkpoint.")
        require(self.every_s > 0, f"checkpoint.every_s is {self.every_s}; give more than 0")
        require_at_least("checkpoint.every_steps", self.every_steps, 0)
        require_at_least("checkpoint.keep", self.keep, 1)
        require(self.copy_to != "", "checkpoint.copy_to is empty; give a folder or URL, or null for no copies")
        require(
            not (self.copy_to or "").startswith(("http://", "https://")),
            f"checkpoint.copy_to is {self.copy_to}, which cannot be written to; give a folder, or s3://, gs:// ...",
        )
        require_at_least("checkpoint.max_failures", self.max_failures, 1)
        require_at_least("checkpoint.grace_s", self.grace_s, 0)
