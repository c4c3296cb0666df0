"""`data.also` end to end: two sets in every batch by their weights, killed on one worker, ended by two."""

import json
import shutil
import time

import pytest

from platform.config.data import AlsoConfig
from platform.data import samplelog
from platform.data.sets import read_sets, training_split
from platform.data.training_order import training_order
from platform.experiment.recorded import recorded_in

pytestmark = pytest.mark.slow
WITHIN_S = 300


@pytest.mark.long
def test_a_blend_is_the_same_whoever_trains_it(launch):
    more = launch.folder / "more"
    status, output = launch.here("job=pack", f"data.shards={more}", "data.val_fraction=0.6", "seed=3")
    assert status == 0, output
    blend = [f"data.also.more.shards={more}", "data.also.more.weight=0.3", "loader.log_samples=true"]
    status, output = launch.here("job=check", *blend)
    assert status == 0, output
    assert "blend       30% more: 719 training images in" in output
    status, output = launch("job=train", "name=whole", *blend, "cluster.workers=2")
    assert status == 0, output

    cut = ["job=train", "name=cut", *blend, "checkpoint.every_steps=5"]
    process = launch.start(*cut)
    checkpoints, until = launch.member("cut", "model").checkpoints, time.monotonic() + WITHIN_S
    while not list(checkpoints.glob("*")) and time.monotonic() < until:
        time.sleep(0.1)
    process.kill()
    process.communicate()
    elsewhere = launch.folder / "elsewhere"
    shutil.copytree(more, elsewhere)  # the shards have moved: what they hold counts
    moved = [each.replace(f"shards={more}", f"shards={elsewhere}") for each in cut]
    status, output = launch.here(*moved, "job=check", "data.also.more.weight=0.2")
    assert (status, output.count("\n")) == (2, 1)
    assert "cut was run with another config (data.also.more.weight: 0.3 -> 0.2)" in output
    status, output = launch(*moved, "cluster.workers=2")
    assert status == 0, output

    config = recorded_in("whole", launch.folder / "runs").configs["model"]
    assert config.data.others == {"more": AlsoConfig(str(more), 0.3)}
    index = read_sets(config.data)
    order = training_order(config, training_split(index, config.data))
    expected = {step: sorted(order.batch(step).tolist()) for step in range(order.steps_per_epoch)}
    for name in ("whole", "cut"):
        assert samplelog.read(launch.member(name, "model").path) == expected
    seen = [sample for batch in expected.values() for sample in batch]
    first = index.split("train").samples
    assert sum(sample >= first for sample in seen) == round(0.3 * len(seen))
    assert len(samplelog._starts(launch.member("cut", "model").path)) > 1

    digest = index.also["more"].split("train").digest
    for name in ("whole", "cut"):
        run = launch.runs(name)["model"]
        inputs = {each.dataset.name: each.dataset for each in run.inputs.dataset_inputs}
        assert inputs["more train"].digest == digest
        weights = {key: json.loads(each.profile).get("weight") for key, each in inputs.items()}
        assert weights == {"digits train": 0.7, "more train": 0.3, "digits val": None}
        assert run.data.tags["data"].endswith(f"also.more {digest}")
    assert "30% of the training from more" in (launch.folder / "runs" / "whole" / "report.html").read_text()
