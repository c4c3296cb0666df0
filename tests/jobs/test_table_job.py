"""A table of rows on a local Ray: trained with two seeds each, compared, told; and no classifier as a whole."""

import csv
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from platform.export.folder import MODEL
from tests.jobs.conftest import Runner

ROWS = "+ensemble.members={slow:['optim.lr=0.001'],batch_norm:['model=googlenet_bn']}"
MEMBERS = ["slow", "slow-seed1", "batch_norm", "batch_norm-seed1"]


@pytest.mark.long
def test_rows_are_trained_over_seeds_and_compared_and_the_table_is_no_classifier(launch: Runner):
    words = [
        "job=ensemble",
        "name=rows",
        ROWS,
        "table.against=first",
        "table.seeds=2",
        "evaluation.views=[1]",
        "training.epochs=0.1",
    ]
    words += ["+table.paper={batch_norm:[25.2,7.8]}", "export.models=true"]
    status, output = launch(*words)
    assert status == 0, output
    folder = launch.folder / "runs" / "rows"
    assert {path.name for path in (folder / "members").iterdir()} == set(MEMBERS)
    told = _table_says_what_was_scored(launch, folder, output)
    _mlflow_has_the_rows(launch, told)
    assert not (folder / MODEL).exists()
    assert (folder / "members" / "batch_norm-seed1" / MODEL / "MLmodel").exists()

    _gains_a_seed(launch, words, folder)

    register = ("job=register", f"register.run={folder}", "registry.name=digits", f"tracking.uri={launch.uri}")
    status, refused = launch.bare(*register)
    assert status == 2
    assert "is a table whose rows are compared, and no ensemble; give " in refused
    rows = f"compare.runs=[{folder}/slow,{folder}/batch_norm]"
    status, compared = launch.bare("job=compare", rows, f"output_dir={launch.folder / 'runs'}")
    assert status == 0, compared
    assert "359 validation images" in compared
    assert "batch_norm" in compared.splitlines()[0]
    status, refused = launch.bare("job=compare", f"compare.runs=[{folder},{folder}/slow]")
    assert status == 2
    assert "is a table whose rows are compared" in refused


def _gains_a_seed(launch: Runner, words: list[str], folder: Path) -> None:
    """What was trained stays as it was, in the same runs."""
    before, parent = launch.runs("rows"), launch.runs("rows")["parent"].info.run_id
    weights = {name: (folder / "members" / name / "weights.pt").stat().st_mtime_ns for name in MEMBERS}
    status, output = launch(*(word.replace("seeds=2", "seeds=3") for word in words))
    assert status == 0, output
    assert "2 of 6 members" in output
    assert {name: (folder / "members" / name / "weights.pt").stat().st_mtime_ns for name in MEMBERS} == weights
    runs = launch.runs("rows")
    assert runs["parent"].info.run_id == parent
    assert runs["parent"].info.status == "FINISHED"
    assert {name: runs[name].info.run_id for name in MEMBERS} == {name: before[name].info.run_id for name in MEMBERS}
    assert runs["slow-seed2"].data.params["seed"] == "2"
    table = {row["row"]: row for row in csv.DictReader((folder / "table.csv").open())}
    for name, row in table.items():
        members = (name, f"{name}-seed1", f"{name}-seed2")
        errors = [1 - runs[each].data.metrics["accuracy_val_top1"] for each in members]
        assert float(row["top1_error"]) == pytest.approx(sum(errors) / 3)
        assert row["seeds"] == "3"


def _table_says_what_was_scored(launch: Runner, folder: Path, output: str) -> dict[str, dict[str, str]]:
    """Its rows are means over the seeds."""
    table = {row["row"]: row for row in csv.DictReader((folder / "table.csv").open())}
    assert list(table) == ["slow", "batch_norm"]
    for name, row in table.items():
        runs = launch.runs("rows")
        errors = [1 - runs[each].data.metrics["accuracy_val_top1"] for each in (name, f"{name}-seed1")]
        assert float(row["top1_error"]) == pytest.approx(sum(errors) / 2)
        assert row["seeds"] == "2"
    assert table["batch_norm"]["against"] == "slow"
    assert float(table["batch_norm"]["paper_top1_error"]) == pytest.approx(0.252)
    better = float(table["slow"]["top1_error"]) - float(table["batch_norm"]["top1_error"])
    assert float(table["batch_norm"]["difference"]) == pytest.approx(better)
    text = (folder / "table.md").read_text()
    verdict = text.splitlines()[0]
    assert "batch_norm is " in verdict or "cannot tell apart batch_norm and slow" in verdict
    assert "batch_norm" in output
    return table


def _mlflow_has_the_rows(launch: Runner, table: dict[str, dict[str, str]]) -> None:
    runs = launch.runs("rows")
    parent = runs["parent"]
    assert parent.data.tags["kind"] == "table"
    assert {runs[name].data.tags["kind"] for name in MEMBERS} == {"member"}
    assert runs["slow-seed1"].data.params["seed"] == "1"
    metrics = parent.data.metrics
    assert "accuracy_val_top1" not in metrics
    for name, row in table.items():
        assert metrics[f"accuracy_val_top1_{name}"] == pytest.approx(1 - float(row["top1_error"]))
    better = metrics["comparison_val_better_batch_norm"]
    assert better == pytest.approx(float(table["batch_norm"]["difference"]))
    assert "comparison_val_better_slow" not in metrics
    artifacts = {file.path for file in MlflowClient(launch.uri).list_artifacts(parent.info.run_id)}
    assert {"table.md", "table.csv", "report.html"} <= artifacts
