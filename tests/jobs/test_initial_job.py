"""`model.init` on the command line: kept, listed and told; other weights under the same name are another experiment."""

import json

import pytest
import torch
from torch import nn

from platform.config.models import GoogLeNetConfig
from platform.models.build import build

pytestmark = pytest.mark.slow


def other(classes: int, seed: int) -> nn.Module:
    return build(GoogLeNetConfig(width=0.25), classes, 32, seed)


@pytest.mark.long
def test_members_begin_with_weights_of_their_own(launch):
    """Two of them on two workers each; the learning rate is too small to change a bit."""
    one, two = launch.folder / "one.pt", launch.folder / "two.pt"
    torch.save(other(10, 1).state_dict(), one)
    torch.save(other(7, 2).state_dict(), two)
    words = ["job=ensemble", "name=begun", "evaluation.views=[1]", "training.epochs=0.1", "optim.lr=1e-30"]
    words += ["cluster.workers=2", f"+ensemble.members={{a:['model.init={one}'],b:['model.init={two}']}}"]
    status, output = launch.here(*words, "job=check")
    assert status == 0, output
    status, output = launch(*words)
    assert status == 0, output
    assert "tensors taken; 6 of a new classifier" in " ".join(output.split())
    for member, classes, seed in (("a", 10, 1), ("b", 7, 2)):
        folder = launch.member("begun", member)
        found = torch.load(folder.weights, weights_only=True)
        said = json.loads((folder.path / "initial.json").read_text())
        assert len(said["new_classifier"]) == (6 if classes == 7 else 0)
        drawn = other(10, 0).state_dict()
        for name, tensor in other(classes, seed).state_dict().items():
            wanted = drawn[name] if name in said["new_classifier"] else tensor
            assert torch.allclose(found[name], wanted, rtol=0, atol=1e-25), name  # biases are zeros
        assert (launch.folder / "runs" / "begun" / "init" / f"{said['digest']}.safetensors").exists()
        run = launch.runs("begun")[member]
        source = {"a": one, "b": two}[member]
        assert run.data.tags["initialised_from"] == f"{source}, digest {said['digest']}"
        assert run.data.params["model.init_digest"] == said["digest"]
    said = json.loads((launch.member("begun", "a").path / "initial.json").read_text())

    torch.save(other(10, 3).state_dict(), one)  # other weights under the same name
    status, output = launch.here(*words, "job=check")
    assert (status, output.count("\n")) == (2, 1)
    assert "begun was run with another config (model.init_digest:" in output
    assert launch.here(*words, "job=report")[0] == 0  # which begins no training
    one.unlink()
    status, output = launch.here(*words, "job=check")
    assert status == 2
    assert "which is no file" in output


def test_another_network_is_refused_before_anything_starts(launch):
    torch.save(build(GoogLeNetConfig(width=0.5), 10, 32, 0).state_dict(), launch.folder / "wide.pt")
    status, output = launch.here("job=train", f"model.init={launch.folder / 'wide.pt'}")
    assert (status, output.count("\n")) == (2, 1)
    assert "give weights of the same network" in output
    assert not (launch.folder / "runs").exists()
    status, output = launch.here("job=sweep", "+sweep.space={model.init:[a,b]}", "job=check")
    assert status == 2
    assert "sweep.space.model.init cannot be swept" in output
