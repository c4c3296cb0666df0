"""`job=distill` end to end: two networks teach one, which stands beside them; another teacher is another experiment."""

import contextlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from platform.data.index import read_index
from platform.evaluation.probabilities import MemberProbabilities
from platform.evaluation.seal import is_complete
from platform.evaluation.targets import Targets, are_whole
from platform.experiment.recorded import recorded_in
from platform.experiment.teacher import Teacher
from platform.export.description import Description
from platform.lanes.teaching import targets_of

pytestmark = pytest.mark.slow
PAIR = ["job=ensemble", "name=pair", "+ensemble.members={one:['order_seed=1'],two:['order_seed=2']}"]
STUDENT = ["job=distill", "name=student", "distill.teacher=pair", "distill.views=10", "model.width=0.1"]


@pytest.mark.long
def test_two_networks_teach_one(launch):
    runs = launch.folder / "runs"
    assert launch(*PAIR, "training.epochs=2")[0] == 0
    status, output = launch.here(*STUDENT, "job=check")
    assert status == 0, output
    assert "teacher     pair: asked once about 1438 images x 10 views, 29 kB; weight 0.9, temperature 2" in output
    status, output = launch(*STUDENT, "cluster.workers=2", "export.models=true")
    assert status == 0, output
    assert "asking the teacher, network 2 of 2: 1,438 images x 10" in " ".join(output.split())
    for said in ("teacher, 10 crops", "its best, 10 crops", "plain mean, 1 crop", "exact McNemar test"):
        assert said in output
    table = (runs / "student" / "table.md").read_text()
    assert "teacher, 10 crops | 2 | 20 |" in table

    config, index = recorded_in("student", runs).configs["model"], read_index(launch.shards)
    teacher = Teacher.of(config)
    assert config.distill.digest == teacher.digest()
    assert are_whole(runs / "student" / "teacher", targets_of(config, index))
    assert sorted(path.name for path in (runs / "student" / "teacher").iterdir()) == ["targets.json", "targets.npy"]
    _require_what_they_say(runs, index, config)

    parent, child = (launch.runs("student")[name] for name in ("parent", "model"))
    assert parent.data.metrics["method_val_teacher_cost"] == 20
    assert {"method_val_teacher_top1", "method_val_teachers_best_gain_p", "method_val_one_crop_cost"} <= set(
        parent.data.metrics
    )
    known = launch.runs("pair")["parent"].info.run_id
    for run in (parent, child):
        assert run.data.tags["distilled_from"] == f"pair, digest {teacher.digest()}"
        assert run.data.tags["distilled_from_run"] == known

    _require_its_model(launch, runs, index)
    assert "nothing to train" in launch(*STUDENT, "cluster.workers=2")[1]
    status, output = launch(*STUDENT, "job=evaluate", "cluster.workers=2")
    assert status == 0, output
    assert "asking the teacher" not in output
    assert "teacher, 10 crops" in output
    weights = runs / "pair" / "members" / "two" / "weights.pt"
    shutil.copy(runs / "pair" / "members" / "one" / "weights.pt", weights)  # another teacher
    status, output = launch.here(*STUDENT, "job=check")
    assert (status, output.count("\n")) == (2, 1)
    assert "student was run with another config (distill.digest:" in output
    assert launch.here(*STUDENT, "job=report")[0] == 0
    weights.unlink()
    status, output = launch.here(*STUDENT, "name=other", "job=check")
    assert (status, output.count("\n")) == (2, 1)
    assert "whose two is not trained; let it finish with the command that began it" in output


def _require_its_model(launch, runs, index) -> None:
    """It is exported like any other, alone, and says of validation images what the run has kept."""
    assert Description.read(runs / "student" / "model").members == ["model"]
    said = launch.folder / "said.jsonl"
    status, output = launch.here("job=predict", "predict.model=student", f"predict.images={launch.shards}",
                                 "predict.split=val", "predict.views=10", f"predict.output={said}")  # fmt: skip
    assert status == 0, output
    records = [json.loads(line) for line in said.read_text().splitlines()]
    means_NK = MemberProbabilities(runs / "student" / "members" / "model" / "probabilities").means(10).numpy()
    assert len(records) == index.split("val").samples == len(means_NK)
    np.testing.assert_allclose([row["probability"] for row in records], means_NK.max(1), atol=2e-3)


def _require_what_they_say(runs, index, config) -> None:
    """The rows of some images are the mean of both networks over ten crops, each made alone."""
    from platform.data.pixels import Pixels
    from platform.evaluation.predict import PredictConfig, predict
    from platform.models.build import build

    split, means = index.split("train"), []
    for member in Teacher.of(config).members:
        cfg = member.config
        network = build(cfg.model, 10, cfg.data.image_size, cfg.seed)
        network.load_state_dict(torch.load(member.weights, weights_only=True))
        pixels = Pixels(cfg.data, torch.device("cpu"))
        found = predict(network, split, range(700, 740), 10, PredictConfig.of(cfg), pixels, torch.float32, 1)
        means.append(np.concatenate([some.probs_NVK.mean(1).numpy() for some in found]))
    rows = Targets(runs / "student" / "teacher").rows(torch.arange(700, 740)).float().exp()
    np.testing.assert_allclose(rows.numpy(), np.mean(means, 0), rtol=0.02, atol=1e-4)


@pytest.mark.long
def test_a_worker_that_is_killed_while_the_teacher_is_asked_changes_nothing(launch):
    """In the middle of the second network: what the first has said is kept, the second is asked anew."""
    short = ["training.epochs=0.2", "cluster.workers=2"]
    assert launch(*PAIR, *short)[0] == 0
    student = [*STUDENT, *short]
    status, output = launch(*student)
    assert status == 0, output
    process = launch.start(*student, "name=cut")
    teacher = launch.folder / "runs" / "cut" / "teacher"
    while not (pid := _asked_in_the_middle(teacher / "1-two", launch.folder / "runs" / "cut" / "live.json")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    assert is_complete(teacher / "0-one", 1)
    assert not (teacher / "targets.npy").exists()
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    killed, again = launch.attempts("cut", "model")
    assert (killed.reached, again.from_step, again.reason) == (0, 0, "finished")
    assert output.count("asking the teacher, network 1 of 2") <= 1
    for file in ("targets.npy", "targets.json"):
        assert (teacher / file).read_bytes() == (launch.folder / "runs" / "student" / "teacher" / file).read_bytes()
    ours, theirs = (torch.load(launch.member(name, "model").weights, weights_only=True) for name in ("cut", "student"))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def _asked_in_the_middle(place: Path, live: Path) -> int:
    """The process of the second worker, if its part is begun and not done; 0: not now."""
    with contextlib.suppress(OSError, ValueError):
        said = np.load(place / "part-0001.npy", mmap_mode="r")[:, 0].any(1)
        if said.any() and not said.all() and not (place / "part-0001-labels.npz").exists():
            return next((each["pid"] for each in json.loads(live.read_text()) if each["rank"] == 1), 0)
    return 0


def test_a_teacher_that_is_not_there_is_one_line(launch):
    status, output = launch.here(*STUDENT)
    assert (status, output.count("\n")) == (2, 1)
    assert "distill.teacher: no experiment.json in pair" in output
    assert not (launch.folder / "runs").exists()
    status, output = launch.here("job=distill", "distill.teacher=pair", PAIR[2])
    assert status == 2
    assert "leave out ensemble.members" in output
