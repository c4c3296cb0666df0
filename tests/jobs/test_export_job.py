"""A finished training leaves models that give its images the probabilities it reported; missing ones are made later."""

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import LoggedModel
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

from platform.data.index import read_index
from platform.evaluation.probabilities import MemberProbabilities
from platform.export.classifier import Classifier
from platform.export.mlmodel import example_image

pytestmark = [pytest.mark.slow, pytest.mark.long]
TWO = "+ensemble.members={one:['order_seed=1'],two:['order_seed=2']}"


def test_a_run_leaves_models_that_say_what_it_reported_and_makes_missing_ones_later(launch, one_thread):
    words = ["job=ensemble", "name=pair", TWO, "training.epochs=0.3", "export.models=true"]
    status, output = launch(*words, "registry.name=digits")
    assert status == 0, output
    assert "registry  registered as digits version 1, champion (models:/digits@champion)" in output
    place = launch.folder / "runs" / "pair"
    assert f"model     {place / 'model'}" in output
    assert "leaked" not in output
    models = {name: launch.member("pair", name).path / "model" for name in ("one", "two")}
    _say_what_was_reported(launch, Classifier.load(place / "model"), models)

    scores = json.loads((place / "scores.json").read_text())["scores"]["ensemble"]["1"]
    sees = ["job=predict", "name=pair", f"predict.images={launch.shards}", "predict.split=val", "predict.views=1"]
    status, output = launch.here(*sees, TWO, "data.source=null", "data.shards=/nowhere")  # the images alone are needed
    assert status == 0, output
    assert f"top-1 {scores['top1'] / 359:.2%} ({scores['top1']} of 359, 95% CI " in output

    logged = _logged(launch)
    assert logged == {
        "pair": ("ensemble", "accuracy_val_top1", ["model.py", "one.pt2", "two.pt2"]),
        "pair-one": ("member", "accuracy_val_top1", ["model.py", "one.pt2", "one.safetensors"]),
        "pair-two": ("member", "accuracy_val_top1", ["model.py", "two.pt2", "two.safetensors"]),
    }
    _kept_once(launch, place)
    before = {name: (model / "MLmodel").read_bytes() for name, model in models.items()}
    shutil.rmtree(place / "model")
    shutil.rmtree(models["two"])
    status, output = launch.here(*words, "export.models=false")
    assert status == 0, output
    assert not models["two"].exists()
    status, output = launch.here(*words)
    assert status == 0, output
    assert "nothing to train" in output
    assert "exporting the model of two ..." in output
    assert "exporting the model of one" not in output
    assert "leaked" not in output
    assert (models["one"] / "MLmodel").read_bytes() == before["one"]
    _say_what_was_reported(launch, Classifier.load(place / "model"), models)
    assert not list(place.rglob("*.unfinished"))
    assert len(_models(launch)) == 5  # the two that were made anew are other models, with other bytes perhaps


def _kept_once(launch, place: Path) -> None:
    """MLflow's models are hard links of the run's, and a member's weights are not there a second time."""
    client, runs = MlflowClient(launch.uri), launch.runs("pair")
    assert "model" not in {file.path for file in client.list_artifacts(runs["one"].info.run_id)}
    for model in _models(launch):
        own = place if model.name == "pair" else place / "members" / model.name.removeprefix("pair-")
        location = Path(local_file_uri_to_path(model.artifact_location))
        for file in location.glob("artifacts/*.pt2"):
            assert file.samefile(own / "model" / "artifacts" / file.name)
        assert not (location / "MLmodel").samefile(own / "model" / "MLmodel")  # it has ids of MLflow's


def _models(launch) -> list[LoggedModel]:
    client = MlflowClient(launch.uri)
    return client.search_logged_models([launch.runs("pair")["parent"].info.experiment_id])


def _logged(launch) -> dict[str, tuple[str, str, list[str]]]:
    """Name -> kind, main metric, some files; of each that is ready, loads, and is its run's."""
    client, runs, found = MlflowClient(launch.uri), launch.runs("pair"), {}
    for model in _models(launch):
        run = runs[model.name.removeprefix("pair-") if model.name != "pair" else "parent"]
        assert model.status == "READY"
        assert model.source_run_id == run.info.run_id
        assert run.outputs
        assert [each.model_id for each in run.outputs.model_outputs] == [model.model_id]
        scores = {metric.key: metric.value for metric in model.metrics or []}
        assert scores["accuracy_val_top1"] == run.data.metrics["accuracy_val_top1"]
        assert {metric.dataset_name for metric in model.metrics or []} == {"digits val"}
        files = [each.path for each in client.list_logged_model_artifacts(model.model_id, "artifacts")]
        names = [Path(each).name for each in files if each.endswith((".pt2", ".safetensors"))]
        found[model.name] = (model.tags["kind"], "accuracy_val_top1", ["model.py", *sorted(names)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", launch.uri)
            loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
        assert loaded.metadata.model_id == model.model_id
        assert loaded.predict(pd.DataFrame({"image": [example_image(32)]}))["class"][0] in map(str, range(10))
    return found


def _say_what_was_reported(launch, ensemble: Classifier, models: dict[str, Path]) -> None:
    split, first = read_index(launch.shards).split("val"), range(5)
    images = [split.read(number).image for number in first]
    reported = [MemberProbabilities(launch.member("pair", name).probabilities).read(0, 5).mean(1) for name in models]
    found = ensemble.predict(images, views=10)
    np.testing.assert_allclose(found.members_MNK, np.stack(reported), atol=1e-5)
    np.testing.assert_allclose(found.probs_NK, np.mean(reported, 0), atol=1e-5)
    alone = Classifier.load(models["two"]).predict(images, views=10)
    np.testing.assert_allclose(alone.probs_NK, reported[1], atol=1e-5)
