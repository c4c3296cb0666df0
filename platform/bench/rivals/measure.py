"""`job=bench bench.parts=[rivals]`: speed, memory and exactness of this project's loader beside others, as two tables.

In: photographs, and the environment that `make rivals` installs. Out: figures, and the tables; a loader that is not
installed or fails is a row with the reason.
"""

import sys
from pathlib import Path

from platform.bench.figures import Figures
from platform.bench.photographs import photographs
from platform.bench.rivals import kills, speed
from platform.bench.rivals.kills import Kills, kill_and_resume
from platform.bench.rivals.loaders import LOADERS, missing
from platform.bench.rivals.processes import LoaderError, run
from platform.bench.rivals.samples import Samples, thumbnail, write
from platform.bench.rivals.speed import Speed, Turns
from platform.bench.rivals.tables import exactness_table, speed_table
from platform.config.sections import Config

REPEATS = 3  # each takes about a minute
SIDE = 40  # pixels of the images for exactness, where only the order counts


def measure(config: Config, folder: Path, figures: Figures) -> None:
    """Measure `bench.rivals`; `rivals.*` into `figures`, the tables to standard output, scratch files into `folder`."""
    jpegs = photographs(config.bench.photos)
    absent = {name: reason for name in config.bench.rivals if (reason := missing(name))}
    present = [name for name in config.bench.rivals if name not in absent]
    _progress("photographs are written as shards and converted")
    photos = write(jpegs, speed.COUNT, folder / "photos")
    small = write([thumbnail(jpeg, SIDE) for jpeg in jpegs], kills.COUNT, folder / "small")
    speeds = _speeds(config, present, photos, folder / "speed", figures)
    exactness = {}
    for name in present:
        _progress(f"{LOADERS[name].title} is killed and resumed")
        exactness[name] = _kills(name, small, folder / "kills" / name, config.seed, figures)
    print("\n".join(speed_table(speeds, absent)))
    print()
    print("\n".join(exactness_table(exactness, absent)))


def _speeds(config: Config, names: list[str], photos: Samples, folder: Path, figures: Figures) -> dict[str, Speed]:
    turns = Turns(names, photos, folder, config.bench.image_size, config.seed)
    for name, found in turns.found.items():
        found.convert_s, found.failed = _convert(name, photos, folder / f"convert-{name}")
    _progress("memory is taken")
    turns.warm_up()
    for number in range(min(REPEATS, config.bench.repeats)):
        _progress(f"turn {number + 1}")
        turns.turn()
    for name, found in turns.found.items():
        title = LOADERS[name].title
        for value in found.images_per_cpu_s:
            figures.add(f"rivals.{name}.images_per_cpu_s", value, f"images a CPU-second, {title}")
        for value in found.images_per_s:
            figures.add(f"rivals.{name}.images_per_s", value, "images a second at two workers")
        for value in found.first_batch_s:
            figures.add(f"rivals.{name}.first_batch_s", value, "seconds from opening the loader to a batch")
        for value in found.resume_s:
            figures.add(f"rivals.{name}.resume_s", value, "the same in the middle of an epoch")
        for value in found.resume_cpu_s:
            figures.add(f"rivals.{name}.resume_cpu_s", value, "CPU-seconds of that")
        if not found.failed:
            figures.add(f"rivals.{name}.pss_mb", found.pss_mb, "memory of all processes, what they share counted once")
            figures.add(f"rivals.{name}.rss_mb", found.rss_mb, "the same, counted for each")
            figures.add(f"rivals.{name}.convert_s", found.convert_s, "to its own format or index, once")
    return turns.found


def _convert(name: str, samples: Samples, scratch: Path) -> tuple[float, str]:
    """Seconds, 0 where it reads the shards as they are; and why it failed, empty: it did not."""
    try:
        outcome = run(name, [samples.job(name, scratch, action="convert", rank=0, world=1)], scratch)
    except LoaderError as error:
        return 0.0, f"conversion: {error}"
    return outcome.ended - outcome.began if outcome.has_converted else 0.0, ""


def _kills(name: str, small: Samples, folder: Path, seed: int, figures: Figures) -> Kills:
    _, failed = _convert(name, small, folder / "convert")
    if failed:
        return Kills(failed=failed)
    found = kill_and_resume(name, small, folder, seed)
    for key, resumed in (("same", found.same), ("other", found.other)):
        if resumed:
            for count in ("missed", "repeated", "rebatched"):
                value = float(getattr(resumed.exactness, count))
                figures.add(f"rivals.{name}.{key}.{count}", value, f"of {found.samples} samples, after a kill")
    return found


def _progress(what: str) -> None:
    print(f"rivals: {what} ...", file=sys.stderr, flush=True)
