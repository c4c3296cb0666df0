"""A network as torch.compile makes it: the same weights under the same names, run by kernels made for it.

In: a network, a mode of `training.compile`, images. Out: the network's outputs, to the rounding. Shapes are fixed: each
shape of images is compiled once in a process, for all networks of one architecture; other processes of this user on
this machine find what was compiled on disk.
"""

import contextlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from platform.config.checks import ConfigError, require
from platform.config.training import NOT_COMPILED
from platform.files import sizes_below
from platform.text import one_line

log = logging.getLogger("platform.models")
CACHE = "TORCHINDUCTOR_CACHE_DIR"  # PyTorch's own variable
MOST_SHAPES = 1000  # in a process, of all its networks; beyond PyTorch's 8 a network would run uncompiled
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class CompiledNetwork(nn.Module):
    """Runs a network compiled. The network itself stays as it is, and so do the names in its state.

    Args:
        network: on its device; may be put into training and evaluation mode meanwhile.
        mode: of `training.compile`, but off.
        one_shape: only the first shape of images is compiled; others, such as a short last batch, run uncompiled.
    """

    def __init__(self, network: nn.Module, mode: str, *, one_shape: bool = False) -> None:
        super().__init__()
        self.network = network
        self._one_shape = one_shape
        _prepare()
        self._shape: tuple[int, ...] | None = None  # of the first images
        self._run = [torch.compile(network, mode=mode, dynamic=False)]  # in a list: it is no part of this module

    def forward(self, images: Tensor) -> Any:
        """The network's outputs for images `[N, 3, H, W]`, whatever they are."""
        self._shape = self._shape or tuple(images.shape)
        if self._one_shape and tuple(images.shape) != self._shape:
            return self.network(images)
        return self._run[0](images)


def require_compiler(mode: str, *, on_gpu: bool) -> None:
    """Whether this machine has what kernels are made with.

    Args:
        mode: of `training.compile`.
        on_gpu: whether the network is on one: Triton makes the kernels then, and needs a C compiler.

    Raises:
        ConfigError: what is missing, and what to do.
    """
    if mode == NOT_COMPILED:
        return
    said = f"training.compile is {mode}, which needs"
    if on_gpu:
        require(
            find_spec("triton") is not None,
            f"{said} Triton, and this Python has none; install the triton that belongs to this torch, or set "
            "training.compile=off",
        )
    variable, usual = ("CC", ("gcc", "clang", "cc")) if on_gpu else ("CXX", ("g++",))
    tried = [os.environ[variable]] if os.environ.get(variable) else list(usual)
    require(
        any(map(shutil.which, tried)),
        f"{said} a {'C' if on_gpu else 'C++'} compiler, and {' or '.join(tried)} is not there; install one (Debian: "
        f"apt-get install g++), name it in the environment variable {variable}, or set training.compile=off",
    )


@contextlib.contextmanager
def compiling(mode: str) -> Iterator[None]:
    """What runs compiled networks runs in here, whichever call compiles.

    Args:
        mode: of `training.compile`; off: nothing is done.

    Raises:
        ConfigError: a network cannot be compiled.
    """
    if mode == NOT_COMPILED:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # a second that a training without it need not spend

    try:
        yield
    except TorchDynamoException as error:
        raise ConfigError(
            f"training.compile is {mode}, and PyTorch cannot compile the network ({_reason(error)}); set "
            "training.compile=off, which trains the same"
        ) from error


def _reason(error: Exception) -> str:
    """What stopped it: a compiler's first error, or the first line of what PyTorch's own says."""
    inner = getattr(error, "inner_exception", error)
    lines = str(inner).splitlines()
    return f"{type(inner).__name__}: {one_line(next((line for line in lines if 'error:' in line), str(inner)))}"


def compiled_graphs() -> int:
    """How many graphs of networks this process has compiled, or found compiled on disk."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def use_threads(threads: int) -> None:
    """Compile with so many processes at a time, unless the environment says another number. PyTorch would take one for
    each CPU of the machine, in each worker."""
    import torch._inductor.config

    if "TORCHINDUCTOR_COMPILE_THREADS" not in os.environ:
        torch._inductor.config.compile_threads = threads


def _prepare() -> None:
    """Set PyTorch's options, before anything is compiled.

    Kernels for a CPU are scalar (`cpp.simdlen`). Vector kernels of PyTorch 2.15 read past the end of what a max pooling
    gets where the channels are no multiple of a vector, and write past the end of some reductions
    (https://github.com/pytorch/pytorch/issues/196681, open in November 2026). Kernels for a GPU are others.

    The gradient of an average pooling stays PyTorch's operator, on a GPU too: the kernel made for it divides by the
    whole window where that stands out of the map (https://github.com/pytorch/pytorch/issues/198119, open as well).
    PyTorch's cache does not know that: its key gets a mark, so that a kernel that was kept without it is not taken.
    """
    import torch._dynamo.config
    import torch._inductor.config
    from torch._inductor.lowering import fallbacks, make_fallback

    torch._inductor.config.cpp.simdlen = 1
    if torch.ops.aten.avg_pool2d_backward.default not in fallbacks:
        make_fallback(torch.ops.aten.avg_pool2d_backward)
        torch.compiler.config.cache_key_tag += "avg_pool2d_backward-as-it-is"
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = MOST_SHAPES
    if CACHE not in os.environ:
        os.environ[CACHE] = str(cache_folder())


def cache_folder() -> Path:
    """The folder of what was compiled, which only this user may write to: what is read from it is run, and unpickled by
    PyTorch. So it lies on the machine, not beside an experiment, which others may share, copy or send.

    It serves all workers, members, trials and experiments of the user on this machine, until it is removed. What is in
    it is named by what it was made of, and written whole.
    """
    folder = Path(tempfile.gettempdir(), f"compiled-networks-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & OTHERS_WRITE:
        return folder
    own = Path(tempfile.mkdtemp(prefix="compiled-networks-"))
    log.warning(
        "%s is not this user's alone; compiled networks are kept in %s, which no other process finds; remove the "
        "first, or set %s",
        folder,
        own,
        CACHE,
    )
    return own


def megabytes(folder: Path) -> float:
    """What the files below a folder take on disk."""
    return sum(size for _, size in sizes_below(folder)) / 1e6
