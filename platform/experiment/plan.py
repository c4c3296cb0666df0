"""The plan of an experiment, made and checked before anything starts: members, steps, images, places.

In: the composed experiment. Out: `Plan`; its text is made in `plan_text`.
"""

from dataclasses import dataclass, field, replace

from platform.cluster.resources import cpus_here, may_have_gpu
from platform.config.checks import ConfigError, require
from platform.config.data import NOT_BALANCED
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.data.cache import ShardError
from platform.data.image_sizes import ImageSizes
from platform.data.index import Index, Split
from platform.data.labels import are_at_hand
from platform.data.order import Order, steps_per_epoch, total_steps
from platform.data.readahead import check_room
from platform.data.sets import training_split
from platform.data.storage import Storage
from platform.data.store_errors import StorageError
from platform.data.training_order import training_order
from platform.experiment.compiled_plan import check_compiled
from platform.experiment.fused_plan import check_fused
from platform.experiment.packed_data import (
    contents,
    further_sets,
    is_packed,
    open_data,
    restart_markers,
    say_once,
    source_contents,
)
from platform.experiment.probabilities_room import require_room
from platform.models.sources import require_shipped


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
    markers: str = ""  # of JPEGs that were packed with restart markers
    index: Index | None = field(default=None, repr=False, compare=False)  # as it was read and checked for the plan

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
    counts, shrunk_to = contents(index) if index else source_contents(config)
    others = further_sets(config, index)
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
    check_fused(experiment.members)
    shown = _showings(config, index.split("train")) if index else ""
    test_samples = counts.get("test", 0)
    require_room(experiment, counts[split])
    markers = restart_markers(config, index)
    return Plan(
        experiment, train_samples, val_samples, packed, members, shrunk_to, test_samples, shown, others, markers, index
    )


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
    check_compiled(member)
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

    said = rehearse(
        model,
        member.data.classes,
        member.data.image_size,
        member.smallest_part,
        sizes,
        channels_last_on_cpu=member.training.channels_last and not may_have_gpu(member.cluster),
    )
    if said:
        say_once(said)


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
