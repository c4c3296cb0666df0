"""`job=pack`: makes shards and their index from `data.source`, verifies shards, or indexes shards that others made.

In: the sections `data`, `storage`, `pack` and `cluster` of an experiment. Out: what `pack.action` says.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from platform.cluster.fork_server.client import FORKED, STATE
from platform.cluster.resources import cpus_here
from platform.cluster.runtime_env import Unforked, fork_server
from platform.config.checks import ConfigError
from platform.config.data import NOT_BALANCED, DataConfig
from platform.config.experiment import Experiment
from platform.config.loss import PRIOR
from platform.config.sections import Config
from platform.console import Counter as Progress
from platform.data.cache import ShardError
from platform.data.index import Index
from platform.data.index_file import read_entries
from platform.data.labels import are_kept, labels_of
from platform.data.sets import training_split
from platform.data.storage import Storage
from platform.data.store_errors import StorageError
from platform.data.urls import is_remote
from platform.experiment.destinations import require_cache_folder
from platform.experiment.packed_data import is_packed, open_data
from platform.locks import locked
from platform.packing import adopt, pack, verify
from platform.packing.preparation import prepare
from platform.packing.shard import ShardResult, ShardTask, write_shard
from platform.redaction import shared_secrets, trust
from platform.signals import INTERRUPTED, signals
from platform.text import printable

FEW_IMAGES = 5000  # fewer are packed before Ray would have started
RETRIES = 3  # of a shard whose worker died


def run(experiment: Experiment) -> int:
    """Do what `pack.action` says.

    Returns:
        The exit code: 0 if all is well, 1 if shards are bad, 130 if interrupted.

    Raises:
        ConfigError: it cannot be done; why, in one line.
    """
    config = experiment.config
    action = {"write": _write, "verify": _verify, "index": _index}[config.pack.action]
    try:
        # SIGTERM does what Ctrl-C does; a second one ends the waiting.
        with signals(lambda _: KeyboardInterrupt(), [signal.SIGTERM], once=False):
            return action(config)
    except (ShardError, StorageError) as error:
        raise ConfigError(str(error)) from error
    except KeyboardInterrupt:
        print("\ninterrupted" + ("; the same command goes on from the finished shards" if action is _write else ""))
        if action is not _write:  # there is nothing to clean up, and a thread may be waiting for a stalled store
            sys.stdout.flush()
            os._exit(INTERRUPTED)
        return INTERRUPTED


def prepare_data(config: Config, known: Index | None = None) -> Index:
    """The index of the packed shards, which are made from the source on first use.

    Args:
        config: where they are.
        known: their index, where it was just read and checked: with 100,000 shards once is enough.

    Raises:
        ConfigError: there are neither shards nor a source, or no place for copies of remote shards.
    """
    require_cache_folder(config)
    if not known and not is_packed(config) and not is_remote(config.data.shards):
        shards = Path(config.data.shards)
        shards.parent.mkdir(parents=True, exist_ok=True)
        with locked(shards.with_name(f".{shards.name}.lock"), wait=True):  # another launch may be packing the same
            if not is_packed(config):
                write(config)
    index = known or open_data(config)
    if config.data.balance != NOT_BALANCED:
        _read_labels(index, config.data, "data.balance")
    elif config.loss.smoothing_over == PRIOR:
        _read_labels(index, config.data, "loss.smoothing_over")
    return index


def _read_labels(index: Index, data: DataConfig, asked_by: str) -> None:
    """Have the labels of the training images beside the cache: workers of this machine find them there.

    Raises:
        ConfigError: a shard is torn, or cannot be fetched.
    """
    train = training_split(index, data)
    if are_kept(train):
        return
    try:
        with Progress("read the labels of", "shards") as counter:
            labels_of(train, counter)
    except (ShardError, StorageError) as error:
        raise ConfigError(f"{asked_by}: {error}") from error


def _write(config: Config) -> int:
    write(config)
    return 0


def write(config: Config) -> pack.PackReport:
    """Pack `data.source` into `data.shards`, here or on Ray, and print a summary.

    Raises:
        ConfigError: it cannot be packed, or a store does not answer.
    """
    data = config.data
    try:
        packing = prepare(data, config.seed, config.storage)
        with _workers(config, packing.images) as (workers, where):
            less = ", less those that turn out equal to another," if data.duplicates == "drop" else ""
            _say_what_is_replaced(config)
            print(f"packing {packing.images:,} images of {data.source}{less} into {data.shards}, {where}", flush=True)
            with Progress("packed", "images") as counter:
                report = pack.write(packing, config.storage, counter, workers)
    except StorageError as error:
        raise ConfigError(str(error)) from error
    for line in report.unreadable:
        print(f"warning: not packed: {printable(line)}")
    for line in report.duplicates:
        print(f"warning: {printable(line)}")
    for was, count in report.converted.items():
        print(f"converted: {count:,} image(s) of mode {was} to 8-bit grey or RGB")
    if data.restart_markers:
        print(report.marked.line())
    samples = report.samples
    images = f"{samples['train']} training and {samples['val']} validation images"
    if "test" in samples:
        images = f"{samples['train']} training, {samples['val']} validation and {samples['test']} test images"
    print(f"packed {images} in {report.shards} shards", end="")
    print(f", {report.reused} of them found finished" if report.reused else "", flush=True)
    return report


def _say_what_is_replaced(config: Config) -> None:
    """Print which shards of an earlier packing the new ones will replace, if any."""
    if is_remote(config.data.shards):  # there nothing is ever replaced
        return
    with contextlib.suppress(ShardError):
        said = read_entries(config.data.shards, Storage(config.storage))
        images = sum(shard.samples for shard in said.shards)
        source = str(said.packing.get("source"))
        print(printable(f"replacing the {images:,} images in {config.data.shards}, packed from {source}"))


@contextlib.contextmanager
def _workers(config: Config, images: int) -> Iterator[tuple[pack.Run, str]]:
    """What runs the tasks: threads of this process or Ray, and a phrase that says which."""
    threads = cpus_here()
    if images < FEW_IMAGES or (config.cluster.address is None and threads == 1):
        yield pack.in_threads, f"in this process ({threads} thread{'s' if threads > 1 else ''})"
        return
    from platform.cluster.connect import connect, disconnect

    try:
        resources = connect(config.cluster)
        said = f"on Ray: {resources.cpus} CPUs of {resources.nodes} node(s)"
        yield on_ray(resources.cpus), f"{said}; fork server {fork_server(config.cluster)}"
    finally:
        disconnect()


def on_ray(cpus: int) -> pack.Run:
    """A runner of shard tasks on the Ray cluster that this process is connected to.

    Args:
        cpus: of the cluster; one task runs on each.
    """
    import ray

    write_on_worker = ray.remote(_write_there).options(num_cpus=1, max_retries=RETRIES)

    def run(tasks: Iterable[ShardTask]) -> Generator[ShardResult]:
        unforked = Unforked()
        # Not cancelled when the packing is interrupted: they end with the connection, and cancelling can crash Ray 2.60
        # ("Tried to complete task that was not pending").
        under_way: list[ray.ObjectRef] = []
        for task in tasks:
            under_way.append(write_on_worker.remote(task, shared_secrets()))
            if len(under_way) == max(1, cpus) * pack.QUEUED_PER_WORKER:
                done, under_way = ray.wait(under_way)
                yield from (_result(each, unforked) for each in done)
        while under_way:
            done, under_way = ray.wait(under_way)
            yield from (_result(each, unforked) for each in done)
        unforked.say_totals(_warn)

    return run


def _write_there(task: ShardTask, secrets: str) -> tuple[str, ShardResult]:
    """Write a shard in a Ray worker; the first result of a process also says how that process was started."""
    trust(secrets)  # of URLs: another machine's environment does not have them
    return os.environ.pop(STATE, FORKED), write_shard(task)


def _warn(text: str) -> None:
    print(f"warning: {text}")


def _result(reference: object, unforked: Unforked) -> ShardResult:
    """The result of a task; if it failed, its own error without Ray's traceback around it."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        how, result = ray.get(reference)  # pyright: ignore[reportCallIssue, reportArgumentType]
        unforked.add(how, _warn)
        return result
    except RayTaskError as error:
        if isinstance(error.cause, (ConfigError, StorageError)):
            raise error.cause from None
        raise
    except RayError as error:
        raise ConfigError(
            f"a worker died {RETRIES + 1} times over one shard ({type(error).__name__}); lower data.samples_per_shard, "
            "or give the nodes more memory; the same command goes on from the finished shards"
        ) from error


def _verify(config: Config) -> int:
    """Verify every shard and print the bad ones; 1 if there are any."""
    with Progress("verified", "shards") as counter:
        found = verify.verify(config.data, config.storage, counter)
    for line in found.bad:
        print(f"bad: {printable(line)}")
    for line in found.left_out:
        print(f"left out: {printable(line)}")
    for split, samples in found.samples.items():
        print(f"{split:<6}{samples:>12,} images in {found.shards[split]} shard(s)")
    if found.bad:
        print(f"{len(found.bad)} of {sum(found.shards.values())} shards are bad; copy them again or pack anew")
        return 1
    print(f"every shard of {config.data.shards} is whole and of the checksum that its index has")
    return 0


def _index(config: Config) -> int:
    """Write the index of shards that others made, and print a summary."""
    with Progress("indexed", "shards") as counter:
        made = adopt.index_shards(config.data, config.storage, config.pack.label, counter, config.pack.image)
    for line in made.left_out:
        print(f"left out: {printable(line)}")
    for line in made.warnings:
        print(f"warning: {printable(line)}")
    print(f"split  {made.rule}")
    for split, samples in made.samples.items():
        print(f"{split:<6}{samples:>12,} images in {made.shards[split]} shard(s)")
    print(f"index  {made.url}")
    return 0
