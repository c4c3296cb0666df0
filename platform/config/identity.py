"""Configs as nested and flat dicts: what two runs must share to be the same experiment, and how they differ.

In: `dataclasses.asdict` of a config. Out: its identity, the same with dotted keys, and the differences of two.
"""

import dataclasses
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from platform.config.distill import DistillConfig
from platform.config.loss import LossConfig
from platform.config.transforms import TransformsConfig

# Settings that do not change what an experiment is, only where and how it runs; the others are its identity.
NOT_IDENTITY = (
    "job",
    "fresh",
    "output_dir",
    "storage",
    "pack",
    "checkpoint",
    "evaluation",
    "ensemble",
    "table",
    "export",
    "registry",
    "cluster",
    "tracking",
    "bench",
    "chaos",
    "sweep",
    "promote",
    "reproduce",
    "compare",
    "predict",
    "serve",
    "register",
    "summary",
)
# What the shards hold is part of the identity (see `experiment.fingerprint`); where they are is not.
NOT_IDENTITY_NESTED = {
    "data": ("shards", "source", "restart_markers", "value_range", "duplicates", "max_corrupt"),
    "loader": ("threads", "prefetch_batches", "log_samples"),
    "training": (
        "max_attempts",
        "max_batch_per_worker",
        "log_every_steps",
        "profile_steps",
        "compile",  # like these three, which algorithm rounds how: no other mathematics
        "autotune",
        "cuda_graphs",
    ),
}
# Settings that are newer than some experiments, with what these had: of that value they are left out, so that an
# experiment that was begun without them is still the same. A section of which nothing is left goes, too.
NEWER: dict[str, dict[str, Any]] = {
    "transforms": asdict(TransformsConfig()),
    "sampling": {"repeats": 1},
    "loss": asdict(LossConfig()),
    "model": {"init": None, "init_digest": "", "freeze": [], "settings": {}, "auxiliary": "both"},
    "distill": asdict(DistillConfig()),
    "optim": {"name": "sgd", "scaling": "none", "reference_batch": None, "head_lr": 1.0, "layer_decay": 1.0},
    "schedule": {"cycles": 5, "cycle_growth": 1.0},
    "data": {"balance": "none", "also": {}},
    "loader": {"gpu_share": None},
    "training": {
        "also_average": [],
        "sizes": [],
        "snapshots": False,
        "patience_epochs": 0.0,
        "min_delta": 0.0,
        "weights": "last",
        "tf32": "convolutions",  # as PyTorch has it
        "gradient_compression": "none",
    },
}


# What networks of torchvision had as well, without any effect, before each network had settings of its own.
FORMERLY = {"width": 1.0, "batch_norm": False, "naive": False, "local_response_norm": False, "dropout": 0.4}


def identity(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a config (as nested dicts) that two runs must share to be the same experiment."""
    kept = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    for section, keys in NOT_IDENTITY_NESTED.items():
        kept[section] = {key: value for key, value in kept[section].items() if key not in keys}
    if also := kept["data"].get("also"):  # what these shards hold counts as well, and where they are does not
        kept["data"]["also"] = {name: {"weight": each["weight"]} for name, each in also.items()}
    return as_before(kept) | evaluations_that_choose(config) | order_of_all(config)


def evaluations_that_choose(config: dict[str, Any]) -> dict[str, Any]:
    """How often a training is evaluated, where its end or its weights depend on that; else nothing."""
    training = config["training"]
    if training.get("patience_epochs", 0) > 0 or training.get("weights", "last") == "best":
        return {"evaluation": {"every_epochs": config["evaluation"]["every_epochs"]}}
    return {}


def order_of_all(config: dict[str, Any]) -> dict[str, Any]:
    """The order of the images that all members of an ensemble see, where they do; else nothing."""
    ensemble = config["ensemble"]
    return {"ensemble": {"order_key": ensemble.get("order_key")}} if ensemble.get("shared_order") else {}


def as_before(config: dict[str, Any]) -> dict[str, Any]:
    """A config (as nested dicts) as earlier versions wrote it, where it means the same: records of theirs are compared
    with those of this one."""
    config = dict(config)
    for section, before in NEWER.items():
        settings = config.pop(section, {})
        if kept := {key: value for key, value in settings.items() if before.get(key, ...) != value}:
            config[section] = kept
    if config["model"]["name"].startswith("torchvision/"):
        config["model"] = FORMERLY | config["model"]
    return config


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def replaced(config: Any, key: str, value: Any) -> Any:
    """A copy of a config with another value at a dotted key.

    Raises:
        ConfigError: the value cannot work.
    """
    first, _, rest = key.partition(".")
    if isinstance(config, dict):
        return config | {first: replaced(config[first], rest, value) if rest else value}
    return dataclasses.replace(config, **{first: replaced(getattr(config, first), rest, value) if rest else value})


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One `key: old -> new` for each dotted key whose value differs."""
    old_flat, new_flat = flatten(old), flatten(new)
    missing = "(absent)"
    return [
        f"{key}: {old_flat.get(key, missing)} -> {new_flat.get(key, missing)}"
        for key in sorted(old_flat.keys() | new_flat.keys())
        if old_flat.get(key, missing) != new_flat.get(key, missing)
    ]


def changes(old: dict[str, Any], new: dict[str, Any], members: Collection[str]) -> list[str]:
    """How the identities of two experiments of one folder differ, in the keys of the command line.

    What differs alike in several members is one line: `optim.lr: 0.03 -> 0.02 (all 7 members)`. What the experiment is
    called is left out: the folder is.

    Args:
        old: name -> identity of a member; other parts have other names.
        new: the same of the other experiment.
        members: which names are members.
    """
    found = [
        f"member {name}: {'new' if name in new else 'not there now'}"
        for name in members
        if name not in old or name not in new
    ]
    shared = [name for name in members if name in old and name in new]
    whose: dict[str, list[str]] = {}
    for name in shared:
        for each in differences(old[name] | {"name": None}, new[name] | {"name": None}):
            whose.setdefault(each, []).append(name)
    for each, names in whose.items():
        if len(shared) > 1:
            each += f" (all {len(names)} members)" if len(names) == len(shared) else f" ({', '.join(names)})"
        found.append(each)
    others = ({key: value for key, value in part.items() if key not in members} for part in (old, new))
    return [*found, *differences(*others)]


def shown(changed: list[str], at_most: int = 5) -> str:
    """The first of several changes as one line."""
    return "; ".join(changed[:at_most]) + (f"; and {len(changed) - at_most} more" if len(changed) > at_most else "")
