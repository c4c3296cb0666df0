"""The baseline of `job=bench bench.parts=[sweep]`: trials as Ray's documentation shows them, a Ray Train job in each.

Argument: a JSON object, see `platform.bench.sweep`. Writes when Tune starts and ends, and each trial's training.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray import tune
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback


def train(job: dict[str, Any]) -> None:
    """Train on random images, and report once at the end."""
    import torch
    import torch.nn.functional as F

    from platform.config.models import model_of
    from platform.models.build import build, logits_and_auxiliary

    torch.set_num_threads(job["cpus"])
    size, classes, batch = job["image_size"], job["classes"], job["batch_size"]
    model = build(model_of(job["model"]), classes, size, 0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=job["lr"], momentum=0.9)
    first_step = 0.0
    for _ in range(job["steps"]):
        main, auxiliary = logits_and_auxiliary(model(torch.randn(batch, 3, size, size)))
        labels = torch.randint(classes, (batch,))
        loss = F.cross_entropy(main, labels) + 0.3 * sum(F.cross_entropy(logits, labels) for logits in auxiliary)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first_step = first_step or time.time()
    with open(Path(job["folder"]) / "trainings", "a") as trainings:
        trainings.write(f"{first_step} {time.time()}\n")
    ray.train.report({"loss": loss.item()})  # pyright: ignore[reportPossiblyUnboundVariable]


def trial(job: dict[str, Any]) -> None:
    """The function that Tune runs: it only waits for its Ray Train job."""
    TorchTrainer(
        train,
        train_loop_config=job,
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": job["cpus"]}),
        run_config=RunConfig(
            name=tune.get_context().get_trial_id(),
            storage_path=str(Path(job["folder"]) / "ray"),
            callbacks=[TuneReportCallback()],
        ),
    ).fit()


class Clock(tune.Callback):
    """Writes when Tune starts its first trial, and when its newest trial has ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Write the time, the first time only."""
        began = self._folder / "began"
        if not began.exists():
            began.write_text(str(time.time()))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        (self._folder / "ended").write_text(str(time.time()))


def main() -> None:
    """Run the trials that the JSON argument describes."""
    job = json.loads(sys.argv[1])
    folder = Path(job["folder"])
    ray.init(address="local", resources={"trial": job["side_by_side"]})  # address: whatever else runs on this machine
    tune.Tuner(
        tune.with_resources(trial, {"trial": 1}),  # no CPUs: those are for the Ray Train jobs
        param_space=job | {"lr": tune.grid_search(job["rates"])},
        tune_config=tune.TuneConfig(max_concurrent_trials=job["side_by_side"]),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), callbacks=[Clock(folder)], verbose=0),
    ).fit()


if __name__ == "__main__":
    main()
