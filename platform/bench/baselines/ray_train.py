"""The baseline of `job=bench bench.parts=[launch]`: the least that a Ray Train job does until its first training step.

Arguments: output folder, image size, classes, batch size, CPUs. Writes the time of the first step.
"""

import sys
import time
from pathlib import Path

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def train(config: dict[str, str]) -> None:
    """One step of GoogLeNet on random images."""
    import torch
    import torch.nn.functional as F

    from platform.models.googlenet import GoogLeNet

    size, classes, batch = int(config["size"]), int(config["classes"]), int(config["batch"])
    torch.set_num_threads(int(config["cpus"]))
    model = GoogLeNet(classes, size).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    logits, *_ = model(torch.randn(batch, 3, size, size))
    F.cross_entropy(logits, torch.randint(classes, (batch,))).backward()
    optimizer.step()
    (Path(config["folder"]) / "first_step").write_text(str(time.time()))


def main() -> None:
    """Start Ray and run one training step."""
    folder, size, classes, batch, cpus = sys.argv[1:]
    ray.init()
    config = {"folder": folder, "size": size, "classes": classes, "batch": batch, "cpus": cpus}
    TorchTrainer(
        train,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(storage_path=str(Path(folder) / "ray")),
    ).fit()


if __name__ == "__main__":
    main()
