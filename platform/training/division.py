"""Which share of the training images the GPU decodes, where `loader.decoder=auto`: found once, from the time of steps.

In: metrics of log steps. Out: a division of the images between the decoders, kept in the training's state: a training
that is resumed goes on with the same, so that it has the same bits as an undisturbed one.
"""

import logging

from platform.config.data import AUTO, LoaderConfig
from platform.data.hybrid_loader import ALL_STEPS, Division, HybridTrainLoader
from platform.text import first_line
from platform.training.feed import BatchSource
from platform.training.peers import from_rank_0
from platform.training.state import TrainingState
from platform.training.step_parts import DECODE, PARTS, WAIT
from platform.training.worker import Worker

log = logging.getLogger("platform.training")
UNSETTLED = 16  # first steps of a start, in which cuDNN tries its algorithms, networks compile and caches fill
MEASURED = 64  # steps that are measured after them
LITTLE = 0.03  # of the time of a step: less waiting is none


def share_for(wait_ms: float, busy_ms: float, decode_ms: float, device_ms: float) -> float:
    """The share of the images that the GPU should decode so that it and the CPU are done at the same time.

    With a share s the CPU's threads take (1 - s) decode_ms for a batch, and the GPU, which trains as well, busy_ms + s
    device_ms.

    Args:
        wait_ms: of a step, for its batch, when the CPU decodes all.
        busy_ms: what the step takes besides.
        decode_ms: that the threads need for a batch when all of them work.
        device_ms: that the GPU needs for a batch.
    """
    if wait_ms < LITTLE * (wait_ms + busy_ms):
        return 0.0
    return max(0.0, round((decode_ms - busy_ms) / (decode_ms + device_ms), 2))


def known(cfg: LoaderConfig, state: TrainingState) -> Division | None:
    """The division that a training begins or goes on with; None: it is not found yet, or there is none to find."""
    return Division(ALL_STEPS, cfg.gpu_share) if cfg.gpu_share is not None else state.division


class DivisionFinder:
    """Finds the share in the first steps, all of whose images the CPU decodes.

    Args:
        cfg: of the loader.
        state: keeps what is found.
        loader: of the training's batches.
        worker: this one.
        start_step: global steps done before.
    """

    def __init__(
        self, cfg: LoaderConfig, state: TrainingState, loader: BatchSource, worker: Worker, start_step: int
    ) -> None:
        self._cfg, self._state, self._loader, self._worker = cfg, state, loader, worker
        self._start, self._seen = start_step, start_step
        self._measured = 0  # steps
        self._sums: dict[str, float] = dict.fromkeys((WAIT, "whole", DECODE), 0.0)  # milliseconds
        division = known(cfg, state)
        if cfg.decoder == AUTO and division and division.share and not isinstance(loader, HybridTrainLoader):
            log.warning(
                "%s has no GPU to decode a share of %g of the images, as settings or checkpoint of this training "
                "have it: the CPU decodes all, and pixels differ by rounding",
                worker.node,
                division.share,
            )

    def take(self, step: int, metrics: dict[str, float]) -> dict[str, float]:
        """Take in the metrics of a log step, and decide when there are enough; every rank calls this with the same
        times.

        Args:
            step: global steps done.
            metrics: of the steps since the last log step.

        Returns:
            the share as a metric; nothing where it is not known.
        """
        loader = self._loader
        if not isinstance(loader, HybridTrainLoader):
            return {}
        if loader.division is None:
            self._add(step, metrics)
            if self._measured >= MEASURED:
                self._decide(loader, step)
        division = loader.division
        return {"data/gpu_share": division.share if step > division.first_step else 0.0} if division else {}

    def _add(self, step: int, metrics: dict[str, float]) -> None:
        steps, self._seen = step - self._seen, step
        if self._seen - steps < self._start + UNSETTLED or f"within_step/{WAIT}_ms" not in metrics:
            return
        found = {WAIT: metrics[f"within_step/{WAIT}_ms"], DECODE: metrics[f"within_step/{DECODE}_ms"]}
        found["whole"] = sum(metrics[f"within_step/{part}_ms"] for part in PARTS)
        self._measured += steps
        for name, value in found.items():
            self._sums[name] += value * steps

    def _decide(self, loader: HybridTrainLoader, step: int) -> None:
        """The same on every rank, from rank 0's GPU. Images of the next steps are being decoded already."""
        share = from_rank_0(self._worker, lambda: self._share(loader, step))
        self._state.division = Division(step + self._cfg.prefetch_batches, share)
        loader.divide(self._state.division)

    def _share(self, loader: HybridTrainLoader, step: int) -> float:
        wait, whole, decode = (self._sums[name] / self._measured for name in (WAIT, "whole", DECODE))
        try:
            device = 1000 * loader.device_s(step - 1)  # sync point
        except RuntimeError as error:  # of nvImageCodec, of CUDA's memory
            log.warning("loader.decoder=auto: the GPU cannot decode (%s); the CPU decodes all", first_line(error))
            return 0.0
        share = share_for(wait, whole - wait, decode, device)
        log.info(
            "loader.decoder=auto: the GPU decodes a share of %g from step %d on; a step took %.1f ms, %.1f of them "
            "waiting for its batch, which the CPU decodes in %.1f ms and the GPU in %.1f; loader.gpu_share=%g has the "
            "same share in every step of another training",
            share,
            step + self._cfg.prefetch_batches,
            whole,
            wait,
            decode,
            device,
            share,
        )
        return share
