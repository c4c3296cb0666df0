"""The plan of an experiment, made and checked before anything starts: members, steps, images, places.

In: the composed experiment. Out: `Plan`, and the lines that `job=check` prints.
"""

import functools
import logging
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from platform.cluster.resources import cpus_here
from platform.cluster.runtime_env import fork_server
from platform.config.checks import ConfigError, require
from platform.config.cluster import ClusterConfig
from platform.config.data import MEMORY, NOT_BALANCED
from platform.config.sections import Config, Experiment
from platform.data.blend import PARTS, epochs_of, weights
from platform.data.cache import ShardError
from platform.data.image_sizes import ImageSizes
from platform.data.index import INDEX_NAME, Index, Split, has_index, read_index
from platform.data.labels import are_at_hand
from platform.data.order import Order, steps_per_epoch, total_steps
from platform.data.readahead import check_room
from platform.data.sets import read_sets, require_same_classes, training_split
from platform.data.storage import Storage, StorageError, is_remote
from platform.data.training_order import training_order
from platform.models.sources import require_shipped
from platform.packing import preparation, recipe
from platform.packing.freshness import changed_since
from platform.packing.sources import source_name
from platform.text import printable

log = logging.getLogger("platform")


@dataclass(frozen=True)
class MemberPlan:
    """One member's share of the work."""

    name: str
    config: Config
    steps_per_epoch: int
    steps: int
    frozen: str = ""  # how much of the network; empty: nothing

    @property
    def images(self) -> int:
        return self.steps * self.config.training.batch_size

    @property
    def cost(self) -> float:
        """Relative, to balance lanes."""
        size = self.config.data.image_size
        return self.images * self.config.model.relative_cost * size**2 * self.image_sizes.work(size, self.steps)

    @property
    def image_sizes(self) -> ImageSizes:
        """Of the training's steps."""
        return ImageSizes.of(self.config.training.sizes, self.config.data.image_size, self.steps)


@dataclass(frozen=True)
class Plan:
    """The whole experiment."""

    experiment: Experiment
    train_samples: int  # of all sets
    val_samples: int
    packed: bool  # false: the shards are made from `data.source` first
    members: list[MemberPlan]
    shrunk_to: int | None = None  # shorter side in pixels of the larger images; None: as they were
    test_samples: int = 0  # 0: there is no test part
    showings: str = ""  # how often images are shown, where their labels are known
    others: dict[str, int] = field(default_factory=dict)  # training images of each further set

    @property
    def evaluated_samples(self) -> int:
        return self.test_samples if self.experiment.config.evaluation.split == "test" else self.val_samples


def plan(experiment: Experiment) -> Plan:
    """Make the plan, and check everything that can be checked without Ray.

    Raises:
        ConfigError: with the value, the limit and the remedy.
    """
    config = experiment.config
    packed = is_packed(config)
    index = open_data(config) if packed else None
    counts, shrunk_to = _contents(index) if index else _source_contents(config)
    others = _others(config, index)
    train_samples = counts["train"] + sum(others.values())
    val_samples, split = counts["val"], config.evaluation.split
    require(
        split in counts,
        f"evaluation.split is {split}, but the images in {config.data.shards} have no such part, only "
        f"{', '.join(counts)}; leave it out to evaluate val, or pack a source with the parts train, val and test into "
        "another data.shards",
    )
    _check_local_resources(config)
    _check_copies(config)
    members = []
    for name, member in experiment.members.items():
        _check_images(name, member, config)
        for section in ("cluster", "evaluation", "tracking", "loader", "storage"):
            require(
                getattr(member, section) == getattr(config, section),
                f"ensemble member {name} changes {section}.*, which is the experiment's; give it beside the members",
            )
        members.append(plan_member(name, member, train_samples, index))
    shown = _showings(config, index.split("train")) if index else ""
    test_samples = counts.get("test", 0)
    return Plan(experiment, train_samples, val_samples, packed, members, shrunk_to, test_samples, shown, others)


def _check_images(name: str, member: Config, config: Config) -> None:
    """Members are of the same images; rows of a table may see them in another size.

    Raises:
        ConfigError: names the member.
    """
    same = replace(member.data, image_size=config.data.image_size)
    require(
        same == config.data,
        f"ensemble member {name} changes data.*; members differ in sampling, order and model, not in their images",
    )
    require(
        member.data == same or config.table.has_rows,
        f"ensemble member {name} changes data.image_size, and an ensemble takes one size; compare such members as the "
        "rows of a table with table.against=first",
    )


def plan_member(name: str, member: Config, train_samples: int, index: Index | None) -> MemberPlan:
    """Plan one member.

    Args:
        name: of the member.
        member: its config.
        train_samples: images in the training split.
        index: of the shards; None: they are not packed yet.

    Raises:
        ConfigError: the network does not exist or does not take such images, a batch is never full, or the cache is
            too small.
    """
    batch = member.training.batch_size
    per_epoch = steps_per_epoch(train_samples, member.loader.streams, batch)
    require(
        per_epoch > 0,
        f"training.batch_size is {batch}, more than the {train_samples} training images of {member.data.name} "
        "fill; lower it",
    )
    steps, profiled = total_steps(member.training.epochs, per_epoch), member.training.profile_steps
    require(
        not profiled or profiled[1] <= steps,
        f"training.profile_steps is {profiled}, and {name} has {steps} steps; give earlier ones",
    )
    if index:
        train = training_split(index, member.data)
        fewest = member.cluster.min_workers  # each of them reads most
        check_room(train, _order(member, train), fewest)
    _check_network(member)
    return MemberPlan(name, member, per_epoch, steps, _frozen(member))


def _frozen(member: Config) -> str:
    """How much of the network is frozen; empty: nothing.

    Raises:
        ConfigError: `model.freeze` names what the network does not have, or all of it.
    """
    if not member.model.freeze:
        return ""
    from platform.models.frozen import counts, freeze
    from platform.models.rehearsal import on_meta

    network = on_meta(member.model, member.data.classes, member.data.image_size)
    freeze(network, member.model.freeze)
    return counts(network)


def _order(member: Config, train: Split) -> Order:
    """Of the training; without its balance where labels would have to be fetched for it: it reads the same shards."""
    if member.data.balance != NOT_BALANCED and not are_at_hand(train):
        member = replace(member, data=replace(member.data, balance=NOT_BALANCED))
    try:
        return training_order(member, train)
    except (ShardError, StorageError) as error:  # of labels
        raise ConfigError(f"data.balance: {error}") from error


def _check_network(member: Config) -> None:
    """Whether the network trains on such images, unless that is known without trying.

    Raises:
        ConfigError: the network does not exist or does not train on such images.
    """
    model, sizes = member.model, [int(size) for _, size in member.training.sizes]
    require_shipped(member)
    if not sizes and model.is_known_to_train(member.smallest_part):
        return
    from platform.models.rehearsal import rehearse  # torch takes seconds, which GoogLeNet's plan need not

    if said := rehearse(model, member.data.classes, member.data.image_size, member.smallest_part, sizes):
        _say_once(said)


def is_packed(config: Config) -> bool:
    """Whether there are shards with an index at `data.shards`.

    Raises:
        ConfigError: the store does not answer.
    """
    try:
        return has_index(config.data.shards, config.storage)
    except StorageError as error:
        raise ConfigError(f"data.shards: {error}") from error


def open_data(config: Config) -> Index:
    """Read the index of the packed shards, and check it against the config.

    Raises:
        ConfigError: shards missing or torn, or of another number of classes.
    """
    try:
        index = read_sets(config.data, config.storage)
        for split in ("train", "val"):
            index.split(split)
    except ShardError as error:
        raise ConfigError(str(error)) from error
    for said in require_same_classes(index):
        _say_once(said)
    packed_from, wanted = index.packing.get("source"), source_name(config.data.source)
    require(
        None in (packed_from, wanted) or packed_from == wanted,
        f"data.source is {wanted}, but the shards in {config.data.shards} were packed from {packed_from}; "
        "give another data.shards, or data.source=null to use them as they are",
    )
    shrunk_to, asked = index.packing.get("shorter_side"), config.data.shorter_side
    require(
        asked in (None, shrunk_to),
        f"data.shorter_side is {asked}, the shards in {config.data.shards} hold images "
        f"{f'shrunk to {shrunk_to} px' if shrunk_to else 'as they were'}; pack them again into another data.shards, or "
        "use them with data.shorter_side=null",
    )
    recipe.refuse_others(index.packing, config.data)
    if said := recipe.without_effect(index.packing, config.data, config.seed):
        _say_once(said)
    if said := changed_since(config.data):
        _say_once(said)
    found = len(index.classes)
    again = "" if wanted is None else ", or pack the source into another data.shards if it has that many now"
    classes = config.data.classes
    require(
        found in (0, classes),
        f"data.classes is {classes}, the shards in {config.data.shards} have {found}; set it to that{again}",
    )
    return index


@functools.cache
def _say_once(message: str) -> None:
    """Warn once a process: the index is opened for the plan, and again for the training."""
    log.warning(message)


def _others(config: Config, index: Index | None) -> dict[str, int]:
    """Training images of each set of `data.also`, which are packed even where the first set is not yet.

    Raises:
        ConfigError: there is none, or its shards are missing or torn.
    """
    found = {}
    for name, each in config.data.others.items():
        try:
            also = index.also[name] if index else read_index(each.shards, config.storage)
            found[name] = also.split("train").samples
        except ShardError as error:
            raise ConfigError(f"data.also.{name}: {error}") from error
    return found


def _contents(index: Index) -> tuple[dict[str, int], int | None]:
    """Images of each split, and the pixels that larger ones were shrunk to (None: not shrunk)."""
    return {name: split.samples for name, split in index.splits.items()}, index.packing.get("shorter_side")


def _source_contents(config: Config) -> tuple[dict[str, int], int | None]:
    """What `_contents` says, of a source that will be packed."""
    _refuse_other_files(config)
    if config.data.source is None:
        raise ConfigError(
            f"no {INDEX_NAME} in data.shards={config.data.shards} and no data.source to pack; "
            "give one of them (job=pack data.source=PATH)"
        )
    try:
        counts = preparation.counts(config.data, config.seed, config.storage)
    except StorageError as error:
        raise ConfigError(f"data.source: {error}") from error
    return counts, config.data.shorter_side


def _refuse_other_files(config: Config) -> None:
    """Refuse a folder with files and no index: shards that others made, or what packing would not overwrite."""
    folder = Path(config.data.shards)
    if is_remote(config.data.shards) or not folder.exists():
        return
    require(folder.is_dir(), f"data.shards: {folder} is a file; choose a folder")
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError as error:
        raise ConfigError(f"data.shards: {folder} cannot be read ({error.strerror}); check its rights") from error
    tars = sum(name.endswith(".tar") for name in names)
    remedy = f"have one made with job=pack pack.action=index data.source=null data.shards={folder}"
    require(not tars, f"data.shards: {folder} holds {tars} tar file(s) and no {INDEX_NAME}; {remedy}")
    require(
        not names,
        f"data.shards: {folder} holds {''.join(names[:1])} and no {INDEX_NAME}; choose an empty folder, or the shards'",
    )


def _check_copies(config: Config) -> None:
    """Refuse an address of an unknown kind; whether its store answers is seen later."""
    if config.checkpoint.copy_to:
        try:
            Storage(config.storage).know(config.checkpoint.copy_to)
        except StorageError as error:
            raise ConfigError(f"checkpoint.copy_to: {error}") from error


def _check_local_resources(config: Config) -> None:
    cluster = config.cluster
    if cluster.address is not None or cluster.kube is not None:
        return
    if config.loader.decoder != "cpu":
        import torch  # takes a second

        config.loader.require_gpu(available=torch.cuda.is_available())
    needed, cpus = cluster.min_workers * cluster.cpus_per_worker, cpus_here()
    require(
        needed <= cpus,
        f"cluster.workers x cluster.cpus_per_worker is {needed}, this machine has {cpus} CPUs; "
        "lower them, or use cluster=ray",
    )


def _taught(config: Config, images: int) -> list[str]:
    """Of a network that has a teacher: which, and what that says of how many images."""
    distill = config.distill
    if distill.teacher is None:
        return []
    kb = images * config.data.classes * 2 / 1e3
    asked = f"asked once about {images} images x {distill.views} views, {kb:,.0f} kB"
    how = f"weight {distill.weight:g}, temperature {distill.temperature:g}"
    return [f"teacher     {distill.teacher}: {asked}; {how}"]


def _where(cluster: ClusterConfig) -> str:
    if cluster.kube is not None:
        return f"a RayJob in Kubernetes' namespace {cluster.kube.namespace}"
    return "a local Ray" if cluster.address is None else f"the Ray at {cluster.address}"


def lines(plan: Plan) -> list[str]:
    """The plan as lines of text."""
    experiment, config = plan.experiment, plan.experiment.config
    fewer = ", and the equal ones of these images dropped" if config.data.duplicates == "drop" else ""
    shards = config.data.shards + ("" if plan.packed else f" (packed from {config.data.source} on first use{fewer})")
    storage = config.storage
    is_fetched = any(map(is_remote, config.data.places.values()))
    if is_fetched and storage.cache == MEMORY:
        shards += f", held in memory, at most {storage.cache_gb:g} GB in each worker"
    elif is_fetched:
        shards += f", through {storage.cache} of at most {storage.cache_gb:g} GB on each node"
    cluster = config.cluster
    text = [
        f"experiment  {experiment.name}",
        f"data        {config.data.name}: {_parts(plan)}, "
        f"{config.data.classes} classes, {_sizes(plan)} px"
        + (f", shrunk to {plan.shrunk_to} px when packed" if plan.shrunk_to else ""),
        f"shards      {shards}",
        f"batch       {config.training.batch_size} images: {cluster.workers_text} worker(s)"
        f"{_shares(config)}{_accumulation(config)}",
        f"cluster     {_where(cluster)}; "
        f"each worker {cluster.cpus_per_worker} CPU(s), "
        f"{'a GPU if there is one' if cluster.gpus_per_worker is None else f'{cluster.gpus_per_worker} GPU(s)'}; "
        f"fork server {fork_server(cluster)}",
        f"optimiser   {_optimiser(list(experiment.members.values()))}",
        f"evaluation  {plan.evaluated_samples} images{_of_test(config)} x {max(config.evaluation.views)} "
        "views for each member"
        + ("" if config.data.mirror else " (no mirror images: their originals count twice)")
        + (f", and whole at {', '.join(map(str, config.evaluation.dense))} px" if config.evaluation.dense else ""),
        f"checkpoints every {config.checkpoint.every_s:g} s"
        + (f" and {config.checkpoint.every_steps} steps" if config.checkpoint.every_steps else "")
        + f", the newest {config.checkpoint.keep}{' and the best' if config.checkpoint.keep_best else ''} kept"
        + (f", copies in {config.checkpoint.copy_to}" if config.checkpoint.copy_to else ""),
        *_stopping(config),
        *_taught(config, plan.train_samples),
        f"results     {experiment.folder}",
        f"tracking    {config.tracking.uri}, MLflow experiment {config.tracking.experiment}",
        "",
        f"{'member':<22}{'sampling':<22}{'model':<22}{'epochs':>8}{'steps':>9}{'images':>13}",
    ]
    text[3:3] = [*_blend(plan), *_balance(plan), *_size_schedules(plan)]
    for member in plan.members:
        text.append(
            f"{member.name:<22}{member.config.sampling.name:<22}{member.config.model.label:<22}"
            f"{member.config.training.epochs:>8g}{member.steps:>9}{member.images:>13,}"
        )
    text += [f"{member.name}: {member.frozen}" for member in plan.members if member.frozen]
    return text


def _stopping(config: Config) -> list[str]:
    """What patience and the choice of the best weights make of the epochs."""
    training = config.training
    text = []
    if training.patience_epochs:
        more = f" by more than {training.min_delta:g}" if training.min_delta else ""
        text.append(
            f"stopping    {training.patience_epochs:g} epochs after validation top-1 last rose{more}: epochs and steps "
            "are at most so many"
        )
    if training.weights == "best":
        text.append("weights     of the evaluation with the highest validation top-1, whose scores are optimistic")
    return text


def _optimiser(members: list[Config]) -> str:
    """Its name and its learning rate; members that differ in it are counted."""
    found = list(dict.fromkeys(map(_learning_rate, members)))
    more = f"; and {len(found) - 1} other(s) of members" if len(found) > 1 else ""
    return found[0] + more


def _learning_rate(member: Config) -> str:
    optim, batch = member.optim, member.training.batch_size
    text = f"{optim.name}, learning rate {optim.lr_of(batch):g} x schedule {member.schedule.name}"
    if optim.scaling != "none":
        text += f" ({optim.lr:g} for {optim.reference_batch} images, {optim.scaling} scaling)"
    if optim.lr_of(batch) > optim.lr and not member.schedule.warmup_epochs:
        text += "; larger rates want schedule.warmup_epochs, such as 5"
    return text


def _parts(plan: Plan) -> str:
    """Images of each split; how many equal ones packing drops is not known yet."""
    test = f", {plan.val_samples} validation and {plan.test_samples} test"
    counted = (
        f"{plan.train_samples} training{test if plan.test_samples else f' and {plan.val_samples} validation'} images"
    )
    drops = not plan.packed and plan.experiment.config.data.duplicates == "drop"
    return counted + (" (less those equal to another, which packing drops)" if drops else "")


def _sizes(plan: Plan) -> str:
    """What the networks see, in pixels: `32`, of rows of several sizes `79, 151 and 299`."""
    *others, last = sorted({member.config.data.image_size for member in plan.members})
    return f"{', '.join(map(str, others))} and {last}" if others else str(last)


def _showings(config: Config, train: Split) -> str:
    """How often an epoch shows images of a class: least and most."""
    if config.data.balance == NOT_BALANCED or not are_at_hand(train):
        return ""
    balance = _order(config, train).balance
    assert balance is not None
    names = {number: name for name, number in train.opened.rule.numbers.items()}
    classes = [label for label, samples in enumerate(balance.samples_K) if samples]
    times = {label: config.sampling.repeats * balance.due_K[label] / balance.samples_K[label] for label in classes}
    least, most = min(classes, key=times.__getitem__), max(classes, key=times.__getitem__)
    said = [
        f"{times[label]:.3g} times ({names.get(label, f'class {label}')}, {balance.samples_K[label]} images)"
        for label in (least, most)
    ]
    return f"an epoch shows an image {' to '.join(said)}"


def _balance(plan: Plan) -> list[str]:
    balance = plan.experiment.config.data.balance
    if balance == NOT_BALANCED:
        return []
    unknown = "its labels are read from the shards before it trains"
    by = balance if isinstance(balance, str) else ", ".join(f"{name} x {weight:g}" for name, weight in balance.items())
    return [f"balance     {printable(by)}: {plan.showings or unknown}"]


def _blend(plan: Plan) -> list[str]:
    """Of several sets: the share of each, and how often the members' trainings show each image of it."""
    data = plan.experiment.config.data
    if not data.also:
        return []
    samples = [plan.train_samples - sum(plan.others.values()), *plan.others.values()]
    names, parts = [data.name, *data.also], weights([each.weight for each in data.others.values()])
    runs = [epochs_of(samples, parts, member.images) for member in plan.members]
    text = []
    for name, count, part, shown in zip(names, samples, parts, zip(*runs, strict=True), strict=True):
        least, most = f"{min(shown):.3g}", f"{max(shown):.3g}"
        times = least if least == most else f"{least} to {most}"
        where = f" in {data.others[name].shards}" if name in data.also else ""
        share = f"{100 * part / PARTS:.4g}%"
        text.append(f"blend       {share} {name}: {count:,} training images{where}, each shown {times} times")
    return text


def _size_schedules(plan: Plan) -> list[str]:
    """A line for each schedule of image sizes among the members."""
    members: dict[str, list[str]] = {}
    for member in plan.members:
        said = f"{member.image_sizes.text()}; tested at {member.config.data.image_size} px"
        members.setdefault(said if member.config.training.sizes else "", []).append(member.name)
    return [
        f"sizes       {text}" + ("" if len(members) == 1 else f" ({', '.join(names)})")
        for text, names in members.items()
        if text
    ]


def _of_test(config: Config) -> str:
    return " of the test part" if config.evaluation.split == "test" else ""


def _shares(config: Config) -> str:
    """Images of each worker: ` x 8`; where their shares differ `: 2 x 12 and 1 x 8`, of a range ` x 4 to 16`."""
    least, most = config.cluster.min_workers, config.cluster.max_workers
    if least < most:
        return f" x {min(config.shares(most))} to {max(config.shares(least))}"
    workers_of = Counter(config.shares(most))
    if len(workers_of) == 1:
        return f" x {config.batch_per_worker(most)}"
    return ": " + " and ".join(f"{workers} x {share}" for share, workers in workers_of.items())


def _accumulation(config: Config) -> str:
    largest, limit = config.batch_per_worker(config.cluster.min_workers), config.training.max_batch_per_worker
    parts = -(-largest // limit)
    return "" if parts == 1 else f", in up to {parts} accumulated parts of at most {limit}"
