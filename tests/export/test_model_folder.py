"""A model folder loads with MLflow and without it, elsewhere, and is whole or not there."""

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from platform.config.data import DataConfig
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.data.index import Index
from platform.experiment.folder import ExperimentFolder
from platform.experiment.member_folder import MemberFolder
from platform.export import ExportError
from platform.export import folder as folders
from platform.export.classifier import Classifier
from platform.export.description import Description
from platform.export.experiment import export_experiment
from platform.export.folder import export_ensemble, export_member, member_description
from platform.files import remove_unfinished
from platform.models.initial import Weights
from platform.prediction.model import open_model
from platform.weights.sources import read as read_weights
from tests.export.exported import CLASSES, network

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]  # exporting takes seconds

ELSEWHERE = """
import json, sys
place, files = sys.argv[1], [open(path, "rb").read() for path in sys.argv[2:]]
sys.path.insert(0, place + "/code")
from image_classifier import Classifier
classifier = Classifier.load(place)
plain = [classifier.classes[best] for best in classifier.predict(files, views=1).probs_NK.argmax(1)]
without = "mlflow" not in sys.modules
sys.path.pop(0)
import mlflow, pandas
model = mlflow.pyfunc.load_model(place)
found = model.predict(pandas.DataFrame({"image": files}), params={"views": 1, "top_k": 3})
signature = model.metadata.signature
print(json.dumps({
    "rows": found.to_dict("records"), "plain": plain, "without": without,
    "inputs": signature.inputs.to_dict(), "params": [each.name for each in signature.params],
    "example": len(model.input_example),
    "ours": sorted(name for name in sys.modules if name.startswith("platform.")),
}))
"""


@pytest.fixture(scope="module")
def config(digits_data: DataConfig) -> Config:
    found = Config(data=digits_data)
    found.model.width = 0.25  # pyright: ignore[reportAttributeAccessIssue]
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, config: Config, digits: Index) -> Path:
    """Two members with their models, and the ensemble's, in runs/pair."""
    place = tmp_path_factory.mktemp("runs") / "pair"
    for seed, name in enumerate(("m1", "m2")):
        member = trained(place, name, seed)
        export_member(name, config, member, digits)
    export_ensemble({name: place / "members" / name / "model" for name in ("m1", "m2")}, place / "model")
    return place


def trained(place: Path, name: str, seed: int) -> MemberFolder:
    member = MemberFolder(place / "members" / name)
    member.path.mkdir(parents=True)
    torch.save(network(seed).state_dict(), member.weights)
    return member


@pytest.fixture
def image_files(tmp_path: Path, small_jpegs: list[bytes]) -> list[Path]:
    paths = [tmp_path / "one.jpg", tmp_path / "bad.jpg"]
    paths[0].write_bytes(small_jpegs[0])
    paths[1].write_bytes(b"no image")
    return paths


def elsewhere(model: Path, files: list[Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code on a copy of the model, in a process that does not find this checkout."""
    shutil.copytree(model, folder / "copied")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    command = [sys.executable, "-I", "-c", ELSEWHERE, str(folder / "copied"), *map(str, files)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_mlflow_and_plain_python_load_the_ensemble_elsewhere_without_pickle(
    runs: Path, tmp_path: Path, image_files: list[Path], small_jpegs: list[bytes]
) -> None:
    done = elsewhere(runs / "model", image_files, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    expected = Classifier.load(runs / "model").predict([small_jpegs[0]], views=1)
    row, bad = found["rows"]
    best = expected.probs_NK[0].argsort()[::-1][:3]
    assert row["classes"] == [CLASSES[each] for each in best]
    assert (row["class"], row["error"]) == (row["classes"][0], None)
    np.testing.assert_allclose(row["probabilities"], expected.probs_NK[0][best], atol=1e-6)
    assert (found["plain"][0], found["without"]) == (row["class"], True)
    assert row["opinions"] == [CLASSES[each] for each in expected.members_MNK[:, 0].argmax(1)]
    assert row["disagreement"] == expected.disagreement_N[0]
    assert bad["class"] is None
    assert bad["error"] == "no image format known here"
    assert found["inputs"] == [{"type": "binary", "name": "image", "required": True}]
    assert found["params"] == ["views", "top_k"]
    assert found["example"] == 1
    assert found["ours"] == []


def test_without_any_image_the_reason_is_mlflows_error_of_a_client(runs: Path) -> None:
    import mlflow
    import pandas as pd
    from mlflow.exceptions import MlflowException

    model = mlflow.pyfunc.load_model(str(runs / "members" / "m1" / "model"))
    with pytest.raises(MlflowException, match="no image can be decoded: no image format known here") as error:
        model.predict(pd.DataFrame({"image": [b"no image"]}))
    assert error.value.get_http_status_code() == 400
    with pytest.raises(MlflowException, match="views is 2; give 1, 10, 12, 144") as error:
        model.predict(pd.DataFrame({"image": [b"no image"]}), params={"views": 2})
    assert error.value.get_http_status_code() == 400


def test_mlflows_own_files_of_the_same_model_say_the_same(runs: Path, tmp_path: Path) -> None:
    """Whoever updates MLflow sees here what else it writes."""
    import mlflow
    from mlflow.models import Model

    ours = runs / "model"
    signature = Model.load(ours).signature
    mlflow.pyfunc.save_model(
        tmp_path / "theirs", python_model=str(ours / "model.py"), artifacts={"classifier": str(ours / "artifacts")},
        signature=signature, pip_requirements=str(ours / "requirements.txt"), metadata={"of": "ours"},
    )  # fmt: skip
    found, theirs = (yaml.safe_load((each / "MLmodel").read_text()) for each in (ours, tmp_path / "theirs"))
    examples, flavor, their_flavor = (
        found.pop("saved_input_example_info"),
        found["flavors"]["python_function"],
        theirs["flavors"]["python_function"],
    )
    assert examples["artifact_path"] == "input_example.json"
    assert found.keys() == theirs.keys()
    assert flavor.keys() == their_flavor.keys()
    same = [key for key in flavor if key not in ("artifacts", "model_code_path")]
    assert {key: flavor[key] for key in same} == {key: their_flavor[key] for key in same}
    assert {json.dumps(json.loads(found["signature"][key])) for key in found["signature"]} == {
        json.dumps(json.loads(theirs["signature"][key])) for key in theirs["signature"]
    }
    assert found["metadata"]["experiment"] == "pair"


def test_what_is_there_is_not_made_again_until_it_should_say_something_else(
    runs: Path, config: Config, digits: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, place = MemberFolder(runs / "members" / "m1"), runs / "members" / "m1" / "model"
    before = (place / "MLmodel").stat().st_mtime_ns
    fewer_views = replace(config, evaluation=replace(config.evaluation, views=[1]))
    with monkeypatch.context() as patch:
        patch.setattr("platform.models.build.build", None)
        for settings in (config, fewer_views):  # as a later job=evaluate may have it
            assert export_member("m1", settings, member, digits) == place
    assert (place / "MLmodel").stat().st_mtime_ns == before
    ensemble = (runs / "model" / "MLmodel").stat().st_mtime_ns
    export_ensemble({name: runs / "members" / name / "model" for name in ("m1", "m2")}, runs / "model")
    assert (runs / "model" / "MLmodel").stat().st_mtime_ns == ensemble


@pytest.mark.parametrize(("evaluated", "usual"), [([1], 1), ([1, 10], 10), ([1, 10, 144], 10), ([144], 10)])
def test_as_many_views_are_usual_as_were_evaluated_but_not_144(
    runs: Path, config: Config, digits: Index, evaluated: list[int], usual: int
) -> None:
    settings = replace(config, evaluation=replace(config.evaluation, views=evaluated))
    found = member_description("m1", settings, MemberFolder(runs / "members" / "m1"), digits)
    assert found.views == usual
    assert found.metadata()["views"] == f"{usual} of each image, unless the parameter views says 1, 10, 12 or 144"


def test_the_ensemble_shares_its_members_files(runs: Path) -> None:
    one, other = (place / "artifacts" / "m1.pt2" for place in (runs / "model", runs / "members" / "m1" / "model"))
    assert one.samefile(other)
    found = Description.read(runs / "model")
    assert (found.members, found.experiment, found.views, found.named) == (["m1", "m2"], "pair", 10, True)
    assert found.weights.keys() == found.config_digests.keys() == {"m1", "m2"}


def test_further_networks_of_a_training_have_models_alone_and_together(
    tmp_path: Path, config: Config, digits: Index, small_jpegs: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Those of a kind together are the table's row: the mean of all members' networks of that kind."""
    folder, seeds = ExperimentFolder(tmp_path / "runs" / "pair"), {"ema": 10, "cycle01": 20, "cycle02": 30}
    for seed, name in enumerate(("m1", "m2")):
        networks = trained(folder.path, name, seed).networks
        networks.mkdir()
        for kept, first in seeds.items():
            torch.save(network(first + seed).state_dict(), networks / f"{kept}.pt")
    members = {"m1": config, "m2": config}
    assert export_experiment(members, folder, digits, lambda text: None) == ["m1", "m2"]

    def said_by(place: Path) -> np.ndarray:
        return Classifier.load(place).predict(small_jpegs, views=1).probs_NK

    alone = {name: said_by(folder.member("m1").networks / name) for name in seeds}
    assert len({probs.tobytes() for probs in alone.values()}) == 3
    others = {name: said_by(folder.member("m2").networks / name) for name in seeds}
    np.testing.assert_allclose(said_by(folder.networks / "ema"), (alone["ema"] + others["ema"]) / 2, atol=1e-6)
    cycles = [probs[name] for probs in (alone, others) for name in ("cycle01", "cycle02")]
    np.testing.assert_allclose(said_by(folder.networks / "snapshots"), sum(cycles) / 4, atol=1e-6)
    found = Description.read(folder.networks / "snapshots")
    assert found.members == ["m1-cycle01", "m1-cycle02", "m2-cycle01", "m2-cycle02"]
    assert Description.read(folder.path / "model").members == ["m1", "m2"]

    cfg = replace(config, name="new", output_dir=str(folder.path.parent))
    experiment, expected = Experiment(cfg, {"model": cfg}), Weights(network(10).state_dict()).digest()
    with open_model("predict.model", "pair/networks/snapshots", experiment) as model:
        assert model.description == found
    for given in ("networks/ema", "networks/ema.pt"):
        init = str(folder.member("m1").path / given)
        assert read_weights(init, cfg.model, experiment).digest() == expected

    shutil.rmtree(folder.networks)
    shutil.rmtree(folder.member("m1").networks / "cycle01")
    (folder.member("m1").networks / "cycle01.pt").write_bytes(b"torn")
    export_experiment(members, folder, digits, lambda text: None)
    assert "the model of m1's cycle01 is not exported" in caplog.text
    assert [place.name for place in folder.networks.iterdir()] == ["ema"]  # no mean of three of four


def test_other_weights_replace_the_model_and_a_failure_leaves_the_old_one(
    tmp_path: Path, config: Config, digits: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = trained(tmp_path / "one", "m", 1)
    place = export_member("m", config, member, digits)
    old = Description.read(place)
    torch.save(network(2).state_dict(), member.weights)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folders, "write_mlmodel", full)
        with pytest.raises(OSError, match="No space left"):
            export_member("m", config, member, digits)
    assert Description.read(place) == old
    assert [path.name for path in member.path.iterdir() if path.is_dir()] == ["model"]
    assert Description.read(export_member("m", config, member, digits)).weights != old.weights
    assert [path.name for path in member.path.iterdir() if path.is_dir()] == ["model"]


def test_unusable_weights_are_an_error_and_no_model(tmp_path: Path, config: Config, digits: Index) -> None:
    member = trained(tmp_path / "one", "m", 1)
    member.weights.write_bytes(b"torn")
    with pytest.raises(ExportError, match=r"weights\.pt is unusable"):
        export_member("m", config, member, digits)
    assert not (member.path / "model").exists()


def test_members_that_take_other_images_are_no_ensemble(runs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(runs / "members" / "m2" / "model", other)
    path = other / "artifacts" / "classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mean": [0.1, 0.2, 0.3]}))
    with pytest.raises(ExportError, match="m2 and m1 differ in classes, image size, mean or std"):
        export_ensemble({"m1": runs / "members" / "m1" / "model", "m2": other}, tmp_path / "model")


def test_half_a_model_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    (tmp_path / "model.123.unfinished" / "artifacts").mkdir(parents=True)
    (tmp_path / "model" / "artifacts").mkdir(parents=True)
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_example_is_an_image(runs: Path) -> None:
    import base64

    from PIL import Image

    example = json.loads((runs / "model" / "input_example.json").read_text())
    assert Image.open(io.BytesIO(base64.b64decode(example["inputs"]["data"][0][0]))).size == (32, 32)
