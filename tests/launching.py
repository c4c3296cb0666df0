"""Command lines run in this process: `python -m platform.launch` without the second that it takes to start."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from hydra.core.global_hydra import GlobalHydra

from platform.checkout import ROOT
from platform.launch import launch


def launched(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Status and output of a command line."""
    command, folder, hydra = ["platform.launch", *arguments], Path.cwd(), GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()  # of a fixture, as `composing`
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", list(command)),
        contextlib.redirect_stdout(io.StringIO()) as stdout,
        contextlib.redirect_stderr(io.StringIO()) as stderr,
    ):
        os.chdir(ROOT)
        try:
            status = launch(list(arguments))
        finally:
            os.chdir(folder)
            GlobalHydra.instance().hydra = hydra
    return subprocess.CompletedProcess(command, status, stdout.getvalue(), stderr.getvalue())
