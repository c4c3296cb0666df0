"""The images of a worker's share of a split, read ahead, decoded in threads and handed out in order."""

import contextlib
from collections.abc import Iterator

import numpy as np

from platform.config.data import DataConfig
from platform.data.batch import Batch
from platform.data.index import Split
from platform.data.loader import Loader, Render
from platform.data.readahead import ShareAhead


@contextlib.contextmanager
def batches_of(
    split: Split,
    share: range,
    together: int,
    shape: tuple[int, ...],
    render: Render,
    data: DataConfig,
    prefetch: int,
    threads: int,
    *,
    pin: bool = False,
) -> Iterator[Iterator[Batch]]:
    """Batches with each sample of `share` once; threads of reading and decoding end with the context.

    Args:
        split: the images.
        share: the ids of those wanted.
        together: how many make a batch; the last may have fewer.
        shape: of what `render` makes of one image, e.g. `(U, H, W, 3)`.
        render: decodes one image into its place; runs in the threads.
        data: classes, and the limit of corrupt images.
        prefetch: batches decoded ahead.
        threads: for decoding.
        pin: batches in page-locked memory.

    Raises:
        ShardError: from the loader.
    """
    chunks = [np.arange(first, min(first + together, share.stop)) for first in range(share.start, share.stop, together)]
    ahead = ShareAhead(split, share)

    def requests(loader: Loader) -> Iterator[Batch]:
        for ids in chunks:
            ahead.at(int(ids[-1]))
            yield loader.request(ids)

    with (
        contextlib.closing(ahead),
        Loader(
            split,
            shape,
            render,
            classes=data.classes,
            threads=threads,
            prefetch=prefetch,
            max_corrupt=data.max_corrupt,
            pin=pin,
        ) as loader,
    ):
        yield loader.batches(requests(loader))
