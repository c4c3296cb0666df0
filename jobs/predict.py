"""`job=predict`: the classes of images, by a model that was trained here or that MLflow has.

In: the sections `predict`, `cluster` and `storage` of an experiment. Out: a table on the terminal, a file with a row
for each image, a sheet of pictures.
"""

import contextlib
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

from platform.config.checks import CannotGoOn, ConfigError, require
from platform.config.experiment import Experiment
from platform.config.jobs import PredictionConfig
from platform.config.sections import Config
from platform.console import Counter
from platform.data.cache import ShardError
from platform.data.store_errors import StorageError
from platform.data.urls import is_remote
from platform.prediction import table
from platform.prediction.images import Images, find_images
from platform.prediction.model import Model, open_model
from platform.prediction.output import require_output
from platform.redaction import redacted
from platform.signals import INTERRUPTED, signals
from platform.text import first_line, printable

if TYPE_CHECKING:
    from platform.prediction.prediction import Prediction

SHOWN = 20  # rows in the table, and failures in the list
SILENT = 200  # fewer images show no progress


def run(experiment: Experiment) -> int:
    """Classify the images of `predict.images`.

    Returns:
        The exit code: 0, even where some images cannot be decoded; 1 if none can; 130 if interrupted.

    Raises:
        ConfigError: no such model or image, or an output that cannot be written; in one line.
    """
    config = experiment.config
    for key, file in (("predict.output", config.predict.output), ("predict.sheet", config.predict.sheet)):
        require_output(key, file)
    require(
        not is_remote(config.predict.sheet or ""),
        f"predict.sheet is {config.predict.sheet}; sheets are written to this machine only: give a file",
    )
    try:
        with signals(lambda _: KeyboardInterrupt(), [signal.SIGTERM], once=False):
            images = find_images(config.predict.sources, config.predict.split, config.storage)
            with open_model("predict.model", config.predict.model, experiment) as model:
                return _predict(config, images, model)
    except (ShardError, StorageError) as error:
        raise ConfigError(str(error)) from error
    except KeyboardInterrupt:
        goes_on = "; the same command goes on from the finished blocks" if config.predict.output else ""
        print(f"\ninterrupted{goes_on}", flush=True)
        return INTERRUPTED


def _predict(config: Config, images: Images, model: Model) -> int:
    """Classify, write, and say what came of it."""
    on_ray = config.cluster.address is not None or len(images) >= config.predict.ray_from
    require(
        not on_ray or config.predict.output is not None,
        f"{len(images):,} images are to be classified on Ray, whose results are files; give "
        "predict.output=FILE.parquet (or .csv, .jsonl), or a larger predict.ray_from",
    )
    prediction = _prediction(config, images, model)
    for line in images.left_out:
        print(f"left out: {printable(line)}")
    print("\n".join(_headlines(prediction)), flush=True)
    if prediction.unfinished:
        _follow(_on_ray(config, prediction) if on_ray else prediction.classify_here(), prediction.images_left, on_ray)
    return _report(config.predict, prediction)


def _prediction(config: Config, images: Images, model: Model) -> "Prediction":
    from platform.prediction.prediction import Prediction, absolute_output  # imports pyarrow
    from platform.prediction.task import Task

    classes, asked = len(model.description.classes), config.predict.top_k
    require(
        asked <= max(classes, PredictionConfig.top_k),
        f"predict.top_k is {asked}, more than the {classes} classes of {model.name}; lower it",
    )
    views = config.predict.views or model.description.views
    task = Task(images, model, views, min(asked, classes), config.evaluation.views_at_once)
    return Prediction(task, absolute_output(config.predict), images.storage)


def _headlines(prediction: "Prediction") -> Iterator[str]:
    """What is classified by what, and how much of it is there from an earlier command."""
    task = prediction.task
    members, views = len(task.model.description.members), task.views
    by = f"{members} members" if members > 1 else "one network"
    yield (
        f"{table.images(len(task.images))} with {printable(task.model.name)}: {by}, "
        f"{views} view{'s' if views > 1 else ''} of each"
    )
    if not prediction.unfinished:
        yield "all of them are classified already; writing the results"
    elif before := len(task.images) - prediction.images_left:
        yield f"{before:,} of them are classified already; going on with the other {prediction.images_left:,}"


def _on_ray(config: Config, prediction: "Prediction") -> Iterator[int]:
    """Classify on the cluster; yields the number of images of each block."""
    from platform.cluster.connect import connect, disconnect
    from platform.cluster.resources import gpus_per_worker
    from platform.prediction.on_ray import workers_of, write_blocks

    try:
        resources = connect(config.cluster)
        gpus = gpus_per_worker(config.cluster, resources)
        workers = workers_of(config.cluster, resources, len(prediction.unfinished), gpus)
        on = f"{gpus} GPU(s)" if gpus else f"{config.cluster.cpus_per_worker} CPU(s)"
        print(f"on Ray: {workers} worker(s) with {on} each, {resources.nodes} node(s)", flush=True)
        yield from write_blocks(prediction.task, prediction.folder, prediction.unfinished, config.cluster, gpus)
    finally:
        disconnect()


def _follow(done: Iterator[int], images: int, on_ray: bool) -> None:
    """Show progress: images a second and the time that is left."""
    if not on_ray:
        print("in this process, without Ray", flush=True)
    try:
        next(done)  # when it begins
        with contextlib.ExitStack() as stack:
            counter = stack.enter_context(Counter("classified", "images")) if images >= SILENT else None
            count = 0
            for more in done:
                count += more
                if counter is not None:
                    counter(count, images)
    finally:
        done.close()  # pyright: ignore[reportAttributeAccessIssue]  # a generator, which disconnects


def _report(config: PredictionConfig, prediction: "Prediction") -> int:
    """Write what was asked for, and print the rest."""
    from platform.prediction import sheet

    try:
        summary = prediction.finish(max(SHOWN, sheet.MOST if config.sheet else 0))
        table.show(summary, prediction.task.model.description, rows=SHOWN if config.output is None else 0)
        if config.output:
            print(f"rows   {redacted(config.output)}")
        if config.sheet:
            task = prediction.task
            sheet.write_sheet(config.sheet, summary.rows, task.images, task.model.description, task.model.name)
            more = f", the first {sheet.MOST} of {summary.images:,}" if summary.images > sheet.MOST else ""
            print(f"sheet  {config.sheet}{more}")
    except OSError as error:
        raise CannotGoOn(
            f"the results cannot be written ({first_line(error)}); make room or give another place; the "
            "same command goes on from the finished blocks"
        ) from error
    return 0 if summary.images > summary.failures else 1
