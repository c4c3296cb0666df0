"""One job=predict: its blocks, those that are finished already, and what is made of all of them at the end.

In: a task and where the rows go. Out: finished blocks, the output, a summary.
"""

from collections.abc import Iterator

from platform.config.jobs import PredictionConfig
from platform.data.storage import Storage
from platform.data.urls import is_remote
from platform.prediction.output import write_output
from platform.prediction.parts import InFolder, InMemory
from platform.prediction.rows import Summary
from platform.prediction.task import Task


class Prediction:
    """The blocks of a task, in memory or beside the output."""

    def __init__(self, task: Task, output: str | None, storage: Storage) -> None:
        """Find the finished blocks.

        Args:
            task: images and model.
            output: `predict.output`; None: the rows are for the terminal only.
            storage: for outputs at URLs.

        Raises:
            ConfigError: blocks of other work are beside the output.
            StorageError: its place cannot be read or written.
        """
        self.task, self._output, self._storage = task, output, storage
        self._folder = None
        if output is not None:
            self._folder = InFolder(f"{output}.parts", task.columns, storage)
            self._folder.open(task.work())
        self.parts = self._folder or InMemory(task.columns)
        finished = self.parts.finished()
        self.unfinished = [number for number in range(len(task.blocks)) if number not in finished]

    @property
    def folder(self) -> InFolder:
        """Where workers of Ray write their blocks."""
        assert self._folder is not None, "on Ray there is an output"
        return self._folder

    @property
    def images_left(self) -> int:
        """Images of the blocks that are not finished."""
        return sum(len(self.task.blocks[number]) for number in self.unfinished)

    def classify_here(self) -> Iterator[int]:
        """Classify the unfinished blocks in this process; yields the number of images of each batch, at the start 0.

        Raises:
            ShardError, StorageError: a shard cannot be read, or a block not written.
            ValueError: the model's files are damaged.
        """
        import torch

        from platform.prediction.predictor import Predictor

        predictor = Predictor(self.task, "cuda" if torch.cuda.is_available() else "cpu")
        yield 0  # from here on time is spent on images
        for number in self.unfinished:
            rows = []
            for batch in predictor.batches(self.task.blocks[number]):
                rows += batch
                yield len(batch)
            self.parts.write(number, rows)

    def finish(self, shown: int) -> Summary:
        """Write the output out of all blocks, and forget these.

        Args:
            shown: rows that the summary keeps.

        Raises:
            ConfigError: a block is damaged.
            OSError: the output cannot be written.
        """
        summary, columns = Summary(shown), self.task.columns

        def tables() -> Iterator:
            for number in range(len(self.task.blocks)):
                table = self.parts.table(number)
                summary.add(columns.rows(table))
                yield table

        if self._output is None:
            for _ in tables():
                pass
        else:
            write_output(self._output, columns.schema, tables(), self._storage)
            self.folder.remove()
        return summary


def absolute_output(config: PredictionConfig) -> str | None:
    """`predict.output` for every process, whatever its directory."""
    from pathlib import Path

    output = config.output
    return output if output is None or is_remote(output) else str(Path(output).expanduser().absolute())
