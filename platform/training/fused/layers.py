"""Layers that compute several members at once: grouped convolutions, batched matrix products.

In: the same layer of each member. Out: a layer of all of them, whose weights are stacks `[M, ...]`; the members' own
weights are views of these from then on.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from platform.data.pixels import constant
from platform.models.dropout import SampleDropout, SampleDropPath, uniforms
from platform.training.fused.operations import NotFusable, Operations


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of one shape as `[M, ...]`, each laid out in memory as the first is by itself."""
    first = tensors[0].detach()
    stack = torch.empty_strided(
        (len(tensors), *first.shape), (first.numel(), *first.stride()), dtype=first.dtype, device=first.device
    )
    for place, each in zip(stack, tensors, strict=True):
        place.copy_(each.detach())
    return stack


class FusedLayer(nn.Module):
    """A layer of several members.

    Args:
        layers: the members' own, of one type and shape; their parameters become views of this layer's.
        operations: watches the forward pass.
    """

    def __init__(self, layers: Sequence[nn.Module], operations: Operations) -> None:
        super().__init__()
        self.layers, self.operations = tuple(layers), operations  # a tuple: not part of this one, whose mode is another
        self.stacks: list[tuple[Tensor, list[nn.Parameter]]] = []

    def _stack(self, name: str) -> Tensor | None:
        """The parameters of that name, stacked; None: they have none."""
        own: list[nn.Parameter | None] = [getattr(layer, name) for layer in self.layers]
        parameters = [each for each in own if each is not None]
        if not parameters:
            return None
        stack = stacked(parameters)
        for parameter, place in zip(parameters, stack, strict=True):
            parameter.data = place
        self.stacks.append((stack.requires_grad_(parameters[0].requires_grad), parameters))
        return stack

    def _same(self, *names: str) -> None:
        """Require that settings of these names are the members' alike.

        Raises:
            NotFusable: one is not.
        """
        for name in names:
            if len({str(getattr(layer, name)) for layer in self.layers}) > 1:
                raise NotFusable(f"{name} of a {type(self.layers[0]).__name__} differs between members")

    def forward(self, x: Tensor) -> Tensor:
        """`[N, M C, ...]` -> `[N, M C', ...]`."""
        with self.operations.layer():
            return self._computed(x)

    @abstractmethod
    def _computed(self, x: Tensor) -> Tensor:
        """The forward pass."""


class FusedConv(FusedLayer):
    """A convolution whose groups are the members'."""

    def __init__(self, layers: Sequence[nn.Conv2d], operations: Operations) -> None:
        super().__init__(layers, operations)
        self._same("stride", "padding", "dilation", "groups", "padding_mode")
        if self._of.padding_mode != "zeros":
            raise NotFusable(f"a convolution pads with {self._of.padding_mode}, and only zeros are known")
        self.weight, self.bias = self._stack("weight"), self._stack("bias")

    @property
    def _of(self) -> nn.Conv2d:
        return cast("nn.Conv2d", self.layers[0])

    def _computed(self, x: Tensor) -> Tensor:
        assert self.weight is not None
        of, bias = self._of, None if self.bias is None else self.bias.flatten()
        groups = of.groups * len(self.layers)
        return F.conv2d(x, self.weight.flatten(0, 1), bias, of.stride, of.padding, of.dilation, groups)


class FusedLinear(FusedLayer):
    """A batched matrix product."""

    def __init__(self, layers: Sequence[nn.Linear], operations: Operations) -> None:
        super().__init__(layers, operations)
        self.weight, self.bias = self._stack("weight"), self._stack("bias")

    def _computed(self, x: Tensor) -> Tensor:
        assert self.weight is not None
        if x.dim() != 2:
            raise NotFusable(f"a linear layer has an input of {x.dim()} dimensions")
        inputs_MNI = x.unflatten(1, (len(self.layers), -1)).transpose(0, 1)
        weight_MIO = self.weight.transpose(1, 2)
        if self.bias is None:
            outputs_MNO = torch.bmm(inputs_MNI, weight_MIO)
        else:
            outputs_MNO = torch.baddbmm(self.bias[:, None], inputs_MNI, weight_MIO)
        return outputs_MNO.transpose(0, 1).flatten(1)


class FusedBatchNorm(FusedLayer):
    """Batch norm treats each channel by itself. Its statistics are copies, see `FusedNetwork.begin_step`."""

    def __init__(self, layers: Sequence[nn.BatchNorm2d], operations: Operations) -> None:
        super().__init__(layers, operations)
        self._same("eps", "momentum", "track_running_stats")
        if self._of.momentum is None or self._of.running_mean is None:
            raise NotFusable("a batch norm keeps a plain mean of its statistics, or none")
        self.weight, self.bias = self._stack("weight"), self._stack("bias")
        self.running: list[tuple[Tensor, list[Tensor]]] = []  # stacks, and the members' own
        self.counters: list[Tensor] = [cast("Tensor", layer.num_batches_tracked) for layer in layers]
        self.mean, self.var = self._copied("running_mean"), self._copied("running_var")

    @property
    def _of(self) -> nn.BatchNorm2d:
        return cast("nn.BatchNorm2d", self.layers[0])

    @property
    def learns(self) -> bool:
        """Whether its statistics change; a frozen one is in evaluation mode."""
        return self._of.training

    def _copied(self, name: str) -> Tensor:
        own: list[Tensor] = [getattr(layer, name) for layer in self.layers]
        stack = stacked(own)
        self.running.append((stack, own))
        return stack

    def _computed(self, x: Tensor) -> Tensor:
        of = self._of
        weight, bias = (None if each is None else each.flatten() for each in (self.weight, self.bias))
        assert of.momentum is not None
        mean, var = self.mean.flatten(), self.var.flatten()  # views: they are changed in place
        return F.batch_norm(x, mean, var, weight, bias, self.learns, of.momentum, of.eps)


class FusedDropout(FusedLayer):
    """Dropout by the keys of the members' samples; probabilities may differ."""

    keys_NM: Tensor | None = None  # of the next forward pass

    def __init__(self, layers: Sequence[SampleDropout], operations: Operations) -> None:
        super().__init__(layers, operations)
        self._same("number")
        self._probabilities, self._number = [layer.p for layer in layers], layers[0].number

    def _computed(self, x: Tensor) -> Tensor:
        if not any(self._probabilities) or not self.layers[0].training:
            return x
        if self.keys_NM is None:
            raise NotFusable("dropout has no keys of samples")
        members, keys = len(self.layers), self.keys_NM.flatten() ^ (self._number << 53)
        x_NM = x.unflatten(1, (members, -1))
        kept = self._kept(x_NM, keys)
        shape = (1, members, *[1] * (x_NM.dim() - 2))
        kept_shares = constant(tuple(1 - p for p in self._probabilities), x.device, torch.float32).view(shape)
        return (x_NM * (kept.to(x.dtype) / kept_shares.to(x.dtype))).flatten(1, 2)

    def _kept(self, x_NM: Tensor, keys: Tensor) -> Tensor:
        return self._above(uniforms(keys, x_NM[0, 0].numel())).view(x_NM.shape)

    def _above(self, draws: Tensor) -> Tensor:
        """Which draws `[N M, count]` are of features that stay."""
        p_M1 = constant(tuple(self._probabilities), draws.device, torch.float32)[:, None]
        return draws.unflatten(0, (-1, len(self.layers))) >= p_M1


class FusedDropPath(FusedDropout):
    """Stochastic depth by the same keys."""

    def __init__(self, layers: Sequence[SampleDropPath], operations: Operations) -> None:
        super().__init__(layers, operations)
        self._same("scaled")
        if not layers[0].scaled:
            raise NotFusable("stochastic depth without scaling")

    def _kept(self, x_NM: Tensor, keys: Tensor) -> Tensor:
        return self._above(uniforms(keys, 1)).view(*x_NM.shape[:2], *[1] * (x_NM.dim() - 2))


OF_LAYERS: dict[type[nn.Module], Callable[..., FusedLayer]] = {
    nn.Conv2d: FusedConv,
    nn.Linear: FusedLinear,
    nn.BatchNorm2d: FusedBatchNorm,
    SampleDropout: FusedDropout,
    SampleDropPath: FusedDropPath,
}


def fused_layer(layers: Sequence[nn.Module], operations: Operations) -> FusedLayer | None:
    """The layer of all members; None: it has nothing of its own.

    Raises:
        NotFusable: it has parameters or buffers, and is of no known type; or the members' differ.
    """
    first = layers[0]
    make = OF_LAYERS.get(type(first))
    if make is not None:
        return make(cast("Any", layers), operations)
    if [*first.parameters(recurse=False), *first.buffers(recurse=False)] or isinstance(
        first, nn.modules.dropout._DropoutNd
    ):
        raise NotFusable(f"a layer is a {type(first).__name__}, of which no fused one is known")
    return None
