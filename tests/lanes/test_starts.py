"""Which starts are held against a member, and what rank 0 makes of what its peers told of the start before."""

import errno
from pathlib import Path

import pytest
import ray

from platform.config.checks import ConfigError
from platform.config.sections import Config
from platform.data.cache import ShardError
from platform.data.store_errors import StorageError
from platform.experiment.member_folder import FAILED, UNFINISHED, MemberFolder, MemberState
from platform.lanes import member_state
from platform.lanes.lane import LaneMember
from platform.lanes.mailbox import Failure, Mailbox, Sender
from platform.lanes.member_state import EXCUSED, _started, count_start, is_final
from platform.training.worker import Worker
from tests.lanes.ranks import Handle


@pytest.fixture(autouse=True)
def no_lost_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_state, "lost_nodes", lambda nodes: [node for node in nodes if node == "lost"])


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> Sender:
    monkeypatch.setattr(ray, "get", lambda value, timeout=None: value)
    return Sender(Handle(Mailbox()), "m")


def start(folder: MemberFolder, state: MemberState, workers: int, node: str = "node", step: int = 0) -> int:
    if step:
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        (folder.checkpoints / f"step-{step:09d}-{'0' * 16}.pt").touch()
    count_start(folder, state, [node], workers)
    return state.starts


def test_a_start_that_got_no_further_counts_and_one_that_did_begins_anew(tmp_path: Path) -> None:
    folder, state = MemberFolder(tmp_path), MemberState()
    assert [start(folder, state, 2), start(folder, state, 2), start(folder, state, 2, step=7)] == [1, 2, 1]


def test_another_number_of_workers_and_lost_nodes_are_excused_and_wipe_nothing_out(tmp_path: Path) -> None:
    folder, state = MemberFolder(tmp_path), MemberState()
    assert [start(folder, state, 2), start(folder, state, 2), start(folder, state, 3)] == [1, 2, 2]
    assert [start(folder, state, 3, "lost"), start(folder, state, 3)] == [3, 3]


def test_a_cluster_that_shrinks_and_grows_for_ever_is_not_excused_for_ever(tmp_path: Path) -> None:
    folder, state = MemberFolder(tmp_path), MemberState()
    starts = [start(folder, state, 2 + number % 2) for number in range(EXCUSED + 4)]
    assert starts == [1] * EXCUSED + [2, 3, 4, 5]
    assert start(folder, state, 2, step=9) == 1  # and a checkpoint further forgives it all
    assert start(folder, state, 3) == 1


def test_what_a_peer_met_is_the_members_end_where_rank_0_could_not_write_it(tmp_path: Path, sender: Sender) -> None:
    member = LaneMember("m", Config(), tmp_path / "m", None)
    folder = MemberFolder(member.folder)
    folder.set_state(MemberState(starts=1, workers=2))
    sender.failed(Failure("m", 0, "RuntimeError: gloo", final=False, of_a_peer=True))
    sender.failed(Failure("m", 2, "ValueError: mine", final=False, of_a_peer=False))
    sender.failed(Failure("m", 1, "StorageError: No space left on device", final=True, of_a_peer=False))
    assert _started(member, folder, ["node"], 2, sender) is None
    assert (folder.state().state, folder.state().error) == (FAILED, "StorageError: No space left on device")


def test_of_failures_that_are_not_final_the_one_that_is_not_of_a_peer_is_named(tmp_path: Path, sender: Sender) -> None:
    member = LaneMember("m", Config(), tmp_path / "m", None)
    sender.failed(Failure("m", 0, "RuntimeError: gloo", final=False, of_a_peer=True))
    sender.failed(Failure("m", 2, "ValueError: mine", final=False, of_a_peer=False))
    state = _started(member, MemberFolder(member.folder), ["node"], 2, sender)
    assert state
    assert (state.state, state.error, state.starts) == (UNFINISHED, "ValueError: mine", 1)
    assert sender.take_failures() == []


def test_an_error_of_the_configurationis_final() -> None:
    assert is_final(ConfigError("lower it"), Worker(0, 2))
    assert not is_final(RuntimeError("passes"), Worker(0, 2))


@pytest.mark.parametrize("kind", [ShardError, StorageError])
def test_a_disk_that_is_full_is_final_whatever_was_to_be_written_there(kind: type[Exception]) -> None:
    error = kind("the cache cannot take a shard")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_final(error, Worker(0, 2))
    error.__cause__ = OSError(errno.EIO, "Input/output error")
    assert not is_final(error, Worker(0, 2))
