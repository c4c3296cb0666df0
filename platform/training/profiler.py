"""A trace of chosen steps by PyTorch's profiler, on rank 0.

In: `training.profile_steps`. Out: in the member's folder `profile/steps-FIRST-LAST.json.gz`, which chrome://tracing and
ui.perfetto.dev show, and `.txt`, a table of the operators that took longest. Other steps are as without.
"""

import gzip
import logging
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch.profiler import ProfilerActivity, profile

from platform.files import write_atomically
from platform.text import first_line
from platform.training.worker import Worker

log = logging.getLogger("platform.training")
FOLDER = "profile"
LARGEST = 100_000_000  # bytes of a compressed trace
OPERATORS = 25  # in the table


class StepProfiler:
    """Watches the steps from the first to the last of `steps`, counted from 1, both included; none where it is empty.

    A run that was started again between them has a trace of what is left.
    """

    def __init__(self, steps: list[int], folder: Path, worker: Worker) -> None:
        self._first, self._last = steps if steps and worker.rank == 0 else (0, -1)
        self._folder, self._device = folder / FOLDER, worker.device
        self._running: profile | None = None
        self._begun = self._done = 0  # steps

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is None:
            return
        if error is None:  # training ended early
            self._finish(self._running)
        else:
            self._running.stop()
            log.warning("the trace from step %d on is not written: training stopped in between", self._begun)

    def begin(self, step: int) -> None:
        """Before step number `step`."""
        if self._running is None and self._first <= step <= self._last:
            on_gpu = [ProfilerActivity.CUDA] if self._device.type == "cuda" else []
            self._running, self._begun = profile(activities=[ProfilerActivity.CPU, *on_gpu]), step
            self._running.start()

    def end(self, step: int) -> bool:
        """After step number `step`; whether a trace was written, which takes time."""
        self._done = step
        if self._running is None or step < self._last:
            return False
        self._finish(self._running)
        return True

    def _finish(self, found: profile) -> None:
        """Write the trace up to the step that is done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # sync point, once
        self._running = None
        found.stop()
        try:
            self._write(found, self._folder / f"steps-{self._begun}-{self._done}")
        except (OSError, RuntimeError) as failed:  # of the disk, and of the profiler's own library
            log.warning("the trace of steps %d to %d is not written (%s)", self._begun, self._done, first_line(failed))

    def _write(self, found: profile, path: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        by = "self_device_time_total" if self._device.type == "cuda" else "self_cpu_time_total"
        table = found.key_averages().table(sort_by=by, row_limit=OPERATORS, max_name_column_width=60)
        write_atomically(path.with_suffix(".txt"), table)
        with tempfile.TemporaryDirectory(prefix="trace-") as scratch:
            whole = Path(scratch) / "trace.json"
            found.export_chrome_trace(str(whole))
            trace = gzip.compress(whole.read_bytes(), compresslevel=6)
        if len(trace) > LARGEST:
            log.warning(
                "the trace of steps %d to %d has %d MB, more than the %d that are kept; give fewer steps in "
                "training.profile_steps",
                self._begun, self._done, len(trace) // 10**6, LARGEST // 10**6,
            )  # fmt: skip
            return
        write_atomically(path.with_suffix(".json.gz"), trace)
        log.info("the trace of steps %d to %d has %.1f MB: %s.json.gz", self._begun, self._done, len(trace) / 1e6, path)
