"""Logs of bounded size: what is kept, what is counted, what is masked."""

import io
import re
from pathlib import Path

import pytest

from platform.experiment.log_file import LogFile, Tee, masked


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


def test_a_folder_that_takes_nothing_costs_the_log_and_not_the_run(tmp_path: Path):
    (tmp_path / "file").write_text("")
    log = LogFile(tmp_path / "file" / "log", 100)
    log.write("one\n")
    assert log.fileno() == -1


def test_no_secret_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "/wJalrXUtnFEMI/K7")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/tmp/of/ray/token")
    log = LogFile(tmp_path / "log", 1000)
    log.write("key=/wJalrXUtnFEMI/K7 url=https://me:hunter222@host/x token in /tmp/of/ray/token\n")
    assert (tmp_path / "log").read_text() == "key=*** url=https://me:***@host/x token in /tmp/of/ray/token\n"


def test_short_values_are_words_and_stay(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_TOKEN", "true")
    assert masked("it is true") == "it is true"


def test_a_terminals_colours_and_bars_stay_on_the_terminal(tmp_path: Path):
    shown, log = io.StringIO(), LogFile(tmp_path / "log", 1000)
    stream = Tee(shown, log)
    stream.write("\x1b[32mA finished\x1b[0m\nA \u2501\u2501\u2501 45%\n")
    assert (tmp_path / "log").read_text() == "A finished\n"
    assert shown.getvalue() == "\x1b[32mA finished\x1b[0m\nA \u2501\u2501\u2501 45%\n"
