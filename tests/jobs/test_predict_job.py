"""`job=predict` as it is typed: files of any kind, a model of known answers, another process that goes on."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pyarrow.parquet as parquet
import pytest

from platform.chaos.nodes import LocalCluster
from platform.checkout import ROOT
from platform.config.data import DataConfig, StorageConfig
from platform.data.index import Index
from platform.export.description import Description
from platform.prediction.images import find_images
from platform.prediction.model import Model
from platform.prediction.prediction import Prediction
from platform.prediction.task import Task
from tests.launching import launched
from tests.prediction.colours import CLASSES, picture, write_model

pytestmark = pytest.mark.slow  # exporting and loading programs takes seconds
IMAGES = 1100  # two blocks


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("colours") / "model")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for colour, kind in (("red", "JPEG"), ("green", "PNG"), ("blue", "WEBP")):
        (folder / colour).mkdir(parents=True)
        (folder / colour / f"1.{kind.lower()}").write_bytes(picture(colour, kind=kind))
    (folder / "red" / "wrong.jpg").write_bytes(picture("blue"))
    (folder / "torn.jpg").write_bytes(picture("red")[:300])
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for number in range(IMAGES):
        (folder / f"{number:05d}.jpg").write_bytes(picture(CLASSES[number % 3], size=(33, 33), noise=20 + number % 50))
    (folder / "00100.jpg").write_bytes(b"no image")
    return folder


def predicted(model: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return launched("job=predict", f"predict.model={model}", *map(str, words))


def test_a_folder_is_classified_and_what_is_no_image_is_said(model: Path, photographs: Path, tmp_path: Path):
    output, sheet = tmp_path / "rows.csv", tmp_path / "sheet.html"
    done = predicted(model, f"predict.images={photographs}", f"predict.output={output}", f"predict.sheet={sheet}")
    assert done.returncode == 0, done.stderr
    assert "6 images with" in done.stdout
    assert "not classified: notes.txt: no image format known here" in done.stdout
    assert "not classified: torn.jpg: " in done.stdout
    assert "classified 4 of 6 images, 2 could not be" in done.stdout
    assert (
        "top-1 75.00% (3 of 4, 95% CI 30.06 to 95.44%), top-5 100.00% (4 of 4, 95% CI 51.01 to 100.00%)" in done.stdout
    )
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    said = {"blue/1.webp": "blue", "green/1.png": "green", "red/1.jpeg": "red", "red/wrong.jpg": "blue"}
    assert [(row["image"], row["class"]) for row in rows if not row["error"]] == list(said.items())
    assert [row["disagreement"] for row in rows][:2] == ["0.0", "0.3333333"]  # `contrary` takes red for green
    assert rows[-3]["member_contrary"] == "green"
    assert sheet.read_text().count("<article>") == 6
    assert not output.with_name("rows.csv.parts").exists()


def test_a_few_are_shown_on_the_terminal(model: Path, photographs: Path):
    done = predicted(model, f"predict.images={photographs}/red/1.jpeg", "predict.views=10")
    assert done.returncode == 0, done.stderr
    assert "1 image with" in done.stdout
    assert "3 members, 10 views of each" in done.stdout
    assert "members: 2 of 3 agree; contrary: green" in done.stdout


def test_where_nothing_can_be_classified_the_status_is_1(model: Path, photographs: Path):
    done = predicted(model, f"predict.images=[{photographs}/torn.jpg,{photographs}/notes.txt]")
    assert done.returncode == 1
    assert "classified 0 of 2 images, 2 could not be" in done.stdout


def test_shards_are_scored_by_their_parts(model: Path, digits_data: DataConfig, digits: Index, tmp_path: Path):
    shards = ",".join(f"{digits_data.shards}/{name}-000000.tar" for name in ("val", "train"))
    words = [f"predict.images=[{shards}]", f"predict.output={tmp_path / 'x.jsonl'}"]
    done = predicted(model, *words)
    assert done.returncode == 0, done.stderr
    for split in ("val", "train"):
        samples = digits.split(split).sizes[0]
        assert re.search(rf"{split}.* of {samples} images the label is no class of the model", done.stdout)
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert len(lines) == sum(digits.split(split).sizes[0] for split in ("val", "train"))
    assert {line["split"] for line in lines} == {"train", "val"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict.top_k=9"], "predict.top_k is 9, more than the 3 classes of"),
        (["predict.ray_from=1"], "2 images are to be classified on Ray, whose results are files; give predict.output="),
    ],
)
def test_what_the_model_cannot_is_one_line(words: list[str], said: str, model: Path, photographs: Path):
    done = predicted(model, f"predict.images={photographs}/red", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_run_without_a_model_is_one_line(photographs: Path, tmp_path: Path):
    words = ["job=predict", f"predict.images={photographs}", f"output_dir={tmp_path}", "name=mine"]
    done = launched(*words)
    assert f"there is no run in {tmp_path}/mine; train it first with the same command" in done.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "experiment.json").write_text("{}")
    done = launched(*words)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "mine has no model yet: its run is not finished" in done.stderr


def started(folder: Path, model: Path, output: Path) -> Prediction:
    images = find_images([str(folder)], None, StorageConfig())
    about = Model(str(model), model, Description.read(model))
    return Prediction(Task(images, about, 1, 3, 512), str(output), images.storage)


def test_another_command_goes_on_from_finished_blocks_and_refuses_others(many: Path, model: Path, tmp_path: Path):
    output, whole = tmp_path / "x.parquet", tmp_path / "whole.parquet"
    words = [f"predict.images={many}", f"predict.output={output}"]
    first = started(many, model, output)
    first.unfinished = first.unfinished[:1]
    list(first.classify_here())
    block = output.with_name("x.parquet.parts") / "000000.parquet"
    assert block.exists()
    other = predicted(model, *words, "predict.views=10")
    assert other.returncode == 2
    assert "x.parquet.parts holds blocks of other work (views: 1 -> 10" in other.stderr
    done = predicted(model, *words)
    assert done.returncode == 0, done.stderr
    assert "1,024 of them are classified already; going on with the other 76" in done.stdout
    assert predicted(model, f"predict.images={many}", f"predict.output={whole}").returncode == 0
    assert parquet.read_table(output).equals(parquet.read_table(whole))
    assert parquet.read_table(output)["image"].to_pylist() == sorted(path.name for path in many.iterdir())


@pytest.mark.long
def test_ray_gives_the_same_rows_though_a_worker_is_killed(many: Path, model: Path, tmp_path: Path):
    here, there = tmp_path / "here.parquet", tmp_path / "there.parquet"
    assert predicted(model, f"predict.images={many}", f"predict.output={here}").returncode == 0
    words = [f"predict.model={model}", f"predict.images={many}", f"predict.output={there}", "predict.ray_from=1"]
    words += ["predict.views=10"]  # rows of other views differ
    process = command(*words)
    worker = _child(process, "MapWorker")
    os.kill(worker.pid, signal.SIGKILL)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert "on Ray: " in text
    assert "a worker has died" in text
    again = tmp_path / "again.parquet"
    assert predicted(model, f"predict.images={many}", f"predict.output={again}", "predict.views=10").returncode == 0
    assert parquet.read_table(there).equals(parquet.read_table(again))
    assert not parquet.read_table(there).equals(parquet.read_table(here))


@pytest.mark.long
def test_an_interrupted_command_goes_on_on_ray(many: Path, model: Path, tmp_path: Path):
    output = tmp_path / "x.csv"
    words = [f"predict.model={model}", f"predict.images={many}", f"predict.output={output}", "predict.ray_from=1"]
    process = command(*words)
    block = tmp_path / "x.csv.parts"
    while not list(block.glob("*.parquet")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert "interrupted; the same command goes on from the finished blocks" in text
    text, _ = (again := command(*words)).communicate(timeout=300)
    assert again.returncode == 0, text
    assert "of them are classified already" in text
    with open(output, newline="") as file:
        assert len(list(csv.DictReader(file))) == IMAGES


@pytest.mark.long
def test_a_node_that_is_lost_costs_no_row(many: Path, model: Path, tmp_path: Path):
    """Two workers on two nodes of three (the head has none); one of the nodes is killed in the middle."""
    there, here = tmp_path / "there.parquet", tmp_path / "here.parquet"
    images = ",".join(f"{many}/00{hundred}*" for hundred in range(5))
    words = [f"predict.model={model}", f"predict.images=[{images}]", "predict.views=144"]  # four blocks, two a worker
    with LocalCluster(tmp_path, nodes=3, cpus=1, head_cpus=0) as nodes:
        joined = [f"cluster.address={nodes.address}", f"predict.output={there}"]
        process = command(*words, *joined, environment=nodes.environment)
        while not list((tmp_path / "there.parquet.parts").glob("*.parquet")):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        nodes.kill_node(2)
        text, _ = process.communicate(timeout=400)
    assert process.returncode == 0, text
    assert "on Ray: 2 worker(s) with 1 CPU(s) each, 3 node(s)" in text
    assert "a worker has died" in text
    assert "Traceback" not in text
    assert predicted(model, *words[1:], f"predict.output={here}").returncode == 0
    assert parquet.read_table(there).equals(parquet.read_table(here))


def command(*words: str, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "platform.launch", "job=predict", *words],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip


def _child(process: "subprocess.Popen[str]", name: str) -> psutil.Process:
    """The first process of that name among those of Ray in the command's session, once it is there."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None
        for each in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # some live for a second only
                if name in each.name() or name in " ".join(each.cmdline()):
                    return each
        time.sleep(0.05)
    raise AssertionError(f"no {name} in {psutil.Process(process.pid).children(recursive=True)}")


def test_a_model_of_the_registry_is_fetched_and_removed_again(model: Path, photographs: Path, tmp_path: Path):
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(uri)
    client.create_registered_model("colours")
    client.create_model_version("colours", str(model))
    client.set_registered_model_alias("colours", "champion", "1")
    words = [f"tracking.uri={uri}", f"output_dir={tmp_path / 'runs'}", f"predict.images={photographs}/blue/1.webp"]
    done = predicted(Path("models:/colours@champion"), *words)
    assert done.returncode == 0, done.stderr
    assert "1 image with models:/colours@champion: 3 members" in done.stdout
    assert list((tmp_path / "runs").iterdir()) == []
    assert "MLFLOW_TRACKING_URI" not in os.environ
    done = predicted(Path("models:/colours@challenger"), *words)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "predict.model is models:/colours@challenger, which MLflow at tracking.uri=sqlite:///" in done.stderr
    assert "check its name and alias, and tracking.uri" in done.stderr
    client.create_model_version("colours", str(tmp_path / "moved away"))
    done = predicted(Path("models:/colours/2"), *words)
    assert done.returncode == 2
    assert "its files are not where it looks for them; job=check says where" in done.stderr
