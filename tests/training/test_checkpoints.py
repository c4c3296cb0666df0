"""Checkpoints survive tearing, crashes in mid-write and hostile files."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from platform.training import checkpoints
from platform.training.checkpoints import NEWEST, PREVIOUS, load, save


def state(step: int) -> dict[str, Any]:
    return {"step": step, "model": {"weight": torch.full((50, 50), float(step))}, "optimizer": {"lr": [0.1, None]}}


def loaded_step(folder: Path) -> int | None:
    found = load(folder)
    if found is None:
        return None
    assert torch.equal(found["model"]["weight"], state(found["step"])["model"]["weight"])
    return int(found["step"])


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path / "new" / "folder", state(3))
    found = load(tmp_path / "new" / "folder")
    assert found is not None
    assert found["optimizer"] == {"lr": [0.1, None]}
    assert loaded_step(tmp_path / "new" / "folder") == 3


def test_an_empty_or_absent_folder_has_none(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    assert load(tmp_path / "absent") is None


def test_the_newest_is_loaded_and_only_the_one_before_is_kept(tmp_path: Path) -> None:
    for step in range(1, 5):
        save(tmp_path, state(step))
    assert loaded_step(tmp_path) == 4
    assert sorted(path.name for path in tmp_path.glob("*.pt*")) == [PREVIOUS, NEWEST]
    (tmp_path / NEWEST).unlink()
    assert loaded_step(tmp_path) == 3


def test_a_torn_newest_is_reported_and_the_one_before_it_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, state(1))
    save(tmp_path, state(2))
    tear(tmp_path / NEWEST)
    assert loaded_step(tmp_path) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(tmp_path / NEWEST) in caplog.text
    save(tmp_path, state(3))
    assert loaded_step(tmp_path) == 3


def test_a_single_flipped_bit_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, state(1))
    content = bytearray((tmp_path / NEWEST).read_bytes())
    content[len(content) // 2] ^= 1  # inside a weight: torch alone would load it
    (tmp_path / NEWEST).write_bytes(content)
    assert loaded_step(tmp_path) is None
    assert "checksum" in caplog.text


def test_both_torn_starts_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, state(1))
    save(tmp_path, state(2))
    tear(tmp_path / NEWEST)
    tear(tmp_path / PREVIOUS)
    assert loaded_step(tmp_path) is None
    assert len(caplog.records) == 2


def test_a_lost_checksum_costs_that_checkpoint_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, state(1))
    save(tmp_path, state(2))
    (tmp_path / NEWEST).with_suffix(".sha256").unlink()
    assert loaded_step(tmp_path) == 1
    assert "unusable" in caplog.text
    save(tmp_path, state(3))
    assert loaded_step(tmp_path) == 3


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
    victim = tmp_path / "ran"
    content = {"step": 1, "model": Malicious(victim)}
    folder = tmp_path / "member"
    if as_torch:
        save(folder, content)  # with a checksum that matches
    else:
        folder.mkdir()
        (folder / NEWEST).write_bytes(pickle.dumps(content, protocol=2))
        digest = checkpoints._digest(folder / NEWEST)
        (folder / NEWEST).with_suffix(".sha256").write_text(digest)
    assert load(folder) is None
    assert not victim.exists()
    assert "unusable" in caplog.text


def test_an_unfinished_file_is_no_checkpoint(tmp_path: Path) -> None:
    left = tmp_path / f"{NEWEST}.4711.unfinished"
    left.write_bytes(b"half of")
    assert load(tmp_path) is None
    save(tmp_path, state(1))
    left.write_bytes(b"half of")
    assert loaded_step(tmp_path) == 1


def test_a_save_that_fails_leaves_the_newest_as_it_was(tmp_path: Path) -> None:
    save(tmp_path, state(1))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save(tmp_path, {"step": 2, "model": lambda: None})
    assert loaded_step(tmp_path) == 1
    assert not list(tmp_path.glob("*.unfinished"))


# Forks children that each kill themselves at the n-th change which a save makes to their folder.
KILLED_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
import torch
from platform.training.checkpoints import save

def child(folder, at):
    changes = 0
    def watch(event, args):
        nonlocal changes
        written = event == "os.rename" or (event == "open" and "w" in str(args[1]))
        if written and str(folder) in str(args[0]):
            changes += 1
            if changes == at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    save(folder, {"step": 3, "model": {"weight": torch.full((50, 50), 3.0)}, "optimizer": {}})
    os._exit(0)

for at in range(1, 7):
    pid = os.fork()
    if pid == 0:
        child(Path(sys.argv[1]) / str(at), at)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_process_killed_anywhere_in_a_save_loses_at_most_that_save(tmp_path: Path) -> None:
    """Kill before each of the changes a save makes: opening the file, two renames, the checksum, the last rename."""
    folders = [tmp_path / str(at) for at in range(1, 7)]
    for folder in folders:
        save(folder, state(1))
        save(folder, state(2))
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path)]
    codes = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout.split()
    assert [int(code) for code in codes] == [-signal.SIGKILL] * 5 + [0]
    assert [loaded_step(folder) for folder in folders] == [2, 2, 2, 2, 2, 3]
    for folder in folders:
        save(folder, state(4))
        assert loaded_step(folder) == 4
