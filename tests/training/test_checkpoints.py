"""Checkpoints survive tearing, crashes in mid-write, full disks, absent stores and hostile files."""

import hashlib
import io
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import fsspec
import pytest
import s3fs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.config.data import StorageConfig
from platform.config.training import CheckpointConfig
from platform.data.storage import Storage
from platform.data.store_errors import StorageError
from platform.training import checkpoint_files, checkpoints
from platform.training.checkpoint_copies import Copies
from platform.training.checkpoints import CheckpointError, Checkpoints, Saved, newest_step

HASTY = StorageConfig(attempts=1, timeout_s=5)


def state(step: int) -> dict[str, Any]:
    return {"step": step, "model": {"weight": torch.full((50, 50), float(step))}, "optimizer": {"lr": [0.1, None]}}


def save(folder: Path, *steps: int, copy_to: str | None = None, best_step: int | None = None, **config: Any) -> None:
    with Checkpoints(folder, CheckpointConfig(**config), HASTY, copy_to) as checkpoints:
        for step in steps:
            checkpoints.save(state(step), best_step=best_step, wait=True)


def loaded_step(folder: Path, copy_to: str | None = None) -> int | None:
    with Checkpoints(folder, CheckpointConfig(), HASTY, copy_to) as checkpoints:
        found = checkpoints.load()
    if found is None:
        return None
    assert torch.equal(found["model"]["weight"], state(found["step"])["model"]["weight"])
    return int(found["step"])


def steps(folder: Path) -> list[int]:
    return sorted(saved.step for path in folder.iterdir() if (saved := Saved.of(path.name)))


def file_of(folder: Path, step: int) -> Path:
    return next(folder.glob(f"step-{step:09d}-*.pt"))


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path / "new" / "folder", 3)
    with Checkpoints(tmp_path / "new" / "folder", CheckpointConfig()) as checkpoints:
        found = checkpoints.load()
    assert found is not None
    assert found["optimizer"] == {"lr": [0.1, None]}
    assert loaded_step(tmp_path / "new" / "folder") == 3


def test_an_empty_or_absent_folder_has_none(tmp_path: Path) -> None:
    assert loaded_step(tmp_path) is None
    assert loaded_step(tmp_path / "absent") is None


def test_what_is_written_is_the_state_as_it_was_when_saved(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, CheckpointConfig()) as checkpoints:
        live = state(7)
        checkpoints.save(live)
        live["model"]["weight"].fill_(-1)
    assert loaded_step(tmp_path) == 7


@pytest.mark.slow
@settings(deadline=None, max_examples=30)  # the disk's time is not ours
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=12, unique=True),
    st.integers(1, 4),
    st.integers(0, 11),
)
def test_the_newest_and_the_best_are_kept(
    tmp_path_factory: pytest.TempPathFactory, saved: list[int], keep: int, best: int
) -> None:
    folder, saved = tmp_path_factory.mktemp("kept"), sorted(saved)
    best_step = saved[best % len(saved)]
    with Checkpoints(folder, CheckpointConfig(keep=keep)) as checkpoints:
        for step in saved:
            checkpoints.save(state(step), best_step=best_step if step >= best_step else None, wait=True)
    newest = saved[-keep:]
    # The best is known from its own step on: until then it is one of the newest.
    assert set(steps(folder)) == {*newest, best_step}
    assert loaded_step(folder) == saved[-1]


def test_a_torn_newest_is_reported_and_the_one_before_it_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, 1, 2)
    torn = file_of(tmp_path, 2)
    tear(torn)
    assert loaded_step(tmp_path) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(torn) in caplog.text
    assert torn.with_name(torn.name + ".unusable").exists()
    save(tmp_path, 2)
    assert loaded_step(tmp_path) == 2


def test_a_single_flipped_bit_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, 1, 2)
    content = bytearray(file_of(tmp_path, 2).read_bytes())
    content[len(content) // 2] ^= 1  # inside a weight: torch alone would load it
    file_of(tmp_path, 2).write_bytes(content)
    assert loaded_step(tmp_path) == 1
    assert "checksum" in caplog.text


def test_where_none_is_whole_nothing_starts_anew_in_silence(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    tear(file_of(tmp_path, 1))
    tear(file_of(tmp_path, 2))
    for _ in range(2):  # nor at the next start
        with pytest.raises(CheckpointError, match=r"none of the 2 checkpoints .* fresh=true to start anew"):
            loaded_step(tmp_path)


def test_a_file_that_cannot_be_read_now_is_neither_passed_over_nor_set_aside(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Storage, "read", _unreachable)
        with pytest.raises(StorageError):
            loaded_step(tmp_path)
        with Checkpoints(tmp_path, CheckpointConfig(), HASTY) as checkpoints, pytest.raises(StorageError):
            checkpoints.load_step(1)
    assert loaded_step(tmp_path) == 2


class Malicious:
    """Creates a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("as_torch", [True, False], ids=["torch file", "bare pickle"])
def test_a_pickled_object_is_refused_and_does_not_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, as_torch: bool
) -> None:
    victim, folder = tmp_path / "ran", tmp_path / "member"
    content = {"step": 2, "model": Malicious(victim)}
    buffer = io.BytesIO()
    if as_torch:
        torch.save(content, buffer)
    else:
        buffer.write(pickle.dumps(content, protocol=2))
    save(folder, 1)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]  # its name vouches for it
    (folder / Saved(2, digest).name).write_bytes(buffer.getvalue())
    assert loaded_step(folder) == 1
    assert not victim.exists()
    assert "unusable" in caplog.text


def test_an_unfinished_file_is_no_checkpoint_and_is_swept_away(tmp_path: Path) -> None:
    left = tmp_path / f"{Saved(9, '0' * 16).name}.4711.unfinished"
    left.write_bytes(b"half of")
    assert loaded_step(tmp_path) is None
    assert not left.exists()


def test_nothing_is_taken_while_the_one_before_is_being_written(tmp_path: Path) -> None:
    written, go_on = [], threading.Event()

    def slowly() -> None:
        go_on.wait(10)
        written.append(1)

    with Checkpoints(tmp_path, CheckpointConfig()) as checkpoints:
        assert checkpoints.save(state(1), taken=lambda: slowly)
        assert not checkpoints.save(state(2))
        go_on.set()
        assert checkpoints.save(state(3), wait=True)
    assert written == [1]
    assert steps(tmp_path) == [1, 3]


@pytest.fixture
def full_disk(tmp_path: Path) -> Path:
    """A folder in which no file can be made, even by root: it is a file."""
    (tmp_path / "full").write_text("")
    return tmp_path / "full" / "checkpoints"


def test_failures_are_borne_a_few_times_then_said_with_the_remedy(
    full_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(full_disk, CheckpointConfig(max_failures=3))
    checkpoints.save(state(1), wait=True)
    checkpoints.save(state(2), wait=True)
    assert len(caplog.records) == 2
    assert "training goes on, failure 2 of at most checkpoint.max_failures=3" in caplog.text
    with pytest.raises(CheckpointError, match=rf"3 checkpoints in a row could not be written \({full_disk}.*make room"):
        checkpoints.save(state(3), wait=True)
    checkpoints.close()


@pytest.mark.slow
def test_a_disk_that_fills_up_in_mid_write_keeps_what_was_there(tmp_path: Path) -> None:
    """A real limit of the operating system on the size of files: what a full disk does to a write."""
    save(tmp_path, 1)
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\nimport torch\n"
        "from platform.config.sections import CheckpointConfig\nfrom platform.training.checkpoints import Checkpoints\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "with Checkpoints(Path(sys.argv[1]), CheckpointConfig()) as checkpoints:\n"
        "    checkpoints.save({'step': 2, 'model': torch.zeros(9999)}, wait=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stderr
    assert steps(tmp_path) == [1]
    assert not list(tmp_path.glob("*.unfinished"))
    assert loaded_step(tmp_path) == 1


@pytest.mark.slow
def test_copies_go_to_a_store_and_come_back_on_another_machine(s3: str, tmp_path: Path) -> None:
    copies = "s3://shards/runs/one/member"
    save(tmp_path / "here", 1, 2, 3, copy_to=copies)
    assert loaded_step(tmp_path / "elsewhere", copies) == 3
    file_of(tmp_path / "here", 3).unlink()
    assert loaded_step(tmp_path / "here", copies) == 3
    assert len(fsspec.filesystem("s3").ls(copies)) == 2  # as many are kept there


def test_while_the_store_is_away_the_folder_has_them_and_they_follow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "store"
    blocked.write_text("")  # where a folder should be
    copies = f"file://{blocked}/member"
    with Checkpoints(tmp_path / "here", CheckpointConfig(), HASTY, copies) as checkpoints:
        checkpoints.save(state(1), wait=True)
        assert "checkpoint of step 1 is not copied" in caplog.text
        blocked.unlink()
        checkpoints.save(state(2), wait=True)
    assert steps(tmp_path / "store" / "member") == [1, 2]


def test_a_store_that_hangs_delays_copies_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, original = threading.Event(), Storage.write

    def hang(self: Storage, url: str, content: bytes) -> None:
        go_on.wait(10)
        original(self, url, content)

    monkeypatch.setattr(Storage, "write", hang)
    written: list[int] = []
    with Checkpoints(tmp_path / "here", CheckpointConfig(), HASTY, f"file://{tmp_path}/store") as checkpoints:
        for step in (1, 2, 3):
            assert checkpoints.save(state(step), urgent=True, taken=lambda step=step: lambda: written.append(step))
        checkpoints._finish_write()
        assert steps(tmp_path / "here") == [2, 3]
        assert written == []  # nobody is told that it is safe from the loss of this machine
        go_on.set()
        checkpoints.save(state(4), wait=True)
        assert steps(tmp_path / "store") == [3, 4]
    assert written == [1, 2, 3]


@pytest.mark.parametrize("made", [5, 40])
def test_a_store_slower_than_checkpoints_are_made_has_one_copy_waiting_and_what_it_misses_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, made: int
) -> None:
    """However many there are: a queue of them would hold the store's slowness against the next start."""
    hangs, go_on, writes, original = threading.Event(), threading.Event(), [], Storage.write

    def hang(self: Storage, url: str, content: bytes) -> None:
        hangs.set()
        go_on.wait(30)
        writes.append(url)
        original(self, url, content)

    monkeypatch.setattr(Storage, "write", hang)
    told: list[int] = []
    with Checkpoints(tmp_path / "here", CheckpointConfig(), HASTY, f"file://{tmp_path}/store") as saving:
        for step in range(1, made + 1):
            assert saving.save(state(step), urgent=True, taken=lambda step=step: lambda: told.append(step))
            assert hangs.wait(30)  # the first copy is of the first checkpoint, not of those that came while it began
        saving._finish_write()
        assert saving._copies
        assert saving._copies._pool._work_queue.qsize() == 0
        go_on.set()
        saving.save(state(made + 1), wait=True)
    assert told == list(range(1, made + 1))
    assert steps(tmp_path / "store") == [made, made + 1]
    assert len(writes) <= 4
    assert f"{tmp_path}/store takes checkpoints more slowly than they are made (checkpoint.every_s): that of step" in (
        caplog.text
    )


def test_a_copy_leaves_a_checkpoint_that_came_meanwhile_to_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would write it, and take it for one of a later step that is of no use."""
    here, there, written = tmp_path / "here", f"file://{tmp_path}/store", []
    made = [Saved(step, hashlib.sha256(bytes([step])).hexdigest()[:16]) for step in (1, 2, 3)]
    for saved in made:
        checkpoint_files.write_whole(here / saved.name, memoryview(bytes([saved.step])))
    original = Storage.write

    def write(self: Storage, url: str, content: bytes) -> None:
        written.append(url)
        original(self, url, content)

    monkeypatch.setattr(Storage, "write", write)
    copies = Copies(here, there, 2, Storage(HASTY))
    copies.soon(made[1], None, lambda: None)
    copies.close(wait=True)
    assert [url.rpartition("/")[2] for url in written] == [made[0].name, made[1].name]
    assert steps(tmp_path / "store") == [1, 2]


@pytest.mark.parametrize("made", [4, 16])
def test_a_copy_costs_a_listing_a_write_and_a_removal_however_many_there_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: int
) -> None:
    asked: list[str] = []
    for name in ("list", "write", "remove"):
        method = getattr(Storage, name)

        def counted(self: Storage, url: str, *args: Any, name: str = name, method: Any = method) -> Any:
            if url.startswith("file://"):
                asked.append(name)
            return method(self, url, *args)

        monkeypatch.setattr(Storage, name, counted)
    save(tmp_path / "here", *range(1, made + 1), copy_to=f"file://{tmp_path}/store", keep=2)
    assert asked.count("list") == asked.count("write") == made
    assert asked.count("remove") == made - 2


def test_removals_that_a_store_refuses_are_said_once_and_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And each copy tries one: a store that takes a minute for each would delay the next checkpoint by all of them."""
    tries, original = [], Storage.remove

    def refuse(self: Storage, url: str) -> None:
        tries.append(url)
        raise StorageError(f"{url} cannot be removed")

    monkeypatch.setattr(Storage, "remove", refuse)
    with Checkpoints(tmp_path / "here", CheckpointConfig(keep=1), HASTY, f"file://{tmp_path}/store") as saving:
        for step in range(1, 6):
            saving.save(state(step), wait=True)
        assert steps(tmp_path / "store") == [1, 2, 3, 4, 5]
        assert len(tries) == 4
        assert caplog.text.count("are not removed from") == 1
        monkeypatch.setattr(Storage, "remove", original)
        saving.save(state(6), wait=True)
    assert steps(tmp_path / "store") == [6]


def test_a_copy_that_cannot_be_read_now_is_not_passed_over(s3: str, tmp_path: Path) -> None:
    copies = "s3://shards/passed/over"
    save(tmp_path / "here", 1, 2, copy_to=copies)
    with Checkpoints(tmp_path / "elsewhere", CheckpointConfig(), HASTY, copies) as checkpoints:
        listed = [(Saved.of(Path(name).name), copies) for name in fsspec.filesystem("s3").ls(copies)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoints, "_all", lambda: listed)
            patch.setattr(Storage, "read", _unreachable)
            with pytest.raises(StorageError):
                checkpoints.load()


def _unreachable(self: Storage, url: str) -> bytes:
    raise StorageError(f"{url} cannot be read")


@pytest.mark.slow
def test_a_store_that_does_not_say_what_it_has_does_not_start_a_run_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(s3fs.S3FileSystem, "_cache", {})  # of connections, which know another endpoint
    with pytest.raises(CheckpointError, match=r"in checkpoint\.copy_to cannot be told \(s3://away/run"):
        loaded_step(tmp_path / "new", "s3://away/run")
    save(tmp_path / "old", 4)
    assert loaded_step(tmp_path / "old", "s3://away/run") == 4  # what is here will do
    assert "are not at hand" in caplog.text


# Forks children that each kill themselves at the n-th change which a save makes to their folder.
KILLED_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
import torch
from platform.config.sections import CheckpointConfig
from platform.training.checkpoints import Checkpoints

def child(folder, at):
    changes = 0
    def watch(event, args):
        nonlocal changes
        written = event in ("os.rename", "os.remove") or (event == "open" and "w" in str(args[1]))
        if written and str(folder) in str(args[0]):
            changes += 1
            if changes == at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    checkpoints = Checkpoints(folder, CheckpointConfig(keep=1))
    checkpoints.save({"step": 3, "model": {"weight": torch.full((50, 50), 3.0)}, "optimizer": {}}, wait=True)
    os._exit(0)

for at in range(1, 5):
    pid = os.fork()
    if pid == 0:
        child(Path(sys.argv[1]) / str(at), at)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.slow
def test_a_process_killed_anywhere_in_a_save_loses_at_most_that_save(tmp_path: Path) -> None:
    """Kill before each of the changes a save makes: opening the file, the rename, removing the one before."""
    folders = [tmp_path / str(at) for at in range(1, 5)]
    for folder in folders:
        save(folder, 1, 2, keep=1)
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path)]
    codes = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout.split()
    assert [int(code) for code in codes] == [-signal.SIGKILL] * 3 + [0]
    assert [loaded_step(folder) for folder in folders] == [2, 2, 3, 3]
    for folder in folders:
        save(folder, 4)
        assert loaded_step(folder) == 4
        assert not list(folder.glob("*.unfinished"))


def test_copies_to_a_folder_that_hangs_are_waited_for_no_longer_than_they_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here, there, released, write = (
        tmp_path / "here",
        tmp_path / "there",
        threading.Event(),
        checkpoint_files.write_whole,
    )

    def hanging(path: Path, content: memoryview) -> None:
        if path.parent == there:
            released.wait(30)
        write(path, content)

    monkeypatch.setattr(checkpoint_files, "write_whole", hanging)
    monkeypatch.setattr(checkpoints, "WAITING_EVERY_S", 0.01)
    monkeypatch.setattr(Storage, "longest_s", lambda self, size: 0.1)
    with Checkpoints(here, CheckpointConfig(), copy_to=str(there)) as saving:
        saving.save({"step": 1}, wait=True)
        saving.save({"step": 2}, wait=True)
    assert not there.exists()
    assert newest_step(here) == 2
    said = [record.getMessage() for record in caplog.records if "without waiting" in record.getMessage()]
    assert len(said) == 1
    released.set()
    assert saving._copies
    saving._copies._pool.shutdown(wait=True)


def test_who_waits_for_a_disk_that_hangs_does_not_say_for_ever_that_it_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, calls, write = threading.Event(), [], checkpoint_files.write_whole

    def hanging(path: Path, content: memoryview) -> None:
        released.wait(30)
        write(path, content)

    monkeypatch.setattr(checkpoint_files, "write_whole", hanging)
    monkeypatch.setattr(checkpoints, "WAITING_EVERY_S", 0.01)
    monkeypatch.setattr(Storage, "longest_s", lambda self, size: 0.1)
    waits, wait_for = [], checkpoints.wait_for

    def watched(futures: list[Any], timeout: float | None = None) -> Any:
        if timeout is None:
            waits.append(len(calls))
            released.set()  # else for ever: whoever watches ends the process
        return wait_for(futures, timeout=timeout)

    monkeypatch.setattr(checkpoints, "wait_for", watched)
    with Checkpoints(tmp_path, CheckpointConfig()) as saving:
        saving.save({"step": 1}, wait=True, waiting=lambda: calls.append(1))
    assert waits == [len(calls)]
    assert newest_step(tmp_path) == 1
