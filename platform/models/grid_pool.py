"""The pooling in front of an auxiliary head, whose layers behind it are built for maps of one size."""

import torch.nn.functional as F
from torch import Tensor, nn


class GridPool(nn.AvgPool2d):
    """Average pool 5x5/3 of maps of the size that the head was built for: `[N, C, map, map]` -> `[N, C, grid, grid]`.

    Maps of another size, where training changes the size of its images (`training.sizes`), are averaged to a grid of as
    many places; on CUDA PyTorch adds the gradient of that in no fixed order. Maps of less than 5x5 are averaged whole.

    Args:
        map_size: pixels each way of the maps that the head is built for; at least 1.
    """

    def __init__(self, map_size: int) -> None:
        size = min(5, map_size)
        super().__init__(size, stride=3)
        self.map_size, self.grid = map_size, (map_size - size) // 3 + 1

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name it has in PyTorch
        """`[N, C, H, W]` -> `[N, C, grid, grid]`."""
        if input.shape[-2:] == (self.map_size, self.map_size):
            return super().forward(input)
        return F.adaptive_avg_pool2d(input, self.grid)
