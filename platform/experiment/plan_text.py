"""The plan of an experiment as lines of text, as `job=check` prints it.

In: a plan. Out: what will be trained, on which images, how and where.
"""

from collections import Counter
from pathlib import Path

from platform.cluster.runtime_env import fork_server
from platform.config.cluster import ClusterConfig
from platform.config.data import AUTO, MEMORY, NOT_BALANCED, LoaderConfig
from platform.config.sections import Config
from platform.data.blend import PARTS, epochs_of, weights
from platform.data.urls import is_remote
from platform.experiment.compiled_plan import compiled_line
from platform.experiment.fused_plan import fused_lines
from platform.experiment.plan import Plan
from platform.experiment.probabilities_room import room_of
from platform.text import printable


def lines(plan: Plan) -> list[str]:
    """The plan as lines of text."""
    experiment, config = plan.experiment, plan.experiment.config
    fewer = ", and the equal ones of these images dropped" if config.data.duplicates == "drop" else ""
    shards = _place(config.cluster, config.data.shards) + (
        "" if plan.packed else f" (packed from {config.data.source} on first use{fewer})"
    )
    storage = config.storage
    is_fetched = any(map(is_remote, config.data.places.values()))
    if is_fetched and storage.cache == MEMORY:
        shards += f", held in memory, at most {storage.cache_gb:g} GB in each worker"
    elif is_fetched:
        shards += f", through {storage.cache} of at most {storage.cache_gb:g} GB on each node"
    cluster, tracking = config.cluster, config.tracking.uri
    if cluster.kube is not None:
        tracking = cluster.kube.tracking_uri_of(tracking)
    text = [
        f"experiment  {experiment.name}",
        f"data        {config.data.name}: {_parts(plan)}, "
        f"{config.data.classes} classes, {_sizes(plan)} px"
        + (f", shrunk to {plan.shrunk_to} px when packed" if plan.shrunk_to else ""),
        f"shards      {shards}" + (f"; {printable(plan.markers)}" if plan.markers else ""),
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
        + (f", and whole at {', '.join(map(str, config.evaluation.dense))} px" if config.evaluation.dense else "")
        + room_of(experiment, plan.evaluated_samples).text,
        f"checkpoints every {config.checkpoint.every_s:g} s"
        + (f" and {config.checkpoint.every_steps} steps" if config.checkpoint.every_steps else "")
        + f", the newest {config.checkpoint.keep}{' and the best' if config.checkpoint.keep_best else ''} kept"
        + (f", copies in {config.checkpoint.copy_to}" if config.checkpoint.copy_to else ""),
        *compiled_line(config),
        *_order(config),
        *fused_lines(experiment.members),
        *_decoding(config.loader),
        *_stopping(config),
        *_taught(config, plan.train_samples),
        f"results     {_place(cluster, str(experiment.folder))}",
        f"tracking    {tracking}, MLflow experiment {config.tracking.experiment}",
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


def _order(config: Config) -> list[str]:
    """What members see in common."""
    if not config.ensemble.shared_order:
        return []
    own = "crops, colours and dropout are each member's own"
    return [f"order       all members see the images in one order (ensemble.shared_order); {own}"]


def _decoding(loader: LoaderConfig) -> list[str]:
    """Which images the GPU decodes, where both decode."""
    if loader.decoder != AUTO:
        return []
    share = "a share found in the first steps: another training may find another, and rounds otherwise"
    if loader.gpu_share is not None:
        share = f"a share of {loader.gpu_share:g}"
    return [f"decoding    by CPU and, where there is one, GPU, {share}"]


def _taught(config: Config, images: int) -> list[str]:
    """Of a network that has a teacher: which, and what that says of how many images."""
    distill = config.distill
    if distill.teacher is None:
        return []
    kb = images * config.data.classes * 2 / 1e3
    asked = f"asked once about {images} images x {distill.views} views, {kb:,.0f} kB"
    how = f"weight {distill.weight:g}, temperature {distill.temperature:g}"
    return [f"teacher     {distill.teacher}: {asked}; {how}"]


def _place(cluster: ClusterConfig, place: str) -> str:
    """A folder or URL as those have it who train: what is relative lies on the volume of the pods."""
    folder = Path(place)
    if cluster.kube is None or is_remote(place) or not folder.is_relative_to(Path.cwd()):
        return place
    inside = cluster.kube.in_pods(folder.relative_to(Path.cwd()).as_posix())
    return f"{inside} (on the volume {cluster.kube.claim})"


def _where(cluster: ClusterConfig) -> str:
    if cluster.kube is not None:
        return f"a RayJob in Kubernetes' namespace {cluster.kube.namespace}"
    return "a local Ray" if cluster.address is None else f"the Ray at {cluster.address}"


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
