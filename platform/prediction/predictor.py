"""Blocks of images through the model: read ahead in threads, classify batch by batch.

In: ranges of places. Out: rows. The same class runs in the job's own process and in Ray's actors.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from platform.export.classifier import Classifier
from platform.prediction.images import Image, Images
from platform.prediction.rows import Row, rows_of
from platform.prediction.task import Task

READERS = 8  # threads: most of their time they wait for a disk or a store
AT_ONCE, AHEAD = 128, 64  # images in memory, still encoded: of photographs of 5 MB about 1 GB


class Predictor:
    """The model on one device."""

    def __init__(self, task: Task, device: str) -> None:
        """Load it.

        Raises:
            ValueError: its files are damaged.
        """
        self._task = task
        self._classifier = Classifier.load(task.model.folder, device)

    def batches(self, block: range) -> Iterator[list[Row]]:
        """The rows of a block, in order, as they come."""
        task = self._task
        per_batch = max(1, min(task.batch_size // task.views, AT_ONCE))
        coming = read_ahead(task.images, block, AHEAD)
        while images := list(islice(coming, per_batch)):
            found = self._classifier.predict([image.data for image in images if image.data is not None], task.views)
            yield rows_of(images, task.images, found, task.model.description, task.top_k)


def read_ahead(images: Images, block: range, ahead: int) -> Iterator[Image]:
    """Images in order, `ahead` of them being read while one is used."""
    pool, places = ThreadPoolExecutor(READERS, "read"), iter(block)
    try:
        reading: deque[Future[Image]] = deque(pool.submit(images.read, place) for place in islice(places, ahead))
        while reading:
            yield reading.popleft().result()
            reading.extend(pool.submit(images.read, place) for place in islice(places, 1))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
