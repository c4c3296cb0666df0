"""Logs of bounded size: what is kept, what is counted, what is masked, and what comes after a full disk."""

import errno
import faulthandler
import io
import os
import re
import threading
import time
from pathlib import Path

import pytest

from platform.experiment import log_file
from platform.experiment.log_file import LogFile, LogQueue, Tee
from platform.experiment.secrets import Mask


def a_while_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic() + log_file.AGAIN_S
    monkeypatch.setattr(log_file.time, "monotonic", lambda: now)


def test_what_is_written_is_there_at_once(tmp_path: Path):
    log = LogFile(tmp_path / "a" / "driver.log", 1000)
    log.write("one\n")
    assert (tmp_path / "a" / "driver.log").read_text() == "one\n"


def test_a_long_log_keeps_its_beginning_and_its_end_and_counts_the_rest(tmp_path: Path):
    log, lines = LogFile(tmp_path / "log", 100), [f"line {number:04}\n" for number in range(100)]
    for line in lines:
        log.write(line)
    log.close()
    first, before, last = ((tmp_path / name).read_text() for name in ("log.first", "log.before", "log"))
    assert len(list(tmp_path.iterdir())) == 3
    assert first.startswith("line 0000\n")
    assert last.endswith("line 0099\n")
    said = re.match(r"\((\d+) bytes are left out between log.first and log.before\)\n", last)
    assert said
    kept = "".join(line for text in (first, before, last) for line in text.splitlines(keepends=True) if line[0] != "(")
    noted = sum(len(line) for line in before.splitlines(keepends=True) if line[0] == "(")
    assert int(said[1]) >= len("".join(lines)) - len(kept) > 0  # it counts its own earlier notes too
    assert int(said[1]) - (len("".join(lines)) - len(kept)) < 100 * 20
    assert noted >= 0
    order = [int(number) for number in re.findall(r"line (\d+)", first + before + last)]
    assert order == sorted(order)


def test_a_crash_is_written_to_the_log_of_now_however_often_it_was_set_aside(tmp_path: Path):
    """The number of the file that faulthandler has must never stand for another file."""
    log = LogFile(tmp_path / "log", 100)
    number = log.fileno()
    for _ in range(30):
        log.write("0123456789\n")
    with (tmp_path / "checkpoint").open("wb"):
        assert log.fileno() == number
        faulthandler.dump_traceback(number)
    log.close()
    assert "most recent call first" in (tmp_path / "log").read_text()
    assert (tmp_path / "checkpoint").read_bytes() == b""


def test_a_folder_that_takes_nothing_costs_the_log_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    log = LogFile(tmp_path / "file" / "log", 100)
    log.write("one\n")
    assert log.fileno() == -1
    (tmp_path / "file").unlink()
    log.write("two\n")
    assert not (tmp_path / "file").exists()  # it is not opened at every line
    a_while_later(monkeypatch)
    log.write("three\n")
    assert (tmp_path / "file" / "log").read_text() == "three\n"


@pytest.mark.parametrize("name", ["open", "write"])
def test_it_goes_on_in_the_same_file_after_a_disk_was_full(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = LogFile(tmp_path / "log", 500)
    for number in range(120):
        log.write(f"{number:09}\n")

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(log_file.os, name, full)
        for number in range(120, 240):
            log.write(f"{number:09}\n")
    a_while_later(monkeypatch)
    log.write("after\n")
    log.write("and later\n")
    kept = "".join((tmp_path / f"log{part}").read_text() for part in (".first", ".before", ""))
    assert re.search(r"^after\n(\(.*\n)?and later\n", kept, re.M)


def test_it_goes_on_in_the_same_file_where_it_cannot_be_set_aside(tmp_path: Path):
    (tmp_path / "log.first").mkdir()  # exists, so that the log becomes log.before
    (tmp_path / "log.before").mkdir()
    log = LogFile(tmp_path / "log", 50)
    for number in range(20):
        log.write(f"{number:09}\n")
    assert [int(line) for line in (tmp_path / "log").read_text().splitlines()] == list(range(20))


SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "/wJalrXUtnFEMI/K7",
    "AZURE_STORAGE_KEY": "Eby8vdM02xNOcqF",
    "AZURE_STORAGE_CONNECTION_STRING": "AccountName=me;AccountKey=Eby8vdM02xNOcqF",
    "MYSQL_PWD": "correct-horse",
    "GCS_HMAC_KEY": "bGoa+V7g/yqDXvKRqq",
    "SSH_PRIVATE_KEY": "first-of-a-key\nsecond-of-a-key",
}


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for each, value in SECRETS.items():
        monkeypatch.setenv(each, value)
    log = LogFile(tmp_path / "log", 1000)
    log.write(f"key={SECRETS[name]} url=https://me:hunter222@host/x\n")
    text = (tmp_path / "log").read_text()
    assert text == "key=" + "\n".join("***" for _ in SECRETS[name].splitlines()) + " url=https://me:***@host/x\n"


def test_places_are_no_secrets_and_short_values_are_words(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"RAY_AUTH_TOKEN_PATH": "/tmp/of/ray/token", "PWD": "/home/of/me", "MY_TOKEN": "true"}.items():
        monkeypatch.setenv(name, value)
    text = "it is true: token in /tmp/of/ray/token, in /home/of/me"
    assert Mask()(text) == text


def test_a_secret_that_comes_in_parts_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MYSQL_PWD", "correct-horse")
    shown, log = io.StringIO(), LogFile(tmp_path / "log", 1000)
    stream = Tee(shown, log)
    for part in ("the password is correct", "-horse, not https://me:hunt", "er222@host\nthe rest"):
        stream.write(part)
    assert (tmp_path / "log").read_text() == "the password is ***, not https://me:***@host\n"
    assert stream.end() is shown
    assert (tmp_path / "log").read_text().endswith("host\nthe rest")
    assert shown.getvalue().startswith("the password is correct-horse")


def test_a_line_without_an_end_does_not_grow_for_ever(tmp_path: Path):
    log = LogFile(tmp_path / "log", 100_000)
    stream = Tee(io.StringIO(), log)
    stream.write("." * (log_file.LONGEST_LINE + 1))
    assert (tmp_path / "log").stat().st_size == log_file.LONGEST_LINE + 1


def test_nobody_waits_for_a_file_system_that_hangs_and_what_it_misses_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    log, hangs, writing, write = LogFile(tmp_path / "log", 100_000), threading.Event(), threading.Event(), os.write

    def hang(file: int, content: bytes) -> int:
        writing.set()
        hangs.wait()
        return write(file, content)

    monkeypatch.setattr(log_file, "MOST_WAITING", 3)
    monkeypatch.setattr(log_file.os, "write", hang)
    lines = LogQueue(log)
    lines.write("0\n")
    writing.wait()
    for number in range(1, 9):
        lines.write(f"{number}\n")
    lines.flush(0.01)  # it is not waited for either
    hangs.set()
    lines.flush(60)
    said = (tmp_path / "log").read_text().splitlines()
    assert [line for line in said if line[0] != "("] == ["0", "1", "2", "3"]
    assert [line for line in said if line[0] == "("] == ["(5 lines are left out: this file took none)"]


def test_a_terminals_colours_and_bars_stay_on_the_terminal(tmp_path: Path):
    shown, log = io.StringIO(), LogFile(tmp_path / "log", 1000)
    stream = Tee(shown, log)
    stream.write("\x1b[32mA finished\x1b[0m\nA \u2501\u2501\u2501 45%\n")
    assert (tmp_path / "log").read_text() == "A finished\n"
    assert shown.getvalue() == "\x1b[32mA finished\x1b[0m\nA \u2501\u2501\u2501 45%\n"
