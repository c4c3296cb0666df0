"""The batches of the platform's own training, from any step on, in loops that are not its own."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader

from platform.checkout import ROOT
from platform.config.checks import ConfigError
from platform.config.data import DataConfig, LoaderConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.data.batch import Batch
from platform.data.dataset import ImageBatch, ShardDataset
from platform.data.index import Index, read_index
from platform.data.pixels import Pixels
from platform.data.train_loader import TrainLoader
from platform.data.training_order import training_order
from tests.data.handmade import write_index, write_tar

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("one_thread")]

LOADER = LoaderConfig(streams=4, block=64, threads=2)
SAMPLING = SamplingConfig(interpolation="random", photometric=True)
BATCH, STEPS = 8, 5  # of an epoch
PAGE = ROOT / "docs" / "dataset.md"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, small_jpegs: list[bytes]) -> DataConfig:
    """43 images in three shards, of which an epoch leaves out three."""
    folder, counts = tmp_path_factory.mktemp("few"), {}
    for number, samples in enumerate((20, 9, 14)):
        members = {}
        for i in range(samples):
            members[f"{number}{i:02d}.jpg"] = small_jpegs[(number + i) % len(small_jpegs)]
            members[f"{number}{i:02d}.cls"] = str(i % 3).encode()
        counts[write_tar(folder / f"train-{number:06d}.tar", members).name] = samples
    return DataConfig(shards=str(write_index(folder, counts)), classes=3)


def dataset(data: DataConfig, batch_size: int = BATCH, **options: Any) -> ShardDataset:
    return ShardDataset(
        data, batch_size, **({"loader": LOADER, "sampling": SAMPLING, "seed": 3, "order_seed": 5} | options)
    )


def platforms_own(data: DataConfig, start: int, stop: int, *, rank: int = 0, world: int = 1) -> list[Batch]:
    """As `training.loop` reads them."""
    cfg = Config(
        data=data, loader=LOADER, sampling=SAMPLING, seed=3, order_seed=5, training=TrainingConfig(batch_size=BATCH)
    )
    split = read_index(data.shards).split("train")
    with TrainLoader(split, training_order(cfg, split), data, SAMPLING, rank=rank, world=world) as loader:
        return list(loader.steps(start, stop))


def epochs_of(batches: ShardDataset | DataLoader[ImageBatch], epochs: int) -> list[ImageBatch]:
    return [batch for _ in range(epochs) for batch in batches]


def assert_same(ours: list[ImageBatch], theirs: list[ImageBatch]) -> None:
    assert len(ours) == len(theirs)
    for one, two in zip(ours, theirs, strict=True):
        for mine, other in zip(one, two, strict=True):
            assert torch.equal(mine, other)


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (0, 3), (2, 3)])
def test_the_batches_are_the_networks_input_in_the_platforms_own_training(
    data: DataConfig, rank: int, world: int
) -> None:
    ours = epochs_of(dataset(data, rank=rank, world=world), 3)
    theirs = platforms_own(data, 0, 3 * STEPS, rank=rank, world=world)
    pixels = Pixels(data, torch.device("cpu"))
    assert len(ours) == len(theirs) == 3 * STEPS
    for one, two in zip(ours, theirs, strict=True):
        assert torch.equal(one.images, pixels.training(two.images, two.mirrored_N, two.colour_draws_N8, SAMPLING))
        assert one.images.dtype == torch.float32
        assert torch.equal(one.labels_N, two.labels_N)
        assert torch.equal(one.ids_N, two.ids_N)


def test_bytes_are_mirrored_where_drawn(data: DataConfig) -> None:
    plain = replace(SAMPLING, photometric=False)
    ours = epochs_of(dataset(data, sampling=plain, normalised=False), 1)
    mirrored = 0
    for one, two in zip(ours, platforms_own(data, 0, STEPS), strict=True):
        assert one.images.dtype == torch.uint8
        for mine, other, turned in zip(one.images, two.images, two.mirrored_N.tolist(), strict=True):
            assert torch.equal(mine, other.flip(1) if turned else other)
            mirrored += turned
    assert 0 < mirrored < STEPS * BATCH


def test_the_ranks_together_have_every_sample_of_the_global_batches_once(data: DataConfig) -> None:
    alone = epochs_of(dataset(data), 2)
    shares = [epochs_of(dataset(data, rank=rank, world=3), 2) for rank in range(3)]
    for step, batch in enumerate(alone):
        assert sorted(id_ for share in shares for id_ in share[step].ids_N.tolist()) == sorted(batch.ids_N.tolist())
    of_an_epoch = [id_ for batch in alone[:STEPS] for id_ in batch.ids_N.tolist()]
    assert len(set(of_an_epoch)) == len(of_an_epoch) == STEPS * BATCH


def test_rank_and_world_come_from_torch_distributed(data: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    made_before = dataset(data)
    for name, found in (("is_initialized", True), ("get_rank", 1), ("get_world_size", 2)):
        monkeypatch.setattr(dist, name, lambda found=found: found)
    assert_same(epochs_of(made_before, 1), epochs_of(dataset(data, rank=1, world=2), 1))


@pytest.mark.parametrize("stop", range(2 * STEPS + 1))
def test_a_loaded_state_goes_on_as_if_nothing_had_happened(data: DataConfig, stop: int) -> None:
    undisturbed = epochs_of(dataset(data), 3)
    first = dataset(data)
    taken = [batch for _, batch in zip(range(stop), forever(first), strict=False)]
    state = first.state_dict()
    assert state["step"] == stop
    second = dataset(data)
    second.load_state_dict(state)
    assert second.epoch == stop // STEPS
    rest = []
    while second.epoch < 3:
        rest += list(second)
    assert_same(taken + rest, undisturbed)


def forever(batches: ShardDataset) -> Iterator[ImageBatch]:
    while True:
        yield from batches


def test_a_state_of_one_rank_is_one_of_any_number(data: DataConfig) -> None:
    alone = epochs_of(dataset(data), 2)
    first = dataset(data, rank=0, world=1)
    for _ in zip(range(3), first, strict=False):
        pass
    state = first.state_dict()
    shares = [dataset(data, rank=rank, world=4) for rank in range(4)]
    for share in shares:
        share.load_state_dict(state)
    ids = [[batch.ids_N.tolist() for batch in share] for share in shares]
    for place, batch in enumerate(alone[3:STEPS]):
        assert sorted(id_ for share in ids for id_ in share[place]) == sorted(batch.ids_N.tolist())


def test_a_dataloader_hands_them_on_as_they_are(data: DataConfig) -> None:
    read = dataset(data)
    loader = DataLoader(read, batch_size=None)
    assert len(loader) == STEPS
    found = epochs_of(loader, 2)
    assert type(found[0]) is ImageBatch
    assert_same(found, epochs_of(dataset(data), 2))
    assert read.state_dict()["step"] == 2 * STEPS


def test_the_state_in_a_loop_over_a_dataloader_is_that_of_the_batch_in_hand(data: DataConfig) -> None:
    read = dataset(data)
    for done, _ in enumerate(DataLoader(read, batch_size=None), 1):
        assert read.state_dict()["step"] == done


def test_worker_processes_are_refused(data: DataConfig) -> None:
    with pytest.raises(ConfigError, match=r"DataLoader worker process.*num_workers=0"):
        list(DataLoader(dataset(data), batch_size=None, num_workers=1))


def test_an_iteration_that_is_left_ends_its_threads_and_goes_on_in_the_next(data: DataConfig) -> None:
    read = dataset(data)
    batches = iter(read)
    first = [next(batches), next(batches)]
    del batches
    assert_same(first + list(read), epochs_of(dataset(data), 1))


OTHERS: dict[str, dict[str, Any]] = {
    "batch_size": {"batch_size": 4},
    "seed": {"seed": 4},
    "order_seed": {"order_seed": 6},
    "loader.streams": {"loader": replace(LOADER, streams=2)},
    "loader.block": {"loader": replace(LOADER, block=32)},
}


@pytest.mark.parametrize("key", OTHERS)
def test_a_state_of_another_order_is_refused_with_both_values(data: DataConfig, key: str) -> None:
    state = dataset(data, **OTHERS[key]).state_dict()
    here = dataset(data)
    with pytest.raises(ConfigError) as refused:
        here.load_state_dict(state)
    assert re.match(rf"{key} is \d+, the state was saved with \d+; ", str(refused.value))
    assert "\n" not in str(refused.value)
    assert here.step == 0


def test_a_state_of_other_shards_is_refused(data: DataConfig, digits: Index) -> None:
    state = dataset(replace(data, shards=digits.url, classes=10)).state_dict()
    with pytest.raises(ConfigError, match=r"data.shards \(digest\) is '[0-9a-f]{16}', the state was saved with '"):
        dataset(data).load_state_dict(state)


@pytest.mark.parametrize(("balance", "other"), [("none", "sqrt"), ("sqrt", "none"), ("sqrt", {"0": 2, "1": 0.5})])
def test_a_state_of_another_balance_is_refused(data: DataConfig, balance: Any, other: Any) -> None:
    state, here = dataset(replace(data, balance=other)).state_dict(), dataset(replace(data, balance=balance))
    with pytest.raises(
        ConfigError, match=re.escape(f"data.balance is {balance!r}, the state was saved with {other!r}")
    ):
        here.load_state_dict(state)
    dataset(replace(data, balance=other)).load_state_dict(state)


def test_a_state_from_before_there_were_balances_is_of_none(data: DataConfig) -> None:
    state = {key: value for key, value in dataset(data).state_dict().items() if key != "data.balance"}
    dataset(data).load_state_dict(state | {"step": 3})
    with pytest.raises(ConfigError, match=r"data\.balance is 'sqrt', the state was saved with 'none'"):
        dataset(replace(data, balance="sqrt")).load_state_dict(state)


@pytest.mark.parametrize("step", [-1, "7", 1.5, None, True])
def test_a_step_that_is_none_is_refused(data: DataConfig, step: object) -> None:
    here = dataset(data)
    with pytest.raises(ConfigError, match=r"step is .*at least 0"):
        here.load_state_dict(here.state_dict() | {"step": step})


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an uneven batch": ({"batch_size": 6}, r"batch_size is 6, not a multiple of loader.streams \(4\)"),
    "more than there are": ({"batch_size": 44}, r"43 samples, fewer than training.batch_size \(44\)"),
    "a GPU's decoder": ({"loader": replace(LOADER, decoder="gpu")}, "loader.decoder is gpu"),
    "distorted bytes": ({"normalised": False}, "sampling.photometric is true"),
    "half a place": ({"rank": 1}, "rank is 1 and world is None"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_together_is_refused(data: DataConfig, name: str) -> None:
    options, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message):
        dataset(data, **options)


@pytest.mark.parametrize(("rank", "world", "message"), [(0, 5, "world is 5, more"), (2, 2, "rank is 2 of world 2")])
def test_a_rank_without_streams_is_refused(data: DataConfig, rank: int, world: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        iter(dataset(data, rank=rank, world=world))


def blocks_of_the_page() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def run_the_page(tmp_path: Path, digits: Index, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Tensor]]:
    """Function: run the plain loop in a folder of that name, as it stands -> the weights at its end."""

    def run(name: str) -> dict[str, Tensor]:
        (tmp_path / name / "data").mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        if not Path("data/digits").exists():
            Path("data/digits").symlink_to(digits.url)
        names: dict[str, Any] = {}
        with redirect_stdout(io.StringIO()) as printed:
            exec(compile(blocks_of_the_page()[0], str(PAGE), "exec"), names)
        assert printed.getvalue().splitlines()[-1].startswith("epoch 2, step ")
        return names["model"].state_dict()

    return run


class Killed(BaseException):
    pass


def test_the_plain_loop_of_the_page_runs_and_resumes(
    run_the_page: Callable[[str], dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = run_the_page("undisturbed")
    save, saves = torch.save, []

    def save_seven_times(state: Any, path: Path) -> None:
        if len(saves) == 7:
            raise Killed
        saves.append(path)
        save(state, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save_seven_times)
        with pytest.raises(Killed):
            run_the_page("killed")
    resumed = run_the_page("killed")
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in undisturbed)


def test_the_lightning_loop_of_the_page_is_python() -> None:
    """Lightning is no dependency."""
    _, lightning = blocks_of_the_page()
    assert "import lightning" in lightning
    compile(lightning, str(PAGE), "exec")
