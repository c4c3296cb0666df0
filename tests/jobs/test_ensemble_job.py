"""The ensemble end to end on a local Ray: lanes, a failing member, the same command again, evaluation again."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from platform.config.models import GoogLeNetConfig
from platform.data.index import read_index
from platform.experiment.folder import ExperimentFolder
from platform.models.build import build

pytestmark = pytest.mark.slow

THREE = "+ensemble.members={one:['order_seed=1'],wild:['optim.lr=1e9'],two:['order_seed=2','sampling=photometric']}"


def test_one_failing_member_does_not_lose_the_others_and_nothing_is_done_twice(launch, tmp_path: Path):
    words = ["job=ensemble", "name=three", THREE]
    status, output = launch(*words)
    assert status == 1, output
    assert "member wild failed: NonFiniteLoss: the loss is not finite at step" in output
    assert "2 of 3 members finished" in output
    assert launch.state("three", "one").state == launch.state("three", "two").state == "finished"
    runs = launch.runs("three")
    assert {name: run.info.status for name, run in runs.items()} == {
        "one": "FINISHED", "two": "FINISHED", "wild": "FAILED", "parent": "FAILED",
    }  # fmt: skip
    for name in ("one", "two", "wild"):
        assert runs[name].data.tags["mlflow.parentRunId"] == runs["parent"].info.run_id
    assert runs["two"].data.params["sampling.name"] == "photometric"
    assert runs["one"].data.metrics["progress"] == 1.0
    assert 0 <= runs["one"].data.metrics["accuracy_val_top1_10_views"] <= 1

    table = list(csv.DictReader((tmp_path / "runs" / "three" / "table.csv").open()))
    assert [(row["models"], row["crops"], row["cost"]) for row in table[:4]] == [
        ("1", "1", "1"), ("1", "10", "10"), ("2", "1", "2"), ("2", "10", "20"),
    ]  # fmt: skip

    page = tmp_path / "runs" / "three" / "report.html"
    assert f"report    {page}" in output
    assert "the report lacks a part" not in output
    assert "Without wild, which is not finished: NonFiniteLoss" in page.read_text()
    client = MlflowClient(launch.uri)
    artifacts = {file.path for file in client.list_artifacts(runs["parent"].info.run_id)}
    assert {"report.html", "table.md", "pictures", "summary"} <= artifacts
    told = {file.path for file in client.list_artifacts(runs["parent"].info.run_id, "summary")}
    assert told == {"summary/summary.md", "summary/summary.csv", "summary/network.svg"}
    params = runs["one"].data.params
    network = build(GoogLeNetConfig(width=float(params["model.width"])), 10, int(params["data.image_size"]), seed=0)
    parameters = sum(each.numel() for each in network.parameters())
    assert {run.data.metrics["parameters"] for name, run in runs.items() if name != "parent"} == {parameters}

    written = {name: launch.member("three", name).weights.stat().st_mtime_ns for name in ("one", "two")}
    status, output = launch(*words)
    assert status == 1
    assert "1 of 3 members in 1 lane(s)" in output
    assert written == {name: launch.member("three", name).weights.stat().st_mtime_ns for name in ("one", "two")}

    status, output = launch.here(*words, "optim.momentum=0.5")
    assert status == 2
    assert "optim.momentum: 0.9 -> 0.5" in output


def test_finished_runs_show_their_table_at_once_and_evaluate_again(launch, tmp_path: Path):
    words = ["job=train", "name=single", "training.epochs=0.3", "evaluation.views=[1]"]
    words += ["schedule=cosine_restarts", "schedule.cycles=2", "training.snapshots=true", "training.also_average=[ema]"]
    status, first = launch(*words)
    assert status == 0, first
    assert "359 validation images" in first
    assert " 10 " not in _table(first)
    folder = ExperimentFolder(launch.folder / "runs" / "single")
    scored = folder.scores("val").stat().st_mtime_ns  # when the member had ended
    status, second = launch.here(*words)
    assert status == 0
    assert "nothing to train" in second
    assert "scoring" not in first + second, "they are read once, beside the training"
    assert folder.scores("val").stat().st_mtime_ns == scored
    assert _table(first) == _table(second)

    record = folder.record()  # as a launcher leaves it that dies before the end
    record.whole = False
    folder.write(record)
    (folder.path / "table.csv").unlink()
    status, third = launch.here(*words)
    assert status == 0, third
    assert (folder.path / "table.csv").exists()
    assert folder.record().whole

    more = ["evaluation.views=[1,10]", "evaluation.dense=[32,48]", "evaluation.blends=true"]
    status, again = launch(*words, "job=evaluate", *more)
    assert status == 0, again
    assert "whole images, 2 scales" in again
    assert {f"{name}.pt" for name in ("ema", "cycle01", "cycle02")} == {
        file.name for file in folder.member("model").networks.iterdir()
    }
    for output in (first, again):
        assert "snapshots of each cycle" in output
        assert "exponential average" in output
    assert "plain mean, tempered" in again
    run = launch.runs("single")["parent"]
    assert run.data.metrics["method_val_whole_images_cost"] == pytest.approx(1 + 48**2 / 32**2)  # squares, no mirror
    assert " 10 " in again
    assert _table(first).splitlines()[2] in again  # the single view's numbers are as before
    status, refused = launch.here("job=evaluate", "name=never_trained")
    assert status == 2
    assert "no trained weights of model" in refused
    status, refused = launch.here(*words, "job=evaluate", "fresh=true")
    assert status == 2
    assert "fresh=true trains anew, and job=evaluate trains nothing" in refused
    _its_report_is_written_anew(launch, words, tmp_path / "runs" / "single" / "report.html")


def _its_report_is_written_anew(launch, words: list[str], page: Path) -> None:
    page.unlink()
    status, output = launch.here(*words, "job=report")
    assert (status, output.splitlines()[-1]) == (0, f"report    {page}")
    assert "Top-1 error " in page.read_text()
    status, refused = launch.here(*words, "job=report", "optim.lr=0.5")
    assert status == 2
    assert "was run with another config (optim.lr: " in refused
    status, refused = launch.here("job=report", "name=never_trained")
    assert status == 2
    assert "has no experiment; run it first" in refused


@pytest.mark.long
def test_the_test_part_is_evaluated_apart(launch, tmp_path: Path):
    shards = f"data.shards={_with_a_test_part(Path(launch.shards), tmp_path / 'parts')}"
    words = [shards, "job=train", "name=single", "training.epochs=0.3", "evaluation.views=[1]"]
    status, first = launch(*words)
    assert status == 0, first
    assert "359 validation images" in first
    _test_part_is_evaluated_apart(launch, *words)


def _with_a_test_part(shards: Path, folder: Path) -> Path:
    """The same shards, the last of the training part being the test part."""
    shutil.copytree(shards, folder)
    index = json.loads((folder / "index.json").read_text())
    last = [entry for entry in index["shardlist"] if entry["split"] == "train"][-1]
    last["split"] = "test"
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def _test_part_is_evaluated_apart(launch, *words: str) -> None:
    """What validation gave stays as it is, on disk and in MLflow."""
    validated, folder = launch.runs("single")["model"].data.metrics, launch.folder / "runs" / "single"
    before = _files(folder)
    status, tested = launch(*words, "job=evaluate", "evaluation.split=test")
    assert status == 0, tested
    samples = read_index(launch.folder / "parts").split("test").samples
    assert f"1 model(s), {samples} test images" in tested
    assert "validation images" not in _table(tested)
    assert _files(folder) == before
    assert {"scores-test.json", "table-test.csv"} <= {path.name for path in folder.iterdir()}
    data = launch.runs("single")["model"].data
    metrics = data.metrics
    assert "evaluation.split" not in data.params  # which nobody could change any more
    of_val = [key for key in validated if key.startswith(("val/", "accuracy_val", "loss_val"))]
    assert "accuracy_val_top1" in of_val
    assert {key: metrics[key] for key in of_val} == {key: validated[key] for key in of_val}
    (right,) = [row["top1_error"] for row in csv.DictReader((folder / "table-test.csv").open())][:1]
    assert metrics["accuracy_test_top1_1_view"] == pytest.approx(1 - float(right))
    status, again = launch.here(*words)
    assert "nothing to train" in again
    assert "359 validation images" in again
    status, refused = launch.here(*words, "evaluation.split=test")
    assert status == 2
    assert "evaluation.split is test, which job=train must not choose by" in refused


def _files(folder: Path) -> dict[str, bytes]:
    """Of the results of the validation part."""
    found = [*folder.glob("members/model/probabilities/*"), folder / "scores.json", folder / "table.csv"]
    return {path.name: path.read_bytes() for path in found}


def _table(output: str) -> str:
    return (
        output[output.index("models  crops") : output.index("results ")]
        .partition("member(s) in")[0]
        .rstrip("0123456789 \n")
    )
