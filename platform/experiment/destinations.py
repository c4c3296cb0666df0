"""The places on a disk that a run will write to, tried before it starts; what is made to try them goes again.

In: an experiment. Out: nothing, or the first place that takes nothing. What a store at a URL takes is seen later.
"""

import contextlib
import errno
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from platform.cluster.submission import tracking_file
from platform.config.checks import ConfigError
from platform.config.sections import MEMORY, Config, Experiment
from platform.data.cache import require_cache
from platform.data.storage import is_remote

SQLITE = b"SQLite format 3\0"
ATTEMPTS = 20


def require_places(experiment: Experiment, *, packed: bool) -> None:
    """Every place, as `job=check` asks for.

    Args:
        experiment: what will run.
        packed: whether its shards are there, and nobody writes them.

    Raises:
        ConfigError: a folder that cannot be made or written to, a cache on a file system without locks, or a tracking
            file that is no database.
    """
    config = experiment.config
    require_folder("output_dir", experiment.folder)
    require_copies(experiment)
    if not packed and not is_remote(config.data.shards):
        require_folder("data.shards", Path(config.data.shards).parent)  # it is written beside its place
    require_cache_folder(config)
    if (file := _database(config.tracking.uri)) is not None:
        require_folder("tracking.uri", file.parent)
        _require_database(file)


def require_copies(experiment: Experiment) -> None:
    """The folder of the checkpoints' copies alone. On a cluster it is one of its nodes', which this may not be.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    config = experiment.config
    if config.checkpoint.copy_to and not is_remote(config.checkpoint.copy_to) and config.cluster.address is None:
        require_folder("checkpoint.copy_to", Path(config.checkpoint.copy_to))


def require_cache_folder(config: Config) -> None:
    """The folder of remote shards' copies: it is written to and has locks. On a cluster it is each node's.

    Raises:
        ConfigError: it cannot be made or written to, or has no locks.
    """
    if config.cluster.address is None and is_remote(config.data.shards) and config.storage.cache != MEMORY:
        require_folder("storage.cache", Path(config.storage.cache), require_cache)


def require_folder(key: str, folder: Path, require_more: Callable[[Path], None] = lambda _: None) -> None:
    """Make a folder with those above it, write a file, try what more it is to be fit for, and remove all of it.

    Raises:
        ConfigError: one of these cannot be done.
    """
    for left in reversed(range(ATTEMPTS)):
        try:
            with _made(folder):
                with tempfile.TemporaryFile(dir=folder) as file:
                    file.write(b"\0")
                    file.flush()
                require_more(folder)
            return
        except OSError as error:
            if left and isinstance(error, FileExistsError | FileNotFoundError):
                continue  # another launch, which tries the same folder, has made or removed it meanwhile
            raise ConfigError(
                f"{key}: {folder} cannot be written to ({error.strerror or error}); give another, or make it writable"
            ) from error


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder is there meanwhile. Of what was made for it, what somebody else uses by the end stays."""
    made: list[Path] = []
    try:
        for each in reversed([folder, *folder.parents]):
            if not each.is_dir():
                try:
                    each.mkdir()
                    made.append(each)
                except FileExistsError:
                    if not stat.S_ISDIR(each.stat().st_mode):
                        raise NotADirectoryError(errno.ENOTDIR, f"{each} is no folder") from None
        yield
    finally:
        for each in reversed(made):
            with contextlib.suppress(OSError):
                each.rmdir()


def _database(uri: str) -> Path | None:
    """The file of an SQLite database; None: it is something else, or in memory."""
    name = tracking_file(uri) if uri.startswith("sqlite") else None
    name = (name or "").partition("?")[0]
    return None if not name or name.startswith((":memory:", "file:")) else Path(name).absolute()


def _require_database(file: Path) -> None:
    """
    Raises:
        ConfigError: the file holds something else, or cannot be written to.
    """
    try:
        if file.exists():
            with file.open("r+b") as opened:
                start = opened.read(len(SQLITE))
                if start not in (b"", SQLITE):
                    raise ConfigError(f"tracking.uri: {file} is no SQLite database; give another file")
    except OSError as error:
        raise ConfigError(
            f"tracking.uri: {file} cannot be written to ({error.strerror or error}); give another file"
        ) from error
