"""Copies of checkpoints to a folder whose file system really hangs, as a network file system without its server does.

The folder is a FUSE file system that nobody serves, in a process with mounts of its own: no other process meets it.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

from platform.checkout import ROOT

CANNOT_MOUNT = 77  # exit status

SAVING = """
import ctypes, json, logging, os, sys, time
from pathlib import Path

from platform.config.data import StorageConfig
from platform.config.training import CheckpointConfig
from platform.training import copy_place
from platform.training.checkpoint_files import listed
from platform.training.checkpoints import Checkpoints, newest_step
from platform.data.storage import Storage

NEW_MOUNTS, PRIVATE, RECURSIVE, DETACH = 0x20000, 1 << 18, 1 << 14, 2
here, there = Path(sys.argv[1]), Path(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
try:
    fuse = os.open("/dev/fuse", os.O_RDWR)
except OSError:
    sys.exit(77)
if libc.unshare(NEW_MOUNTS) or libc.mount(b"none", b"/", None, PRIVATE | RECURSIVE, None):
    sys.exit(77)
if libc.mount(b"hangs", os.fsencode(there), b"fuse", 0, f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()):
    sys.exit(77)

said = []
class Said(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger("platform").addHandler(Said())
copy_place.LISTING_PIECES = 1
storage, found = StorageConfig(timeout_s=0.2), {}
saving = Checkpoints(here, CheckpointConfig(keep=2), storage, str(there))
most = 0
for step in range(1, 7):
    saving.save({"step": step}, wait=True)
    most = max(most, copy_place.hanging())
found["steps"], found["most"], found["made"] = newest_step(here), most, saving._copies.made

another = Checkpoints(here, CheckpointConfig(), storage, str(there))
found["loaded"] = another.load()["step"]  # the folder's own will do
another.close()

libc.umount2(os.fsencode(there), DETACH)
os.close(fuse)  # the calls that hang come back with an error
end = time.monotonic() + 60
while copy_place.hanging() and time.monotonic() < end:
    time.sleep(0.01)
found["hanging"] = copy_place.hanging()
saving.save({"step": 7}, wait=True)
saving.close()
found["copies"] = sorted(saved.step for saved in listed(str(there), Storage(storage)))
print(json.dumps(found | {"said": said}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("hangs")
    here, there = folder / "here", folder / "there"
    there.mkdir()
    command = [sys.executable, "-c", SAVING, str(here), str(there)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode == CANNOT_MOUNT:
        pytest.skip("this process may not mount a FUSE file system")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_training_saves_on_beside_a_folder_that_hangs(found: dict[str, Any]) -> None:
    assert found["steps"] == 6
    assert found["made"] == 6
    assert found["loaded"] == 6


def test_no_more_calls_are_left_alone_than_the_limit_and_what_is_not_copied_is_said(found: dict[str, Any]) -> None:
    assert found["most"] == 2
    lines = [line for line in found["said"] if "is not copied" in line]
    assert len(lines) == 6
    assert "there hangs (no answer within 0.2 s; storage.timeout_s is 0.2); look at its file system" in lines[0]
    assert "2 calls before it have not returned" in lines[2]
    assert any("copies of checkpoints are not at hand" in line for line in found["said"])


def test_copies_go_on_when_the_folder_answers_again(found: dict[str, Any]) -> None:
    assert found["hanging"] == 0
    assert found["copies"] == [6, 7]
