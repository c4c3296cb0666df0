"""`job=pack` on the command line and on a real Ray: the same bytes, workers that die, signals, statuses."""

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from jobs import pack as job
from jobs.pack import prepare_data
from platform.cluster.connect import connect, disconnect
from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.data import DataConfig
from platform.config.sections import Config
from platform.data.index import read_index
from platform.packing import pack as packing
from platform.packing.pack import pack
from platform.packing.preparation import prepare
from tests.jobs.conftest import Runner
from tests.packing.deadly import DeadlyOnce, Torn
from tests.packing.packed import CLASSES, class_files, contents, write_files


@pytest.mark.slow
def test_it_packs_verifies_and_says_so(launch: Runner, tmp_path: Path, digits_data: DataConfig) -> None:
    words = ("job=pack", "data=digits", f"data.shards={tmp_path / 'shards'}", "data.samples_per_shard=300")
    status, output = launch(*words)
    assert status == 0, output
    assert "packing 1,797 images of sklearn:digits into" in output
    assert "in this process" in output
    assert "packed 100%  1,797 of 1,797 images" in output
    assert "packed 1438 training and 359 validation images in 7 shards" in output
    assert contents(tmp_path / "shards") == contents(Path(digits_data.shards))
    status, output = launch.here(*words, "pack.action=verify")
    assert status == 0, output
    assert "every shard of" in output
    for name in ("train-000002.tar", "val-000001.tar"):
        path = tmp_path / "shards" / name
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    status, output = launch.here(*words, "pack.action=verify")
    assert status == 1, output
    assert "2 of 7 shards are bad" in output
    assert "bad: " in output
    (tmp_path / "shards" / "index.json").unlink()
    status, output = launch.here(*words, "pack.action=verify")
    assert (status, output.count("\n")) == (2, 1), output
    assert output.startswith("error: no index.json in")
    for name in ("train-000002.tar", "val-000001.tar"):
        path = tmp_path / "shards" / name
        path.write_bytes(path.read_bytes()[:-1] + bytes(1))
    status, output = launch.here(*words, "data.source=null", "pack.action=index")
    assert status == 0, output
    assert "as the shards' names say" in output
    assert read_index(tmp_path / "shards").split("val").samples == 359


def test_data_that_is_not_packed_is_packed_on_first_use(
    tmp_path: Path, digits_data: DataConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    data = replace(digits_data, shards=str(tmp_path / "new" / "shards"))
    index = prepare_data(Config(data=data))
    assert index.split("train").samples == 1438
    assert contents(tmp_path / "new" / "shards") == contents(Path(digits_data.shards))
    assert "packed 1438 training and 359 validation images" in capsys.readouterr().out
    prepare_data(Config(data=data))
    assert capsys.readouterr().out == ""


def test_what_is_dropped_and_what_remains_is_said(
    tmp_path: Path, small_jpegs: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    files = class_files(small_jpegs) | {"cat/again.jpg": small_jpegs[0]}
    data = DataConfig(
        source=str(write_files(tmp_path / "source", files)),
        shards=str(tmp_path / "shards"),
        classes=3,
        duplicates="drop",
    )
    job.write(Config(data=data))
    said = capsys.readouterr().out
    assert f"packing 13 images of {data.source}, less those that turn out equal to another, into" in said
    assert "warning: 1 image(s) are equal to another, " in said
    assert "; dropped: 12 of 13 remain" in said
    assert "packed 9 training and 3 validation images in" in said
    assert "replacing" not in said
    job.write(Config(data=replace(data, duplicates="keep")))
    assert f"replacing the 12 images in {data.shards}, packed from source\npacking 13 images" in capsys.readouterr().out


@pytest.fixture(scope="module")
def ray_cpus() -> Iterator[int]:
    yield connect(ClusterConfig()).cpus
    disconnect()


@pytest.mark.slow
def test_ray_gives_the_same_bytes_though_a_worker_dies(ray_cpus: int, tmp_path: Path, digits_data: DataConfig) -> None:
    pack(replace(digits_data, shards=str(tmp_path / "ray")), run=job.on_ray(ray_cpus))
    assert contents(tmp_path / "ray") == contents(Path(digits_data.shards))
    data = replace(digits_data, shards=str(tmp_path / "deadly"))
    deadly = replace(prepare(data, 0, Config().storage), source=DeadlyOnce(str(tmp_path / "marker")))
    packing.write(deadly, Config().storage, None, job.on_ray(ray_cpus))
    assert (tmp_path / "marker").exists()
    assert contents(tmp_path / "deadly") == contents(Path(digits_data.shards))
    assert {path.name for path in tmp_path.iterdir()} == {"ray", "deadly", "marker"}


@pytest.mark.slow
def test_an_error_of_a_worker_is_one_line(ray_cpus: int, tmp_path: Path, digits_data: DataConfig) -> None:
    data = replace(digits_data, shards=str(tmp_path / "shards"))
    torn = replace(prepare(data, 0, Config().storage), source=Torn())
    with pytest.raises(ConfigError, match=r"101 unreadable images, more than data.max_corrupt=100; the last: dig") as e:
        packing.write(torn, Config().storage, None, job.on_ray(ray_cpus))
    assert "\n" not in str(e.value)


@pytest.fixture(scope="module")
def many_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many as are packed on Ray."""
    folder = tmp_path_factory.mktemp("many")
    image = folder / "image.jpg"
    Image.effect_noise((200, 160), 50).save(image)
    content = image.read_bytes()
    image.unlink()
    return write_files(folder, {f"{CLASSES[i % 3]}/{i:05d}.jpg": content for i in range(job.FEW_IMAGES)})


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_packing_on_ray_goes_on_after_a_signal(
    launch: Runner, tmp_path: Path, many_images: Path, number: int
) -> None:
    shards = tmp_path / "shards"
    words = ("job=pack", "data=folder", f"data.source={many_images}", "data.classes=3", "data.samples_per_shard=200")
    process = launch.start(*words, f"data.shards={shards}")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "shards.packing" / ".packing").glob("*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.05)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert process.returncode == 130, output
        assert "interrupted; the same command goes on from the finished shards" in output
    time.sleep(2 * (number == signal.SIGKILL))  # Ray's workers notice that their driver is gone
    status, output = launch(*words, f"data.shards={shards}")
    assert status == 0, output
    assert "on Ray: " in output
    assert "of them found finished" in output
    config = DataConfig(
        name="folder", source=str(many_images), shards=str(tmp_path / "b"), classes=3, samples_per_shard=200
    )
    pack(config)
    assert contents(shards) == contents(tmp_path / "b")
