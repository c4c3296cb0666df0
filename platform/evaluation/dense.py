"""A trained network at every position of images larger than those that it was trained with, whole and in one pass.

In: images of any size, and a network that ends in an average over its last maps and a linear layer. Out: probabilities,
averaged over all positions at which maps of the trained size lie (OverFeat, arXiv 1312.6229; VGG, arXiv 1409.1556).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DenseNetwork:
    """The network applied densely. On an image of just the size of a crop there is one position: the network itself.

    Args:
        network: on its device; it has the modules `stages`, the last of which makes the last maps, and `classifier`.
        image_size: height and width in pixels of the images that it was trained with.
    """

    def __init__(self, network: nn.Module, image_size: int) -> None:
        self._network = network.eval()
        self._last = list(network.get_submodule("stages").children())[-1]
        classifier = network.get_submodule("classifier")
        assert isinstance(classifier, nn.Linear), "see DENSE_NETWORKS"
        self._weight, self._bias = classifier.weight[:, :, None, None], classifier.bias
        crop = torch.zeros(1, 3, image_size, image_size, device=classifier.weight.device)
        self._window = tuple(self._maps(crop).shape[-2:])  # of the maps, that the trained average is over

    @torch.inference_mode()
    def probabilities(self, images_NCHW: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Softmax probabilities, the mean over all positions, `[N, K]` float32.

        Args:
            images_NCHW: normalised, at least as large each way as those of the training.
            dtype: of matrix products and convolutions; float32: without autocast.
        """
        with torch.autocast(images_NCHW.device.type, dtype, enabled=dtype != torch.float32):
            maps = F.avg_pool2d(self._maps(images_NCHW), self._window, stride=1)
            logits_NKHW = F.conv2d(maps, self._weight, self._bias)
        return logits_NKHW.float().softmax(1).mean((2, 3))

    @torch.inference_mode()
    def _maps(self, images: Tensor) -> Tensor:
        """What the last stage makes of them, `[N, C, H, W]`."""
        found: list[Tensor] = []

        def keep(module: nn.Module, given: tuple[Tensor, ...], maps: Tensor) -> None:
            found.append(maps)

        hook = self._last.register_forward_hook(keep)
        try:
            self._network(images)  # its own average and linear layer after the maps cost next to nothing
        finally:
            hook.remove()
        return found[0]
