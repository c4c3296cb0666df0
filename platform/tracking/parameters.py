"""The parameters of an MLflow run: of a config those settings that the job uses, with the values they had.

In: a config. Out: dotted key -> value, without lists of two numbers that mean a range: these are KEY.min and KEY.max,
so that they can be sorted and plotted. What is left out stands in `config.yaml` among the artifacts.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

from platform.config.identity import flatten
from platform.config.sections import Config
from platform.data.urls import is_remote

Parameters = dict[str, Any]

OF_TRAINING = (
    "seed", "order_seed", "data", "storage", "loader", "sampling", "transforms", "model", "loss", "distill", "optim",
    "schedule", "training", "checkpoint", "evaluation", "cluster", "tracking",
)  # fmt: skip
NOT_OF_THE_RESULT = ("tracking.required", "tracking.system_metrics_every_s", "training.profile_steps")
# Later evaluations may use another split, and MLflow does not change a parameter: the metrics' names tell it.
CHANGING = ("evaluation.split",)
OF_PACKING = (
    "source",
    "val_fraction",
    "samples_per_shard",
    "shorter_side",
    "jpeg_quality",
    "restart_markers",
    "value_range",
    "duplicates",
)
OF_CLUSTERS = ("workers", "cpus_per_worker", "gpus_per_worker", "lanes")  # what of `cluster` is a parameter
MIXING = ("transforms.mixing_probability", "transforms.cutmix_share", "transforms.mixing_per")
RANGES = (
    "sampling.area",
    "sampling.aspect",
    "sampling.photometric_range",
    "transforms.erase_area",
    "transforms.erase_aspect",
)
_NOT_IN_NAMES = re.compile(r"[^\w ./-]")

AVERAGING, SEVERAL = ("training.averaging",), "training.also_average"  # of which each has settings
OF_CYCLES = ("cycles", "cycle_growth")  # of schedule
# (setting, value) -> settings that are without effect then. Of a value that is not here all count as used.
UNUSED: dict[tuple[str, object], tuple[str, ...]] = {
    ("schedule.name", "constant"): ("factor", "every_epochs", "final", "power", "initial", "rise", *OF_CYCLES),
    ("schedule.name", "step_decay"): ("final", "power", "initial", "rise", *OF_CYCLES),
    ("schedule.name", "linear"): ("factor", "every_epochs", "power", "initial", "rise", *OF_CYCLES),
    ("schedule.name", "cosine"): ("factor", "every_epochs", "power", "initial", "rise", *OF_CYCLES),
    ("schedule.name", "polynomial"): ("factor", "every_epochs", "initial", "rise", *OF_CYCLES),
    ("schedule.name", "one_cycle"): ("factor", "every_epochs", "power", *OF_CYCLES),
    ("schedule.name", "cosine_restarts"): ("factor", "every_epochs", "power", "initial", "rise"),
    ("sampling.method", "random_square"): ("area", "aspect"),
    ("sampling.method", "centre_square"): ("area", "aspect"),
    ("sampling.photometric", False): ("photometric_range", "lighting_std"),
    ("transforms.name", "none"): ("rand_ops", "rand_magnitude", "rand_std", "rand_probability"),
    ("transforms.name", "trivial"): ("rand_ops", "rand_magnitude", "rand_std", "rand_probability"),
    ("transforms.erase_probability", 0.0): ("erase_area", "erase_aspect", "erase_value"),
    ("transforms.mixup_alpha", 0.0): ("cutmix_share",),
    ("transforms.cutmix_alpha", 0.0): ("cutmix_share",),
    ("loss.name", "cross_entropy"): ("over_classes", "present_above"),
    ("loss.smoothing", 0.0): ("smoothing_over", "distribution"),
    ("loss.smoothing_over", "uniform"): ("distribution",),
    ("loss.smoothing_over", "prior"): ("distribution",),
    ("distill.teacher", None): ("teacher", "views", "weight", "temperature", "digest"),
    ("training.averaging", "polyak"): ("averaging_epochs",),
    ("training.averaging", "ema"): ("averaging_start",),
    ("training.averaging", "none"): ("averaging_start", "averaging_epochs"),
    ("training.bad_steps", "stop"): ("max_bad_steps",),
    ("sweep.search", "grid"): ("points",),
    ("sweep.scheduler", "none"): ("grace_epochs", "reduction", "mutate"),
    ("sweep.scheduler", "asha"): ("mutate",),
    ("sweep.scheduler", "hyperband"): ("grace_epochs", "mutate"),
    ("sweep.scheduler", "median"): ("reduction", "mutate"),
    ("sweep.scheduler", "pbt"): ("reduction",),
}


def parameters(config: Config) -> Parameters:
    """The settings that a training with this config uses; `sampling.mirror` as it really was: `data.mirror` rules."""
    flat = flatten(asdict(config))
    flat["sampling.mirror"] = config.sampling.mirror and config.data.mirror
    if config.optim.scaling != "none":
        flat["optim.effective_lr"] = config.optim.lr_of(config.training.batch_size)
    if config.sampling.method != "area_aspect":
        del flat["data.min_crop_area"]
    if not config.transforms.mixes:
        flat = {key: value for key, value in flat.items() if key not in MIXING}
    return _in_use(flat, _dropped(config))


def name_of(key: str) -> str:
    """A key as MLflow takes it for the name of a parameter: it refuses the @ of `GROUP@PACKAGE`, and with it all that
    are sent at once."""
    return _NOT_IN_NAMES.sub("_", key)


def of_ensemble(config: Config, members: Iterable[Config]) -> Parameters:
    """What the members of an ensemble have in common, and by its name how each differs."""
    each = [parameters(member) for member in members] or [parameters(config)]
    common = {key: value for key, value in each[0].items() if all(other.get(key, ...) == value for other in each)}
    ensemble = asdict(config)["ensemble"]
    order = {"shared_order": True} if ensemble["shared_order"] else {}
    return common | flatten({"ensemble": {"members": ensemble["members"], **order}})


def of_sweep(config: Config) -> Parameters:
    """What the trials of a sweep have in common, and how the sweep chose them."""
    swept = [*map(str, config.sweep.space), *(["seed"] if config.sweep.seeds > 1 else [])]
    common = {
        key: value
        for key, value in parameters(config).items()
        if not any(key == each or key.startswith(f"{each}.") for each in swept)
    }
    return common | _in_use(flatten({"sweep": asdict(config.sweep)}), set())


def of_trial(config: Config, sweep: Config) -> Parameters:
    """The settings of a sweep's trial that its sweep's run has not, or has otherwise. MLflow's pages load those of
    hundreds of trials at once."""
    shared = of_sweep(sweep)
    return {key: value for key, value in parameters(config).items() if key not in shared or shared[key] != value}


def ranges_apart(values: Parameters, keys: Iterable[str] | None = None) -> Parameters:
    """The same with KEY.min and KEY.max in the place of two numbers in a list.

    Args:
        values: dotted key -> value.
        keys: that are ranges; None: all of that form are.
    """
    found: Parameters = {}
    for key, value in values.items():
        is_pair = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))
        if is_pair and (keys is None or key in keys):
            found |= {f"{key}.min": value[0], f"{key}.max": value[1]}
        else:
            found[key] = value
    return found


def _dropped(config: Config) -> set[str]:
    """Sections and keys that a training does not use."""
    of_cluster = {f"cluster.{key}" for key in asdict(config.cluster) if key not in OF_CLUSTERS}
    caches = {"storage"} if not any(map(is_remote, config.data.places.values())) else set()
    of_other_jobs = {field.name for field in fields(config) if field.name not in OF_TRAINING}
    packing = {f"data.{key}" for key in OF_PACKING}
    return {*NOT_OF_THE_RESULT, *CHANGING} | of_other_jobs | of_cluster | caches | packing


def without_effect(flat: Parameters) -> set[str]:
    """The keys that others make unused, such as the area of crops of a method that has none."""
    return {
        f"{setting.partition('.')[0]}.{key}"
        for (setting, value), unused in UNUSED.items()
        if setting in flat and flat[setting] == value and not (setting in AVERAGING and flat.get(SEVERAL))
        for key in unused
    }


def _in_use(flat: Parameters, dropped: set[str]) -> Parameters:
    """Without sections and keys in `dropped`, what is without effect, and what has no value."""
    dropped = dropped | without_effect(flat)
    kept = {
        key: value
        for key, value in flat.items()
        if value not in (None, {}, []) and not any(key == each or key.startswith(f"{each}.") for each in dropped)
    }
    return ranges_apart(kept, RANGES)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
