"""The layers of a stage as a graph: what a person would draw, without normalisations, activations and copies.

In: the operations of a stage. Out: layers in order; each knows the layers that its inputs come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from platform.summary.operations import (
    ADDITIONS,
    CONCATENATIONS,
    CONVOLUTIONS,
    MATRIX_PRODUCTS,
    MAX_POOLS,
    PRODUCTS,
    SOFTMAXES,
    Operation,
    Window,
)

CONV, LINEAR, ATTENTION, MATMUL, POOL = "conv", "linear", "attention", "matmul", "pool"
CONCAT, ADD, MULTIPLY, OTHER = "concat", "add", "multiply", "other"
JOINTS = (CONCAT, ADD, MULTIPLY)


@dataclass
class Layer:
    """A block of a picture.

    Args:
        number: in the stage, in order.
        kind: one of the above.
        what: for people, such as `3x3/2`, `max 3x3/2`, `linear`.
        width: channels or features of its output.
        inputs: numbers of layers; what comes from outside of the stage is left out.
        from_outside: whether an input comes from outside.
        multiply_adds: for an image.
        parameters: elements.
    """

    number: int
    kind: str
    what: str
    width: int
    inputs: list[int]
    from_outside: bool = False
    multiply_adds: int = 0
    parameters: int = 0
    is_weighing: bool = False  # a softmax is behind it
    operations: list[int] = field(default_factory=list)

    @property
    def is_joint(self) -> bool:
        """Whether it only brings others together."""
        return self.kind in JOINTS


def layers_of(operations: Sequence[Operation], sizes: dict[str, int]) -> list[Layer]:
    """The layers of a stage.

    Args:
        operations: of the stage, in order.
        sizes: of parameters.
    """
    found: list[Layer] = []
    place: dict[int, int | None] = {}  # operation -> the layer that it is part of; None: a copy of what comes in
    for operation in operations:
        inside = [each for each in operation.inputs if each in place]
        sources = list(dict.fromkeys(place[each] for each in inside))
        from_outside = len(inside) < len(operation.inputs) or None in sources
        inputs = [each for each in sources if each is not None]
        kind = _kind(operation, len(inputs) + from_outside)
        if kind == MATMUL and (scores := next((each for each in inputs if found[each].is_weighing), None)) is not None:
            layer = found[scores]  # values weighed by the softmax of scores
            layer.kind, layer.what = ATTENTION, "attention"
            layer.width = operation.elements // max(operation.shape[-2], 1)  # of all heads
            layer.inputs = list(dict.fromkeys([*layer.inputs, *(each for each in inputs if each != scores)]))
            layer.from_outside |= from_outside
        elif kind is None and inputs:
            layer = found[inputs[0]]
            layer.is_weighing |= operation.name in SOFTMAXES
        elif kind is None:
            place[operation.number] = None
            if not operation.parameters:
                continue
            layer = None
        else:
            layer = Layer(len(found), kind, _what(operation, kind), _width(operation), inputs, from_outside)
            found.append(layer)
        if layer is not None:
            place[operation.number] = layer.number
            layer.operations.append(operation.number)
            layer.multiply_adds += operation.multiply_adds
            layer.parameters += sum(sizes[name] for name in operation.parameters)
    return found


def _kind(operation: Operation, inputs: int) -> str | None:
    """What it is to a person; None: part of the layer before it."""
    name = operation.name
    if operation.is_attention:
        return ATTENTION
    if name in CONVOLUTIONS:
        return CONV
    if name in MATRIX_PRODUCTS:
        return LINEAR if operation.is_weighted else MATMUL
    if operation.is_pooling:
        return POOL
    if inputs < 2:
        return None
    if name in CONCATENATIONS:
        return CONCAT
    return ADD if name in ADDITIONS else MULTIPLY if name in PRODUCTS else OTHER


def _what(operation: Operation, kind: str) -> str:
    window = operation.window
    if kind == CONV:
        return _window_text(window, depthwise=operation.shape[0] == window.groups > 1) if window else "conv"
    if kind == POOL:
        word = "max" if operation.name in (*MAX_POOLS, "amax") else "avg"
        if window is None:
            return f"{word} to {'x'.join(map(str, operation.shape[-2:]))}"
        return f"{word} {_window_text(window)}" if not operation.is_reduction else f"{word} {_size(window.kernel)}"
    return {LINEAR: "linear", ATTENTION: "attention", MATMUL: "matmul"}.get(kind, operation.name.strip("_"))


def _window_text(window: Window, *, depthwise: bool = False) -> str:
    """`3x3/2`: kernel and stride, `/2` where it is not 1; groups and dilation where there are any."""
    text = _size(window.kernel) + (f"/{window.stride[0]}" if window.stride != (1, 1) else "")
    if window.dilation != (1, 1):
        text += f" dil {window.dilation[0]}"
    if window.groups > 1:
        text += " dw" if depthwise else f" g{window.groups}"
    return text


def _size(kernel: tuple[int, int]) -> str:
    return f"{kernel[0]}x{kernel[1]}"


def _width(operation: Operation) -> int:
    """Channels of maps, features of tokens."""
    shape = channels_first(operation.shape)
    return 1 if not shape else shape[0] if len(shape) == 3 else shape[-1]


def channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Channels, height, width of a map that may have its channels last, as its sides are of one length."""
    if len(shape) == 3 and shape[0] == shape[1] != shape[2]:
        return shape[2], shape[0], shape[1]
    return shape
