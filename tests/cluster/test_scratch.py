"""The folder of a Ray of our own: sockets' paths, its token, and what its logs say."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from platform.checkout import ROOT
from platform.cluster.ray_internals import SOCKET
from platform.cluster.scratch import have_a_token, last_words, scratch_folder
from platform.config.checks import ConfigError

NO_PROCESS = """
import logging
import platform.cluster.connect as cluster
from platform.config.checks import CannotGoOn
from platform.config.cluster import ClusterConfig
cluster.local = lambda *_: {"py_executable": "echo no module called ray >&2; exit 3;"}
cluster.NOT_ALIVE_S, cluster.GIVEN_UP_AFTER_S = 4.0, 5.0
try:
    cluster.connect(ClusterConfig())
except CannotGoOn as error:
    print(error)
finally:
    cluster.disconnect()
"""


@pytest.mark.parametrize("length", [27, 28, 200])
def test_sockets_fit_wherever_temporary_files_go(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="t" * (length - len("/tmp/12345678")), dir="/tmp") as usual:
        monkeypatch.setattr(tempfile, "tempdir", usual)
        scratch, said = scratch_folder()
        try:
            assert stat.S_IMODE(scratch.stat().st_mode) == 0o700
            assert scratch.is_relative_to(usual) == (not said) == (length == 27)
            assert not said or said.endswith(f"too long for Ray's sockets (at most 27 bytes); they are in {scratch}")
            place = Path(f"{scratch}{SOCKET}")
            place.parent.mkdir(parents=True)
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(str(place))
        finally:
            shutil.rmtree(scratch)


def test_a_user_whose_home_takes_no_file_has_a_token_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    have_a_token()
    assert "RAY_AUTH_TOKEN" not in os.environ
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))  # nobody, not even root, has a folder there
    have_a_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_no_folder_for_temporary_files_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(ConfigError, match=r"no folder for temporary files \(.*\['/tmp'\]\); set TMPDIR"):
        scratch_folder()


def test_the_last_words_are_those_that_tell_of_a_failure(tmp_path: Path) -> None:
    assert last_words(None) == last_words(tmp_path / "none") == ""
    (tmp_path / "raylet.err").write_text("")
    (tmp_path / "raylet.out").write_text("[1 I 2] all is well\n[1 E 2] a worker did not register\n[1 I 3] on\n")
    (tmp_path / "worker-1.err").write_text(":job_id:01000000\nold\n\none\ntwo\n" + "x" * 1000 + "\n")
    assert last_words(tmp_path).splitlines()[1:] == [
        "  worker-1.err: one", "  worker-1.err: two", "  worker-1.err: " + "x" * 300,
        "  raylet.out: [1 E 2] a worker did not register",
    ]  # fmt: skip


def test_logs_that_go_away_are_no_errors(tmp_path: Path) -> None:
    (tmp_path / "gone.err").symlink_to(tmp_path / "nowhere")
    (tmp_path / "raylet.err").write_text("it broke\n")
    assert last_words(tmp_path) == "\n  raylet.err: it broke"


@pytest.mark.slow
def test_a_ray_without_processes_says_so_with_its_own_last_words():
    done = subprocess.run(
        [sys.executable, "-c", NO_PROCESS], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert "no process of Ray's has come to life on this machine in 4 s; waiting on" in done.stderr
    assert "no process of Ray's has come to life on this machine in 5 s" in done.stdout
    assert "raylet.err: no module called ray" in done.stdout
