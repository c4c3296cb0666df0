"""What an experiment's probabilities take on disk, foretold; and the refusal where there is no room."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.evaluation import EvaluationConfig
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.evaluation.seal import SEAL
from platform.experiment import probabilities_room
from platform.experiment.folder import ExperimentFolder
from platform.experiment.plan import plan
from platform.experiment.plan_text import lines
from platform.experiment.probabilities_room import bytes_of, require_room, room_of

IMAGENET = 50_000


def experiment(folder: Path, members: int = 7, **evaluation: object) -> Experiment:
    settings = EvaluationConfig(views=[1, 10, 144], stored_dtype="float16", **evaluation)  # pyright: ignore[reportArgumentType]
    config = replace(
        Config(name="one", data=replace(DataConfig(), classes=1000)), evaluation=settings, output_dir=str(folder)
    )
    return Experiment(config, {f"m{number}": config for number in range(members)})


@pytest.mark.parametrize(
    ("keep", "of_each", "words"),
    [
        ("all", 50_000 * 144 * 1000 * 2, ", 101 GB of probabilities, 14.4 GB each"),
        ("means", 50_000 * 4 * 1000 * 2, ", 2.8 GB of probabilities, 0.4 GB each"),
        ("top", 50_000 * 4 * (22 * 2 + 20 * 2), ""),
    ],
)
def test_imagenet(tmp_path: Path, keep: str, of_each: int, words: str):
    found = room_of(experiment(tmp_path, keep=keep), IMAGENET)
    assert (found.of_member, found.lacking) == (of_each, 7 * of_each)
    assert found.text == words


def test_what_is_there_is_not_needed_again(tmp_path: Path):
    asked = experiment(tmp_path, members=3)
    folder, each = ExperimentFolder(asked.folder), bytes_of(asked.config, IMAGENET)
    done, killed = (folder.member(name) for name in ("m0", "m1"))
    for member in (done, killed):
        member.probabilities.mkdir(parents=True)
    done.weights.touch()
    (done.probabilities / SEAL).write_text('{"views": 144}')
    (killed.probabilities / "part-0000.npy").write_bytes(bytes(1000))
    assert room_of(asked, IMAGENET).lacking == 2 * each - 1000
    anew = Experiment(replace(asked.config, fresh=True), asked.members)
    assert room_of(anew, IMAGENET).lacking == 3 * each


def test_further_networks_of_a_training_take_as_much(tmp_path: Path):
    one = experiment(tmp_path).config
    more = replace(one, training=replace(one.training, also_average=["ema"]))
    assert bytes_of(more, IMAGENET) == 2 * bytes_of(one, IMAGENET)


def test_a_disk_without_room_is_refused_before_anything_starts(tmp_path: Path):
    """No disk has an exabyte."""
    require_room(experiment(tmp_path, keep="top"), 1000)
    with pytest.raises(ConfigError) as error:
        require_room(experiment(tmp_path / "not there yet"), 10**12)
    said = str(error.value)
    assert f"and {tmp_path} has " in said
    assert "2,016,000,000 GB more (evaluation.keep=all, float16)" in said
    assert "give evaluation.keep=means (8,000,000 GB a member), or another output_dir" in said
    with pytest.raises(ConfigError, match=r"give fewer evaluation\.views"):
        require_room(experiment(tmp_path, keep="means"), 10**13)


def test_the_plan_asks_for_room(digits_data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = Config(name="one", data=replace(digits_data, classes=10), output_dir=str(tmp_path))
    asked = Experiment(config, {"model": config})
    assert "of probabilities" not in "\n".join(lines(plan(asked)))
    monkeypatch.setattr(probabilities_room, "WORTH_SAYING", 10**6)
    assert "0.00207 GB of probabilities" in "\n".join(lines(plan(asked)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * 10**6))
    with pytest.raises(ConfigError, match=r"359 images x 144 views x 10 classes take 0\.00207 GB more"):
        plan(asked)
