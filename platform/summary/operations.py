"""What a forward pass did: operations in order, from which others each got its input, which modules called them.

In: nothing. Out: the records that the recorder fills (`recorder.py`) and everything else here reads.
"""

from dataclasses import dataclass, field

from platform.summary.receptive_field import Field

IMAGES = -1  # number of the input, where an operation's inputs are numbered
CONVOLUTIONS = ("convolution", "_convolution", "cudnn_convolution")
MAX_POOLS = ("max_pool2d_with_indices", "max_pool2d", "adaptive_max_pool2d")
AVERAGE_POOLS = ("avg_pool2d", "_adaptive_avg_pool2d")
MATRIX_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
SOFTMAXES = ("_softmax", "_safe_softmax", "softmax")
ADDITIONS = ("add", "add_", "sub", "sub_")
PRODUCTS = ("mul", "mul_")
CONCATENATIONS = ("cat", "stack")


@dataclass(frozen=True)
class Scope:
    """One call of a module.

    Args:
        number: in order; 0 is the network itself.
        path: of the module, PyTorch's; the network's is empty.
        kind: name of its class.
        parent: number of the call that it was made in; None: the network's.
        is_sequence: it does nothing but call its children one after the other.
        is_plain: an `nn.Sequential` itself, none of a class of its own.
    """

    number: int
    path: str
    kind: str
    parent: int | None
    is_sequence: bool = False
    is_plain: bool = False


@dataclass(frozen=True)
class Window:
    """What a convolution or a pooling looks at; height first."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass
class Operation:
    """One operation on what came of the images; views are none."""

    number: int
    name: str  # of ATen, such as convolution
    scope: int  # the call that it belongs to
    inputs: tuple[int, ...]  # numbers of operations, or IMAGES
    operands: int  # arguments that come from the images, views of one output counted each
    shape: tuple[int, ...]  # of the output, without the images' axis
    elements: int = 0  # of the output, for an image
    multiply_adds: int = 0  # for an image
    parameters: tuple[str, ...] = ()  # names of those used here and nowhere before
    window: Window | None = None
    receptive_field: Field | None = None  # None: unknown
    saved_bytes: float = 0.0  # of its output and what else is kept for the backward pass, for an image, in float32

    @property
    def is_weighted(self) -> bool:
        """Whether it is a layer as papers count them: a convolution or matrix product with weights."""
        return self.name in CONVOLUTIONS or (self.name in MATRIX_PRODUCTS and self.operands == 1)

    @property
    def is_attention(self) -> bool:
        """Whether it is all of attention in one operation."""
        return "scaled_dot_product" in self.name or "multi_head_attention" in self.name

    @property
    def is_pooling(self) -> bool:
        """Whether it takes means or maxima of windows, or of whole maps."""
        if self.window is not None and self.window.kernel == (1, 1):  # an adaptive one of the size that is there
            return False
        return self.name in MAX_POOLS + AVERAGE_POOLS or self.is_reduction

    @property
    def is_reduction(self) -> bool:
        """Whether it takes the mean or the largest over whole maps."""
        return self.name in ("mean", "amax") and self.window is not None


@dataclass
class Recording:
    """A forward pass in training.

    Args:
        scopes: calls of modules, in order.
        operations: in order.
        output: number of the operation whose output is the main logits.
        auxiliary: the same of the auxiliary heads.
        sizes: parameter -> number of elements.
        matrices: parameters that are weights of a product, no biases and no scales: of more than one axis.
        shapes: scope -> of its output, without the images' axis.
    """

    scopes: list[Scope]
    operations: list[Operation]
    output: int
    auxiliary: list[int] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    matrices: frozenset[str] = frozenset()
    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def needed_for(self, output: int) -> set[int]:
        """Numbers of the operations without which there is no such output."""
        found: set[int] = set()
        waiting = [output]
        while waiting:
            number = waiting.pop()
            if number != IMAGES and number not in found:
                found.add(number)
                waiting += self.operations[number].inputs
        return found
