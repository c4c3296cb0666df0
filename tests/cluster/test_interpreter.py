"""The interpreter's path in the lines that Ray has a shell run."""

import shlex
import sys

import pytest

from platform.cluster.interpreter import _first_word, interpreter

ODD = "/home/me/it's 100% mine/.venv/bin/python"


def test_the_interpreters_path_is_quoted_where_a_shell_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert interpreter() is None
    monkeypatch.setattr(sys, "executable", ODD)
    quoted = interpreter()
    assert quoted
    assert shlex.split(f"exec {quoted['py_executable']} -m x") == ["exec", ODD, "-m", "x"]


def test_other_peoples_commands_are_no_errors() -> None:
    assert _first_word("/it's/python -m ray") == []
    assert _first_word("") == []
    assert _first_word("'/a b/python' -m ray") == ["/a b/python"]
