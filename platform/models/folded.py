"""A trained network with batch norm folded into the convolutions before it: fewer passes over its maps in evaluation.

In: a network in evaluation mode. Out: another one with the same outputs, to the rounding.
"""

import copy
import logging
from collections import Counter

from torch import nn
from torch.fx import GraphModule, Node, Tracer
from torch.nn.utils.fusion import fuse_conv_bn_eval

from platform.text import one_line

log = logging.getLogger("platform.models")


def folded(network: nn.Module) -> nn.Module:
    """A copy whose convolutions have the scale and shift of the batch norm after them: w' = w s, b' = (b - mean) s +
    beta with s = gamma / sqrt(var + eps).

    Folded is a BatchNorm2d that alone takes what a Conv2d returns. A network whose forward pass PyTorch cannot trace,
    as one that looks at its images, is returned as it is, with a warning.

    Args:
        network: in evaluation mode; it stays as it is.
    """
    try:
        copied = copy.deepcopy(network)
        traced = GraphModule(copied, _IntoBatchNorm().trace(copied))
    except Exception as error:  # whatever somebody's network does with what stands for its images
        log.warning(
            "evaluation.fold_batch_norm is without effect: the network cannot be traced (%s)", one_line(str(error))
        )
        return network
    calls = Counter(str(node.target) for node in traced.graph.nodes if node.op == "call_module")
    for norm in [node for node in traced.graph.nodes if _is(traced, node, nn.BatchNorm2d, calls)]:
        convolution = norm.args[0]
        if not _is(traced, convolution, nn.Conv2d, calls) or len(convolution.users) > 1:
            continue
        pair = (traced.get_submodule(str(node.target)) for node in (convolution, norm))
        traced.set_submodule(str(convolution.target), fuse_conv_bn_eval(*pair))  # pyright: ignore[reportArgumentType]
        norm.replace_all_uses_with(convolution)
        traced.graph.erase_node(norm)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


class _IntoBatchNorm(Tracer):
    """Looks into modules that have batch norm somewhere; of others it matters that they are called, not how they
    work."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        has_norm = any(isinstance(each, nn.BatchNorm2d) for each in m.modules())
        return not has_norm or super().is_leaf_module(m, module_qualified_name)


def _is(traced: GraphModule, node: object, kind: type[nn.Module], calls: Counter[str]) -> bool:
    """Whether a node calls a module of just this kind, which no other node calls."""
    if not isinstance(node, Node) or node.op != "call_module" or calls[str(node.target)] > 1:
        return False
    return type(traced.get_submodule(str(node.target))) is kind
