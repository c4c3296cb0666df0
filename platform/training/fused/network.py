"""Several networks of one shape as one: a forward pass of all members' images.

In: the members' own networks, which stay what they are: their parameters become views of the stacked ones, so that
optimisers, averages, checkpoints and evaluation go on with each as if it were alone.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from platform.models.build import logits_and_auxiliary
from platform.training.fused.layers import OF_LAYERS, FusedBatchNorm, FusedDropout, FusedLayer, fused_layer
from platform.training.fused.operations import NotFusable, Operations

Outputs = list[Tensor]  # of each classifier: float logits [N, M, K]


class FusedNetwork:
    """Members computed together. `release` gives them parameters of their own again.

    Args:
        modules: the members' networks, of the same layers and shapes, on one device.

    Raises:
        NotFusable: they differ, or have layers that cannot be computed together. Then they are as they were.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = list(modules)
        _require_same_shape(self.modules)
        self._operations = Operations(len(modules))
        self._layers: list[FusedLayer] = []
        try:
            self._network = self._fused()
        except Exception:
            self.release()
            raise
        norms = [layer for layer in self._layers if isinstance(layer, FusedBatchNorm)]
        self._stacks = [each for layer in self._layers for each in layer.stacks]
        self._dropouts = [layer for layer in self._layers if isinstance(layer, FusedDropout)]
        self._statistics = [
            stack[member] for norm in norms for stack, _ in norm.running for member in range(len(modules))
        ]
        self._own_statistics = [own for norm in norms for _, each in norm.running for own in each]
        self._counters = [[norm.counters[member] for norm in norms if norm.learns] for member in range(len(modules))]

    def _fused(self) -> nn.Module:
        """The first member's network with fused layers."""
        first = self.modules[0]
        nothing: dict[int, Any] = {id(each): None for each in (*first.parameters(), *first.buffers())}
        network = copy.deepcopy(first, nothing)  # without its weights, which fused layers bring
        of: dict[int, FusedLayer] = {}
        for path, layer in first.named_modules(remove_duplicate=False):
            if id(layer) not in of:
                made = fused_layer([module.get_submodule(path) for module in self.modules], self._operations)
                if made is None:
                    continue
                of[id(layer)] = made
                self._layers.append(made)
            if path == "":
                return of[id(layer)]
            network.set_submodule(path, of[id(layer)])
        return network.train()

    def outputs(self, images: Sequence[Tensor], keys_MN: Sequence[Tensor]) -> Outputs:
        """The logits of every classifier, the main one first.

        Args:
            images: of each member, float32 `[N, 3, H, W]`, of one shape.
            keys_MN: what each member's dropout masks follow from, int64 `[N]`.

        Returns:
            `[N, M, K]` each.

        Raises:
            NotFusable: the forward pass does what is not known to keep members apart.
        """
        keys_NM = torch.stack(list(keys_MN), 1)
        for layer in self._dropouts:
            layer.keys_NM = keys_NM
        joined = torch.cat(list(images), 1)
        with self._operations:
            main, auxiliary = logits_and_auxiliary(self._network(joined))
        for layer in self._dropouts:
            layer.keys_NM = None
        return [logits.unflatten(1, (len(self.modules), -1)) for logits in (main, *auxiliary)]

    def begin_step(self) -> None:
        """Forget gradients, and take the members' batch norm statistics."""
        for stack, _ in self._stacks:
            stack.grad = None
        if self._statistics:
            torch._foreach_copy_(self._statistics, self._own_statistics)  # pyright: ignore[reportPrivateImportUsage]

    def give_gradients(self) -> None:
        """Each member's parameters get their own, as views."""
        for stack, parameters in self._stacks:
            gradients = [None] * len(parameters) if stack.grad is None else stack.grad.unbind()
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient

    def give_statistics(self, members: Sequence[int], batches: int) -> None:
        """These members keep the batch norm statistics of the step, of so many batches."""
        if not self._statistics:
            return
        kept = [place for place in range(len(self._statistics)) if place % len(self.modules) in members]
        torch._foreach_copy_(  # pyright: ignore[reportPrivateImportUsage]
            [self._own_statistics[place] for place in kept], [self._statistics[place] for place in kept]
        )
        counters = [each for member in members for each in self._counters[member]]
        torch._foreach_add_(counters, batches)  # pyright: ignore[reportPrivateImportUsage]

    def release(self) -> None:
        """Give every member parameters of its own again."""
        for layer in self._layers:
            for _, parameters in layer.stacks:
                for parameter in parameters:
                    parameter.data = parameter.data.clone()
                    parameter.grad = None


def _require_same_shape(modules: Sequence[nn.Module]) -> None:
    """Require networks whose parameters can be stacked, and whose layers are the same.

    Raises:
        NotFusable: members' parameters differ in name, shape, type, layout in memory or in what is trained; or layers
            share some, differ in type, or, where they have no parameters, in settings.
    """
    described = [
        [
            (name, each.shape, each.dtype, each.device, each.stride(), each.requires_grad)
            for name, each in module.named_parameters(remove_duplicate=False)
        ]
        for module in modules
    ]
    if any(each != described[0] for each in described[1:]):
        raise NotFusable("their networks differ in shape")
    if len(described[0]) != len(list(modules[0].parameters())):
        raise NotFusable("layers of the network share parameters")
    first = dict(modules[0].named_modules(remove_duplicate=False))
    for each in modules[1:]:
        layers = dict(each.named_modules(remove_duplicate=False))
        for path in first.keys() | layers.keys():
            one, other = (_description(found.get(path)) for found in (first, layers))
            if one != other:
                raise NotFusable(f"{path} is {one} in one network and {other} in another")


def _description(layer: nn.Module | None) -> str:
    """Of a layer, what is the same where networks are: nobody has its own of what knows no members."""
    if layer is None:
        return "nothing"
    return type(layer).__name__ if type(layer) in OF_LAYERS else f"{type(layer).__name__}({layer.extra_repr()})"
