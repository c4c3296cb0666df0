"""An epoch killed between two checkpoints, and resumed: by as many ranks as before, and by another number.

What was trained after the checkpoint is lost with the weights, so it does not count: the epoch that counts is what
came before the checkpoint and what came after resuming.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platform.bench.rivals.exactness import Exactness, compare
from platform.bench.rivals.loaders import LOADERS
from platform.bench.rivals.processes import LoaderError, Outcome, Refused, run
from platform.bench.rivals.protocol import ProtocolError, global_batches
from platform.bench.rivals.samples import Samples

COUNT, BATCH = 960, 48  # samples of an epoch, and of a global batch: 20 batches, which 1, 2 and 3 ranks share evenly
WORLD, OTHER_WORLD = 2, 3
SAVE_EVERY, CHECKPOINT, KILLED_AT = 4, 8, 11  # batches; the checkpoint is the newest before the kill
IMAGE_SIZE = 32


@dataclass(frozen=True)
class Resumed:
    """How an epoch went on after the kill."""

    exactness: Exactness
    how: str  # "": from its state; else why the epoch started anew


@dataclass
class Kills:
    """Results for one loader."""

    samples: int = 0  # of its undisturbed epoch
    same: Resumed | None = None  # by as many ranks
    other: Resumed | None = None  # by another number
    failed: str = ""  # why there are none
    notes: list[str] = field(default_factory=list)


def kill_and_resume(name: str, samples: Samples, folder: Path, seed: int = 0) -> Kills:
    """Run an epoch undisturbed, kill another between two checkpoints, resume it twice, and compare.

    Args:
        name: of LOADERS.
        samples: small images, converted to the library's format where it has one.
        folder: for states and scratch files.
        seed: of the loader's order.
    """
    found = Kills()
    jobs = _Jobs(name, samples, folder, seed)
    try:
        undisturbed = global_batches(jobs.run("undisturbed", WORLD).messages)
        found.samples = sum(map(len, undisturbed))
        again = global_batches(jobs.run("killed", WORLD, save_every=_save_every(name), stop_at=KILLED_AT).messages)
        before = again[:CHECKPOINT]
        if not _same(before, undisturbed[:CHECKPOINT]):
            found.notes.append("two undisturbed epochs with one seed differ")
        for key, world in (("same", WORLD), ("other", OTHER_WORLD)):
            after, how = jobs.resumed(key, world)
            setattr(found, key, Resumed(compare(undisturbed, before + after), how))
    except (LoaderError, ProtocolError) as error:
        found.failed = str(error)
    return found


def _same(some: list[list[int]], others: list[list[int]]) -> bool:
    return [sorted(batch) for batch in some] == [sorted(batch) for batch in others]


def _save_every(name: str) -> int:
    return SAVE_EVERY if LOADERS[name].state else 0


@dataclass(frozen=True)
class _Jobs:
    name: str
    samples: Samples
    folder: Path
    seed: int

    def run(self, what: str, world: int, **rest: Any) -> Outcome:
        """All ranks of one run; `what` names its folder."""
        loader, scratch = LOADERS[self.name], self.folder / what
        states = self.folder / "states"
        states.mkdir(parents=True, exist_ok=True)
        common = self.samples.job(
            self.name,
            scratch,
            action="read",
            world=world,
            batch_size=BATCH // world,
            workers=loader.workers // world if loader.workers else 2,
            image_size=IMAGE_SIZE,
            normalised=loader.normalised,
            seed=self.seed,
            states=str(states),
            **rest,
        )
        ranks = range(1 if loader.one_process else world)
        outcome = run(self.name, [common | {"rank": rank} for rank in ranks], scratch, kill="stop_at" in rest)
        if "stop_at" in rest:
            assert all(message.step < KILLED_AT for message in outcome.batches)
        return outcome

    def resumed(self, key: str, world: int) -> tuple[list[list[int]], str]:
        """Batches after the kill, and why the epoch started anew; empty: it did not."""
        if not LOADERS[self.name].state:
            how = "no state: the epoch starts anew"
        else:
            try:
                state = {"resume": str(self.folder / "states" / str(CHECKPOINT)), "resume_step": CHECKPOINT}
                outcome = self.run(f"resumed-{key}", world, **state, resume_world=WORLD)
                return global_batches(outcome.messages, CHECKPOINT), ""
            except Refused as refused:
                how = f"refused, so the epoch starts anew: {refused}"
        return global_batches(self.run(f"anew-{key}", world).messages), how
