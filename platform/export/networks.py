"""A trained network as files that need none of this code: a program of torch.export, and its weights as safetensors.

In: a network in evaluation mode, on the CPU, in float32. Out: the files, checked against the network.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, export, save

from platform.export import ExportError
from platform.export.program import load_program

TOLERANCE = 1e-4  # of logits, by their largest: both are sums in float32, which may differ in their order
# Batches of the check, in the formats that images may have; the export is made with two images.
BATCHES = ((1, torch.channels_last), (2, torch.contiguous_format), (5, torch.channels_last))


def write_program(network: nn.Module, image_size: int, path: Path) -> float:
    """Export a network with a dynamic batch and check the file.

    Args:
        network: on the CPU, in float32; images `[N, 3, image_size, image_size]` -> logits `[N, K]` in evaluation.
        image_size: in pixels.
        path: of the new file, which ends in .pt2.

    Returns:
        the largest difference of logits that was seen, as a share of the largest logit.

    Raises:
        ExportError: torch cannot export this network, or the program's logits differ by more than TOLERANCE.
    """
    network.eval()
    example = torch.zeros(2, 3, image_size, image_size)
    try:
        program = export(network, (example,), dynamic_shapes=({0: Dim("batch", min=1)},))
        for node in program.graph.nodes:  # paths of this machine, and names of this code
            for key in ("stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack", "from_node"):
                node.meta.pop(key, None)
        program.example_inputs = None  # else as large as the images
        save(program, path)
        written = load_program(path, torch.device("cpu"))
    except Exception as error:  # torch raises errors of many types for what it cannot export
        raise ExportError((str(error).splitlines() or [type(error).__name__])[0]) from error
    return _checked(network, written, image_size)


@torch.inference_mode()
def _checked(network: nn.Module, program: Callable[[Tensor], Tensor], image_size: int) -> float:
    """The largest difference of logits over some batches of noise, as a share of the largest logit."""
    largest = 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for images, memory_format in BATCHES:
            noise = torch.randn(images, 3, image_size, image_size).contiguous(memory_format=memory_format)
            expected, found = network(noise), program(noise)
            scale = expected.abs().max().clamp(min=1)
            largest = max(largest, float((found - expected).abs().max() / scale))
    if not largest <= TOLERANCE:  # NaN is not
        raise ExportError(f"its logits differ by {largest:.2g} of the largest one, more than {TOLERANCE:g}")
    return largest


def write_weights(network: nn.Module, path: Path) -> None:
    """Write the state dict as safetensors, as PyTorch names it: `load_state_dict` of the same network takes it."""
    from safetensors.torch import save_model

    save_model(network, str(path))
