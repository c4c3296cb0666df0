"""The network that learns: batches in, steps of its optimiser out, with the learning rate, averages and seeds of each.

It begins once the state has the weights that training goes on from: replicas take rank 0's.
"""

import traceback
from dataclasses import replace

import torch

from platform.config.sections import Config
from platform.data import draws
from platform.data.batch import Batch
from platform.data.pixels import Pixels
from platform.models.frozen import frozen_norms
from platform.training import memory, schedules
from platform.training.compilation import Compilation
from platform.training.feed import Feed
from platform.training.fused.group import Place
from platform.training.fused.step import FusedMember
from platform.training.graphed_step import GraphedSteps, put_lr_on_device, require_graphs
from platform.training.loss import with_prior
from platform.training.lr_scales import set_lr
from platform.training.memory import OutOfMemory
from platform.training.progress import Progress
from platform.training.replica import as_run
from platform.training.state import TrainingState
from platform.training.step import StepConfig, StepResult, train_step
from platform.training.step_parts import FORWARD
from platform.training.step_time import NOT_TIMED, StepTimer
from platform.training.timetable import Timetable


class Learner:
    """Makes the steps of a training.

    Args:
        cfg: the member's.
        state: the network, its optimiser and averages, as training goes on from them.
        feed: knows this worker, and the labels where the loss depends on all of them.
        timetable: of the run, which its schedule spans.
        pixels: mirrors, distorts and normalises the images on the worker's device.
        dtype: of matrix products and convolutions.
        timer: is told where the parts of a step end.
        progress: is told of a step that compiles, and may take minutes.
        place: among members whose steps are made together; None: it is trained by itself.
    """

    def __init__(
        self,
        cfg: Config,
        state: TrainingState,
        feed: Feed,
        timetable: Timetable,
        pixels: Pixels,
        dtype: torch.dtype,
        timer: StepTimer,
        progress: Progress,
        place: Place | None = None,
    ) -> None:
        self._place = place
        self._cfg, self._state, worker = cfg, state, feed.worker
        self._step_cfg = replace(StepConfig.of(cfg), loss=with_prior(cfg.loss, feed.labels, cfg.data.classes))
        self._worker, self._pixels, self._dtype, self._timer = worker, pixels, dtype, timer
        self._graphs: GraphedSteps | None = None
        if cfg.training.cuda_graphs:
            require_graphs(worker, cfg.optim.name)
            put_lr_on_device(state.optimizer, worker.device)
            self._graphs = GraphedSteps(worker.device)
        self._model = as_run(state.module, cfg.training, worker)
        self._compilation = Compilation(cfg.training.compile, worker, progress)
        self._still = frozen_norms(state.module, cfg.model.freeze)
        self._train_mode()
        self._lr_factor = schedules.lr_factor(cfg.schedule, timetable.steps_per_epoch, timetable.last_step)
        self.whole_lr = cfg.optim.lr_of(cfg.training.batch_size)  # that the schedule multiplies
        self.lr = 0.0  # of the newest step

    def learn(self, batch: Batch, step: int) -> StepResult:
        """Make global step `step`, counted from 0, with the worker's share of its batch.

        Raises:
            OutOfMemory: of the GPU, with what would fit.
            ConfigError: the network cannot be compiled.
        """
        state, cfg = self._state, self._cfg
        self.lr = self.whole_lr * self._lr_factor(step)
        set_lr(state.optimizer, self.lr)
        if not state.module.training:
            self._train_mode()
        result = self._together(batch)
        if result is None:
            self._seed(draws.key(cfg.seed, cfg.order_seed, step, self._worker.rank))  # of draws but dropout's
            result = self._step(batch)
        state.average.update(state.module, step)
        if state.kept:
            state.kept.update(state.module, step)
        return result

    def _train_mode(self) -> None:
        """Once, as it goes through all modules: evaluations take copies."""
        self._state.module.train()
        for norm in self._still:
            norm.eval()

    def _seed(self, seed: int) -> None:
        """Seed the generator of the worker's device; on CPU that one alone, as each of the others costs a stack trace
        where there is no such device."""
        if self._worker.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _together(self, batch: Batch) -> StepResult | None:
        """The step, made with those of other members; None: it is made by itself."""
        if self._place is None:
            return None
        member = FusedMember(self._state.module, self._state.optimizer, self._step_cfg, self._pixels, self._timer)
        return self._place.step(member, batch, self._dtype)

    def _step(self, batch: Batch) -> StepResult:
        state, cfg, pixels, dtype = self._state, self._step_cfg, self._pixels, self._dtype
        try:
            with self._compilation.step(batch):
                if self._graphs:
                    return self._graphed(batch)
                return self._made(batch, self._timer)
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)  # of what the step had in memory
            raise OutOfMemory(memory.advice(state.module, state.optimizer, batch, pixels, cfg, dtype)) from error

    def _made(self, batch: Batch, timer: StepTimer) -> StepResult:
        optimizer, world = self._state.optimizer, self._worker.world
        return train_step(
            self._model, optimizer, batch, self._pixels, self._step_cfg, self._dtype, world=world, timer=timer
        )

    def _graphed(self, batch: Batch) -> StepResult:
        """As one graph, of whose parts no time is known: all of it is the forward pass's."""
        assert self._graphs
        result = self._graphs.step(batch, lambda own: self._made(own, NOT_TIMED))
        self._timer.mark(FORWARD)
        return result
