"""The folders and files that a run will write to, tried before it starts; nothing of the trial is left.

In: an experiment. Out: nothing, or an error that names the first place that cannot be written. Stores at URLs are not
tried.
"""

import contextlib
import errno
import random
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from platform.cluster.submission import database_file
from platform.config.checks import ConfigError
from platform.config.data import MEMORY
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.data.cache import require_cache
from platform.data.urls import is_remote

SQLITE = b"SQLite format 3\0"
ATTEMPTS = 20


def require_places(experiment: Experiment, *, packed: bool) -> None:
    """Try every place that an experiment writes to, for `job=check`.

    Args:
        experiment: that will run.
        packed: its shards are there already, so that none are written.

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
    if (file := database_file(config.tracking.uri)) is not None:
        require_folder("tracking.uri", file.parent)
        _require_database(file)


def require_copies(experiment: Experiment) -> None:
    """Try the folder of `checkpoint.copy_to`, unless the run is on a cluster, whose nodes write there.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    config = experiment.config
    if config.checkpoint.copy_to and not is_remote(config.checkpoint.copy_to) and config.cluster.address is None:
        require_folder("checkpoint.copy_to", Path(config.checkpoint.copy_to))


def require_cache_folder(config: Config) -> None:
    """Try the cache's folder, and its locks, where shards are remote; not for a cluster, whose nodes have their own.

    Raises:
        ConfigError: it cannot be made or written to, or has no locks.
    """
    is_fetched = any(map(is_remote, config.data.places.values()))
    if config.cluster.address is None and is_fetched and config.storage.cache != MEMORY:
        require_folder("storage.cache", Path(config.storage.cache), require_cache)


def require_folder(key: str, folder: Path, require_more: Callable[[Path], None] = lambda _: None) -> None:
    """Try whether a folder can be made and written to, and remove everything again.

    Args:
        key: the setting, for the message.
        folder: which may exist.
        require_more: another check of the folder, while it exists; may raise OSError.

    Raises:
        ConfigError: one of these fails.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with _made(folder):
                with tempfile.TemporaryFile(dir=folder) as file:
                    file.write(b"\0")
                    file.flush()
                require_more(folder)
            return
        except OSError as error:
            if attempt < ATTEMPTS and isinstance(error, FileExistsError | FileNotFoundError):
                # Another launch that tries the same folder has made or removed it meanwhile. Pauses of unlike length
                # part two that meet again and again.
                time.sleep(random.uniform(0, 0.001 * attempt))
                continue
            raise ConfigError(
                f"{key}: {folder} cannot be written to ({error.strerror or error}); give another, or make it writable"
            ) from error


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder for the time of the block; folders that others have put something into stay."""
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


def _require_database(file: Path) -> None:
    """Check that a file, if it exists, is an SQLite database.

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
