"""The plan's arithmetic and its checks."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.pack import prepare_data
from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.data import MEMORY, AlsoConfig, DataConfig, LoaderConfig, StorageConfig
from platform.config.evaluation import EvaluationConfig
from platform.config.experiment import Experiment
from platform.config.models import ModelConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.table import TableConfig
from platform.data import index
from platform.data.index import Index, read_index
from platform.data.order import Order
from platform.data.readahead import OrderAhead
from platform.data.training_order import training_order
from platform.experiment.packed_data import open_data
from platform.experiment.plan import plan
from platform.experiment.plan_text import lines
from platform.packing.pack import pack
from tests.data.servers import http_server
from tests.packing.packed import class_files, write_files


def experiment(data: DataConfig, **changes: object) -> Experiment:
    config = replace(Config(name="one", data=data), **changes)  # type: ignore[arg-type]
    return Experiment(config, {"model": config})


def test_steps_and_images_follow_from_the_shards(digits_data: DataConfig):
    made = plan(experiment(digits_data))
    (member,) = made.members
    assert (made.train_samples, made.val_samples) == (1438, 359)
    assert member.steps_per_epoch == 1438 // 8 // 4
    assert member.steps == 12 * member.steps_per_epoch
    assert member.images == member.steps * 32


def test_a_blend_is_planned_with_how_often_each_set_is_shown(digits_data: DataConfig, tmp_path: Path):
    more = replace(digits_data, shards=str(tmp_path / "more"), val_fraction=0.5)
    pack(more)
    also = {"more": AlsoConfig(more.shards, 0.3)}
    unpacked = replace(digits_data, shards=str(tmp_path / "unpacked"))
    for first in (digits_data, unpacked):
        made = plan(experiment(replace(first, also=also)))
        (member,) = made.members
        assert (made.train_samples, made.val_samples) == (1438 + 899, 359)
        assert (member.steps_per_epoch, member.images) == (2337 // 8 // 4, 12 * 73 * 32)
        text = "\n".join(lines(made))
        often = [f"{share * member.images / count:.3g}" for share, count in ((0.7, 1438), (0.3, 899))]
        assert f"blend       70% digits: 1,438 training images, each shown {often[0]} times" in text
        assert f"blend       30% more: 899 training images in {more.shards}, each shown {often[1]} times" in text
    assert "blend" not in "\n".join(lines(plan(experiment(digits_data))))
    nowhere = {"more": AlsoConfig(str(tmp_path / "nowhere"), 0.3)}
    for first in (digits_data, unpacked):
        with pytest.raises(ConfigError, match=r"data\.also\.more: no index\.json in .*nowhere"):
            plan(experiment(replace(first, also=nowhere)))


def test_a_blend_of_other_classes_is_refused(digits_data: DataConfig, tmp_path: Path, small_jpegs: list[bytes]):
    write_files(tmp_path / "source", class_files(small_jpegs * 4))
    other = DataConfig(source=str(tmp_path / "source"), shards=str(tmp_path / "shards"), classes=3)
    pack(other)
    with pytest.raises(ConfigError, match=r"data\.also\.more has 3 classes and data\.shards 10: it has also "):
        plan(experiment(replace(digits_data, also={"more": AlsoConfig(other.shards, 0.3)})))


def test_unpacked_data_is_planned_from_its_source(tmp_path: Path):
    made = plan(experiment(DataConfig(source="sklearn:digits", shards=str(tmp_path / "none"))))
    assert not made.packed
    assert made.train_samples + made.val_samples == 1797
    assert any("packed from sklearn:digits" in line for line in lines(made))


def test_a_part_to_evaluate_that_is_not_there_is_refused_with_what_is(digits_data: DataConfig, tmp_path: Path):
    on_test = {"job": "evaluate", "evaluation": EvaluationConfig(split="test")}
    for data in (digits_data, replace(digits_data, shards=str(tmp_path / "unpacked"))):
        with pytest.raises(ConfigError, match=r"split is test, but .* no such part, only train, val; leave"):
            plan(experiment(data, **on_test))
    with pytest.raises(ConfigError, match=r"evaluation\.split is 'train'; choose one of val, test"):
        EvaluationConfig(split="train")
    for job in ("train", "ensemble", "sweep", "promote"):
        with pytest.raises(ConfigError, match=rf"split is test, which job={job} must not choose by; .* job=evaluate"):
            experiment(digits_data, **on_test | {"job": job})


def test_a_test_part_is_in_the_plan_and_no_sample_of_training(tmp_path: Path, small_jpegs: list[bytes]):
    shares = {"train": small_jpegs * 4, "val": small_jpegs[:3], "test": small_jpegs[:6]}
    for part, share in shares.items():
        write_files(tmp_path / "source", class_files(share, f"{part}/"))
    data = DataConfig(source=str(tmp_path / "source"), shards=str(tmp_path / "shards"), classes=3)
    for packed in (False, True):
        if packed:
            pack(data)
        made = plan(experiment(data))
        assert (made.train_samples, made.val_samples, made.test_samples, made.packed) == (48, 3, 6, packed)
        assert made.members[0].steps_per_epoch == 48 // 8 // 4
        text = "\n".join(lines(made))
        assert "48 training, 3 validation and 6 test images, 3 classes" in text
        assert "evaluation  3 images x 144 views for each member" in text
        on_test = plan(experiment(data, job="evaluate", evaluation=EvaluationConfig(split="test")))
        assert "evaluation  6 images of the test part x 144 views for each member" in "\n".join(lines(on_test))


def test_members_may_not_differ_in_their_images(digits_data: DataConfig):
    one = experiment(digits_data)
    larger = replace(one.config, data=replace(digits_data, image_size=64))
    with pytest.raises(ConfigError, match=r"member b changes data\.\*"):
        plan(
            Experiment(one.config, {"a": one.config, "b": replace(one.config, data=replace(digits_data, mirror=False))})
        )
    with pytest.raises(ConfigError, match=r"member b changes data\.image_size, and an ensemble takes one size"):
        plan(Experiment(one.config, {"a": one.config, "b": larger}))
    rows = replace(one.config, table=TableConfig(against="first"))
    made = plan(Experiment(rows, {"a": rows, "b": replace(larger, table=rows.table)}))
    assert "32 and 64 px" in "\n".join(lines(made))
    assert made.members[1].cost == 4 * made.members[0].cost


def test_a_network_that_does_not_take_the_images_is_refused_before_anything_starts(digits_data: DataConfig):
    model = ModelConfig(name="torchvision/alexnet")
    with pytest.raises(ConfigError, match=r"torchvision/alexnet does not train on .*image_size=32 .*; give data\."):
        plan(experiment(digits_data, model=model))
    unpacked = replace(digits_data, shards=f"{digits_data.shards}-none")
    with pytest.raises(ConfigError, match=r"torchvision/alexnet does not train on .*image_size=32"):
        plan(experiment(unpacked, model=model))
    plan(experiment(replace(digits_data, image_size=64), model=model))


def test_no_index_and_no_source(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no index\.json in data\.shards=.*job=pack data\.source=PATH"):
        plan(experiment(DataConfig(shards=str(tmp_path))))


def test_another_number_of_classes(digits_data: DataConfig):
    with pytest.raises(ConfigError, match=r"data\.classes is 12, the shards in .* have 10"):
        open_data(Config(data=replace(digits_data, classes=12)))


def test_accumulation_is_in_the_plan(digits_data: DataConfig):
    config = Config()
    made = plan(experiment(digits_data, training=replace(config.training, max_batch_per_worker=12)))
    assert any("1 worker(s) x 32, in up to 3 accumulated parts of at most 12" in line for line in lines(made))


def test_image_sizes_of_training_are_in_the_plan_and_in_its_cost(digits_data: DataConfig):
    training = replace(Config().training, sizes=[[0, 64], [0.25, 32]])
    made = plan(experiment(digits_data, training=training))
    steps = made.members[0].steps
    assert f"sizes       64 px, 32 px from step {steps // 4}; tested at 32 px" in lines(made)
    assert made.members[0].cost == pytest.approx(1.75 * 32**2 * made.members[0].images)
    whole = experiment(digits_data)
    with_both = plan(Experiment(whole.config, {"a": whole.config, "b": replace(whole.config, training=training)}))
    assert any(line.endswith("; tested at 32 px (b)") for line in lines(with_both))


def test_how_often_classes_are_shown_is_in_the_plan(
    digits_data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # where labels are kept
    for repeats in (1, 2):
        threes = experiment(replace(digits_data, balance={"3": 10}), sampling=SamplingConfig(repeats=repeats))
        said = r"3 x 10: an epoch shows an image 0\.\d+ times \(\d, \d+ images\) to 5\.\d+ times \(3, 1"
        assert re.search(f"balance     {said}", "\n".join(lines(plan(threes))))
    with pytest.raises(ConfigError, match=r"data\.balance names the class eight, of which there is no training image"):
        plan(experiment(replace(digits_data, balance={"eight": 10})))
    unpacked = replace(digits_data, shards=f"{digits_data.shards}-none", balance="sqrt")
    assert "balance     sqrt: its labels are read" in "\n".join(lines(plan(experiment(unpacked))))


def test_a_size_that_the_network_does_not_train_on_is_refused_before_anything_starts(digits_data: DataConfig):
    training, data = replace(Config().training, sizes=[[0, 32], [0.5, 64]]), replace(digits_data, image_size=64)
    with pytest.raises(ConfigError, match=r"alexnet, built for .*image_size=64, does not train on those of 32 px"):
        plan(experiment(data, training=training, model=ModelConfig(name="torchvision/alexnet")))


@pytest.mark.parametrize(
    ("workers", "limit", "line"),
    [
        (1, 256, "1 worker(s) x 32"),
        (3, 256, "3 worker(s): 2 x 12 and 1 x 8"),
        (3, 8, "3 worker(s): 2 x 12 and 1 x 8, in up to 2 accumulated parts of at most 8"),
        ({"min": 1, "max": 7}, 256, "1 to 7 worker(s) x 4 to 32"),
        ({"min": 1, "max": 8}, 12, "1 to 8 worker(s) x 4 to 32, in up to 3 accumulated parts of at most 12"),
    ],
)
def test_the_workers_shares_are_in_the_plan(digits_data: DataConfig, workers: object, limit: int, line: str):
    """On a cluster: this machine has not as many processors."""
    training = replace(Config().training, max_batch_per_worker=limit)
    cluster = ClusterConfig(workers=workers, address="auto")
    made = plan(experiment(digits_data, training=training, cluster=cluster))
    assert f"batch       32 images: {line}" in lines(made)


@pytest.mark.parametrize("world", range(1, 9))
def test_the_shares_of_the_plan_are_those_that_the_order_deals(digits: Index, world: int):
    config = Config()
    order = Order.of(digits.split("train"), config.loader.streams, config.training.batch_size, config.loader.block, 0)
    assert config.shares(world) == [len(order.batch(0, rank, world)) for rank in range(world)]


def test_the_fewest_workers_must_fit_on_this_machine(digits_data: DataConfig):
    many = ClusterConfig(workers={"min": 1, "max": 8}, cpus_per_worker=1)
    plan(experiment(digits_data, cluster=many))
    with pytest.raises(ConfigError, match=r"cluster\.workers x cluster\.cpus_per_worker is 8000, this machine has"):
        plan(experiment(digits_data, cluster=replace(many, workers={"min": 8, "max": 8}, cpus_per_worker=1000)))


def test_shrunk_images_are_in_the_plan_and_others_than_asked_for_are_refused(tmp_path: Path):
    data = DataConfig(source="sklearn:digits", shards=str(tmp_path / "shards"), image_size=32)
    asked = replace(data, shorter_side=64)
    assert any("32 px, shrunk to 64 px when packed" in line for line in lines(plan(experiment(asked))))
    pack(asked)
    for settings in (asked, data):
        assert any("32 px, shrunk to 64 px when packed" in line for line in lines(plan(experiment(settings))))
    with pytest.raises(ConfigError, match=r"data\.shorter_side is 48, the shards in .* hold images shrunk to 64 px;"):
        open_data(Config(data=replace(data, shorter_side=48)))


def test_equal_images_that_will_be_dropped_are_in_the_planned_number_and_that_is_said(digits_data: DataConfig):
    text = "1438 training and 359 validation images"
    drops = replace(digits_data, shards=f"{digits_data.shards}-absent", duplicates="drop")
    assert f"{text} (less those equal to another, which packing drops), 10" in "\n".join(lines(plan(experiment(drops))))
    for counted in (replace(drops, duplicates="keep"), digits_data):
        assert f"{text}, 10 classes" in "\n".join(lines(plan(experiment(counted))))


def test_shards_of_images_as_they_were_are_not_taken_for_shrunk_ones(digits_data: DataConfig):
    assert not any("shrunk" in line for line in lines(plan(experiment(digits_data))))
    with pytest.raises(ConfigError, match=r"data\.shorter_side is 64, the shards in .* hold images as they were; pack"):
        open_data(Config(data=replace(digits_data, shorter_side=64)))


def test_a_list_that_a_store_does_not_give_is_one_line(tmp_path: Path):
    data = DataConfig(source="memory://nowhere/list.csv", shards=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"data\.source: memory://nowhere/list\.csv does not exist; check"):
        plan(experiment(data))


def test_a_cache_too_small_is_refused_before_anything_starts(digits: Index, digits_data: DataConfig, tmp_path: Path):
    with http_server(Path(digits.url)) as server:
        remote = replace(digits_data, shards=server.url, source=None)
        storage = StorageConfig(cache=str(tmp_path / "cache"), cache_gb=1e-5)
        three_or_more = ClusterConfig(workers={"min": 3, "max": 8}, address="auto")
        with pytest.raises(ConfigError, match=r"storage\.cache_gb is 1e-05, but 8 streams"):
            plan(experiment(remote, storage=storage))
        with pytest.raises(ConfigError, match=r"but 3 streams"):  # those of the fewest workers
            plan(experiment(remote, storage=storage, cluster=three_or_more))
        made = plan(experiment(remote, storage=replace(storage, cache_gb=2)))
        held = plan(experiment(remote, storage=StorageConfig(cache=MEMORY, cache_gb=2)))
    assert any(f"shards      {server.url}, through {tmp_path}/cache of at most 2 GB on" in line for line in lines(made))
    assert any(f"{server.url}, held in memory, at most 2 GB in each worker" in line for line in lines(held))
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_the_cache_that_the_plan_asks_for_is_the_one_that_training_needs(
    digits: Index, digits_data: DataConfig, tmp_path: Path
):
    """Which shards are read at once follows from the order, and that from both seeds."""
    sizes = sorted(shard.bytes for shard in digits.split("train").shards)
    rooms = [sum(sizes[:shards]) / 1e9 for shards in range(1, len(sizes) + 1)]
    enough = set()
    with http_server(Path(digits.url)) as server:
        remote = replace(digits_data, shards=server.url, source=None)
        loader = LoaderConfig(streams=2, block=32)
        for order_seed in range(4):
            for room in rooms:
                storage = StorageConfig(cache=MEMORY, cache_gb=room + 1e-9)
                made = experiment(remote, order_seed=order_seed, loader=loader, storage=storage)
                planned, trains = _works(plan, made), _works(_start_reading, made)
                assert planned == trains, (order_seed, room)
                enough |= {room} if planned else set()
    assert len(enough) > 1  # or any order would do


def _works(call: Callable[[Experiment], object], made: Experiment) -> bool:
    try:
        call(made)
    except ConfigError as error:
        return "storage.cache_gb is" not in str(error)
    return True


def _start_reading(made: Experiment) -> None:
    train = read_index(made.config.data.shards, made.config.storage).split("train")
    OrderAhead(train, training_order(made.config, train), rank=0, world=1).close()


@pytest.mark.parametrize("source", [None, "sklearn:digits"])
@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["a-0.tar", "a-1.tar"],
            r"holds 2 tar file\(s\) and no index.json; have one made with job=pack pack.action=index",
        ),
        (["notes.txt"], "holds notes.txt and no index.json; choose an empty folder, or the shards'"),
    ],
)
def test_files_without_an_index_are_said(tmp_path: Path, source: str | None, names: list[str], said: str):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=rf"^data\.shards: {tmp_path} {said}"):
        plan(experiment(DataConfig(source=source, shards=str(tmp_path))))
    with pytest.raises(ConfigError, match=r"^data\.shards: .* is a file; choose a folder"):
        plan(experiment(DataConfig(source=source, shards=str(tmp_path / names[0]))))


def test_the_launcher_reads_and_checks_the_index_once(digits_data: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training goes on with what the plan found: at 100,000 shards on a network disk a check takes minutes."""
    opened = Counter[str]()
    check = index._check_files
    monkeypatch.setattr(index, "_check_files", lambda shards, url: (opened.update([url]), check(shards, url)))
    made = experiment(digits_data)
    planned = plan(made)
    assert prepare_data(made.config, planned.index) is planned.index
    assert opened == {digits_data.shards: 1}
