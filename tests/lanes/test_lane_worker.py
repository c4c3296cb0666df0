"""A lane's workers: what a process does once, however many trials it takes; and two of them in two processes, where
rank 0 decides and writes for both and each waits for the other."""

import gc
import multiprocessing
import os
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import start_processes

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.data.index import Split
from platform.experiment.member_folder import FAILED, FINISHED, MemberFolder, MemberState
from platform.lanes import member as member_module
from platform.lanes import worker
from platform.lanes.lane import Lane, LaneMember
from platform.lanes.mailbox import Message
from platform.lanes.worker import _freeze_imported, run_lane
from platform.training import learner
from tests.lanes.ranks import LONG_S, Handle, Post, join, wait_at_most
from tests.training.test_loop import config

SHORT_S = 3
FINAL = "the value is 3, the limit is 2; lower it"


def _member(folder: str, name: str, data: DataConfig) -> LaneMember:
    cfg = config(data, epochs=0.02)
    cfg.cluster.stall_timeout_s = LONG_S
    return LaneMember(name, cfg, Path(folder) / name, None)


def _run(rank: int, member: LaneMember, mailbox: Any) -> None:
    run_lane(Lane(0, [member], mailbox), rank, 2, torch.device("cpu"), lambda: False)


def _worker(rank: int, folder: str, data: DataConfig, val: Split, address: Any) -> None:
    """What the tests look at is in the folder of each member, and in the mailbox."""
    join(rank, folder)
    post = Post(address, authkey=b"test")
    post.connect()
    mailbox = Handle(post.mailbox())  # pyright: ignore[reportAttributeAccessIssue]
    read = worker.read_sets
    worker.read_sets = lambda *args, **options: (
        (found := read(*args, **options)) and replace(found, splits=found.splits | {"val": val})
    )
    if rank == 1:
        _only_rank_0_writes_and_reads()
    slow = _member(folder, "slow", data)
    _evaluate(slow, slowly=rank == 1)
    _run(rank, slow, mailbox)  # trains, then one of them evaluates for longer than a collective waits
    wait_at_most(LONG_S)
    slow.config.cluster.stall_timeout_s = LONG_S
    member_module.predict = _PREDICT
    slow.folder.joinpath("probabilities", "complete.json").unlink(missing_ok=True)
    torch.distributed.barrier()
    learner.train_step = member_module.train = _never  # pyright: ignore[reportAttributeAccessIssue]
    _run(rank, slow, mailbox)  # is trained: rank 0 sees that, the file system of rank 1 does not
    learner.train_step, member_module.train = _TRAIN_STEP, _TRAIN
    if rank == 1:
        learner.train_step = _refuse
    try:
        _run(rank, _member(folder, "refused", data), mailbox)
    except Exception as error:
        (Path(folder) / f"raised-{rank}").write_text(type(error).__name__)
    os._exit(0)


_TRAIN_STEP, _TRAIN, _PREDICT = learner.train_step, member_module.train, member_module.predict


def _never(*args: Any, **options: Any) -> Any:
    raise AssertionError("it is trained")


def _refuse(*args: Any, **options: Any) -> Any:
    raise ConfigError(FINAL)


def _only_rank_0_writes_and_reads() -> None:
    """A file system that shows nothing new here; and a state that is written here is an error."""
    MemberFolder.set_state = _never
    MemberFolder.is_trained = lambda self: False
    MemberFolder.state = lambda self: MemberState()


def _evaluate(member: LaneMember, *, slowly: bool) -> None:
    """From the beginning of the evaluation on, collectives and stalls have a short limit."""

    def predict(*args: Any) -> Iterator[Any]:
        wait_at_most(SHORT_S)
        member.config.cluster.stall_timeout_s = SHORT_S
        for some in _PREDICT(*args):
            yield some
            none = replace(some, ids_N=some.ids_N[:0], labels_N=some.labels_N[:0], valid_N=some.valid_N[:0])
            for _ in range(4 * SHORT_S if slowly else 0):
                time.sleep(0.5)
                yield replace(none, probs_NVK=some.probs_NVK[:0])

    member_module.predict = predict


@dataclass(frozen=True)
class Ended:
    """What two workers left."""

    folder: Path
    messages: list[Message]

    def member(self, name: str) -> MemberFolder:
        return MemberFolder(self.folder / name)


@pytest.fixture(scope="module")
def ended(digits, digits_data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder = tmp_path_factory.mktemp("lane")
    assert os.environ["PYTHONPATH"]  # the children find our `platform` by it
    with Post(("127.0.0.1", 0), authkey=b"test") as post:
        mailbox = post.mailbox()  # pyright: ignore[reportAttributeAccessIssue]
        multiprocessing.set_forkserver_preload([__name__])
        val = Split("val", digits.split("val").shards[-1:])
        arguments = (str(folder), digits_data, val, post.address)
        start_processes(_worker, arguments, nprocs=2, start_method="forkserver")
        _, messages, _ = mailbox.drain(0)
    return Ended(folder, messages)


@pytest.mark.slow
def test_who_evaluates_longer_than_a_collective_waits_is_waited_for(ended: Ended) -> None:
    assert ended.member("slow").state().state == FINISHED
    assert not [message.text for message in ended.messages if message.kind == "warning" and "stalled" in message.text]


@pytest.mark.slow
def test_whether_a_member_is_trained_is_what_rank_0_sees(ended: Ended) -> None:
    """The second run would have parted at rank 1, which sees no weights, or raised there."""
    assert ended.member("slow").is_finished(1)
    assert ended.member("slow").state().starts == 1
    assert [message.text for message in ended.messages if message.kind == "ended"][:2] == [FINISHED, FINISHED]


@pytest.mark.slow
def test_the_cause_that_a_peer_told_is_written_by_rank_0_and_is_final(ended: Ended) -> None:
    raised = {rank: (ended.folder / f"raised-{rank}").read_text() for rank in (0, 1)}
    assert raised[1] == "ConfigError"
    assert raised[0] != "ConfigError"  # it only lost its peer in the exchange of gradients
    state = ended.member("refused").state()
    assert (state.state, state.error) == (FAILED, f"ConfigError: {FINAL}")
    told = [message.text for message in ended.messages if message.member == "refused" and message.kind == "ended"]
    assert told == [f"{FAILED}: ConfigError: {FINAL}"]


@pytest.fixture
def _unfrozen() -> Iterator[None]:
    _freeze_imported.cache_clear()
    yield
    gc.unfreeze()


class Knot:
    """In a cycle: the collector alone removes it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.slow
@pytest.mark.usefixtures("_unfrozen")
def test_what_a_trial_leaves_is_collected_after_the_next_one_has_begun() -> None:
    _freeze_imported()
    assert gc.get_freeze_count() > 100_000
    left = Knot()
    reference = weakref.ref(left)
    _freeze_imported()  # the next trial's, while something still holds on to it
    del left
    gc.collect()
    assert reference() is None
