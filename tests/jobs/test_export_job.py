"""A finished training leaves models that give its images the probabilities it reported; missing ones are made later."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from platform.data.index import read_index
from platform.evaluation.probabilities import MemberProbabilities
from platform.export.classifier import Classifier

pytestmark = pytest.mark.slow
TWO = "+ensemble.members={one:['order_seed=1'],two:['order_seed=2']}"


def test_a_run_leaves_models_that_say_what_it_reported_and_makes_missing_ones_later(launch, one_thread):
    words = ["job=ensemble", "name=pair", TWO, "training.epochs=0.3", "export.models=true"]
    status, output = launch(*words)
    assert status == 0, output
    place = launch.folder / "runs" / "pair"
    assert f"model     {place / 'model'}" in output
    assert "leaked" not in output
    models = {name: launch.member("pair", name).path / "model" for name in ("one", "two")}
    _say_what_was_reported(launch, Classifier.load(place / "model"), models)

    scores = json.loads((place / "scores.json").read_text())["scores"]["ensemble"]["1"]
    sees = ["job=predict", "name=pair", f"predict.images={launch.shards}", "predict.split=val", "predict.views=1"]
    status, output = launch.here(*sees, TWO, "data.source=null", "data.shards=/nowhere")  # the images alone are needed
    assert status == 0, output
    assert f"top-1 {scores['top1'] / 359:.2%} ({scores['top1']} of 359)" in output

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


def _say_what_was_reported(launch, ensemble: Classifier, models: dict[str, Path]) -> None:
    split, first = read_index(launch.shards).split("val"), range(5)
    images = [split.read(number).image for number in first]
    reported = [MemberProbabilities(launch.member("pair", name).probabilities).read(0, 5).mean(1) for name in models]
    found = ensemble.predict(images, views=10)
    np.testing.assert_allclose(found.members_MNK, np.stack(reported), atol=1e-5)
    np.testing.assert_allclose(found.probs_NK, np.mean(reported, 0), atol=1e-5)
    alone = Classifier.load(models["two"]).predict(images, views=10)
    np.testing.assert_allclose(alone.probs_NK, reported[1], atol=1e-5)
