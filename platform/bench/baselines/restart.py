"""The baseline of `job=bench bench.parts=[restart]`: a plain Ray Train job that goes on when a worker dies.

Argument: a JSON object, see `platform.bench.restart`. Writes the process and time of every step of every rank.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def train(job: dict[str, Any]) -> None:
    """Train on random images; after a restart, up to the next checkpoint."""
    import torch
    import torch.nn.functional as F

    from platform.config.models import model_of
    from platform.models.build import build, logits_and_auxiliary

    torch.set_num_threads(job["cpus"])
    rank, size, classes, batch = (
        ray.train.get_context().get_world_rank(), job["image_size"], job["classes"], job["batch_size"],
    )  # fmt: skip
    model = ray.train.torch.prepare_model(build(model_of(job["model"]), classes, size, 0).train())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    step, last = 0, 10**9
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            saved = torch.load(Path(folder) / "state.pt", weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, last = saved["step"], saved["step"] + job["every_steps"]
    while step < last:
        main, auxiliary = logits_and_auxiliary(model(torch.randn(batch, 3, size, size)))
        labels = torch.randint(classes, (batch,))
        loss = F.cross_entropy(main, labels) + 0.3 * sum(F.cross_entropy(logits, labels) for logits in auxiliary)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        with open(Path(job["folder"]) / f"steps-{rank}", "a") as steps:
            steps.write(f"{os.getpid()} {time.time()}\n")
        if step % job["every_steps"] == 0:
            with tempfile.TemporaryDirectory() as folder:
                if rank == 0:
                    state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
                    torch.save(state, Path(folder) / "state.pt")
                ray.train.report({}, checkpoint=Checkpoint.from_directory(folder) if rank == 0 else None)


def main() -> None:
    """Run the job that the JSON argument describes."""
    job = json.loads(sys.argv[1])
    ray.init(address="local")  # whatever else runs on this machine
    TorchTrainer(
        train,
        train_loop_config=job,
        scaling_config=ScalingConfig(num_workers=job["workers"], resources_per_worker={"CPU": job["cpus"]}),
        run_config=RunConfig(
            storage_path=str(Path(job["folder"]) / "ray"),
            failure_config=FailureConfig(max_failures=3),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    ).fit()


if __name__ == "__main__":
    main()
