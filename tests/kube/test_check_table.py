"""The table of `job=check`: one line each off a terminal, wrapped under its column and coloured on one."""

import sys

import pytest

from platform.kubernetes.check import table
from platform.kubernetes.check.finding import missing, ok, unknown, warning

FINDINGS = [
    ok("operator", "KubeRay v1.7.0 in kuberay-system"),
    missing("quota", "too small", "raise it"),
    warning("GPUs", "no node offers nvidia.com/gpu", "add one " * 20),
    unknown("nodes", "needs the right to list nodes\x1b[2J"),
]


def test_off_a_terminal_each_is_a_line(capsys: pytest.CaptureFixture[str]):
    lines = table.lines(FINDINGS)
    assert lines[:2] == [
        "ok       operator  KubeRay v1.7.0 in kuberay-system",
        "missing  quota     too small; raise it",
    ]
    assert lines[3] == "unknown  nodes     needs the right to list nodes\\x1b[2J"
    assert lines[4:] == ["1 missing: the job would fail; 1 warning(s); 1 unknown"]


def test_on_a_terminal_long_lines_go_on_under_their_column(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    lines = table.lines(FINDINGS)
    assert lines[1] == "\x1b[31mmissing\x1b[0m  quota     too small; raise it"
    (first, *rest) = lines[2:-2]
    assert first.startswith("\x1b[33mwarning\x1b[0m  GPUs      no node offers")
    assert rest
    assert all(line.startswith(" " * 19) and len(line) <= 80 for line in rest)
    monkeypatch.setenv("NO_COLOR", "1")
    assert table.lines(FINDINGS)[1] == "missing  quota     too small; raise it"
    monkeypatch.setenv("COLUMNS", "30")  # too narrow to wrap
    assert len(table.lines(FINDINGS)) == len(FINDINGS) + 1


def test_what_it_comes_to():
    assert table.summary([ok("a", "b")]) == "nothing that is sure to make the job fail was found"
    assert table.summary([missing("a", "b", "c")] * 2) == "2 missing: the job would fail"
