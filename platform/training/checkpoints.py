"""A member's checkpoint: everything it needs to go on, in one file that is either whole or not there.

In: the training state. Out: `checkpoint.pt`, written beside its place, checksummed and renamed; read back with
`weights_only`, so that a checkpoint from elsewhere cannot run code. The one before it is kept against a torn one.
"""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger("platform.training")
NEWEST, PREVIOUS = "checkpoint.pt", "checkpoint-previous.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) as the newest checkpoint of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    newest, unfinished = folder / NEWEST, folder / f"{NEWEST}.{os.getpid()}.unfinished"
    try:
        with open(unfinished, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        digest = _digest(unfinished)
        if newest.exists():
            os.replace(newest, folder / PREVIOUS)
            if _sum_file(newest).exists():
                os.replace(_sum_file(newest), _sum_file(folder / PREVIOUS))
        _sum_file(newest).write_text(digest)
        os.replace(unfinished, newest)
    finally:
        unfinished.unlink(missing_ok=True)


def load(folder: Path) -> dict[str, Any] | None:
    """The newest whole checkpoint of `folder`, or None. A torn one is reported and the one before it used."""
    paths = (folder / NEWEST, folder / PREVIOUS)
    # Either sum vouches for either file: a save killed between its renames leaves one under the other's name.
    sums = [_sum_file(path).read_bytes() for path in paths if _sum_file(path).exists()]
    for path in paths:
        if not path.exists():
            continue
        try:
            if _digest(path).encode() not in sums:
                raise ValueError("its checksum does not match")
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            log.warning("checkpoint %s is unusable (%s); trying the one before", path, error)
    return None


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sum_file(path: Path) -> Path:
    return path.with_suffix(".sha256")
