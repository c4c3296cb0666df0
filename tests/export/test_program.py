"""A program loads if it is what export writes; a file that could run code when it is loaded is refused before."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from platform.export import ExportError, networks
from platform.export.networks import write_program, write_weights
from platform.export.program import load_program
from tests.export.exported import network

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]  # exporting takes seconds
CPU = torch.device("cpu")
PROGRAM, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"
RUN = "__import__('os').mkdir('ran')"


class Runs:
    def __reduce__(self) -> Any:
        return exec, (RUN,)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "m.pt2"
    write_program(network(), 32, path)
    return path


def rewritten(path: Path, new: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The archive with other records; torch reads a zip without compression."""
    with zipfile.ZipFile(path) as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(records)
    with zipfile.ZipFile(new, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records.items():
            archive.writestr(f"{new.stem}/{name}", content)
    return new


def test_the_program_of_a_network_takes_batches_of_any_size(written: Path) -> None:
    program, model = load_program(written, CPU), network()
    for images in (1, 3, 8):
        noise = torch.randn(images, 3, 32, 32)
        with torch.inference_mode():
            torch.testing.assert_close(program(noise), model(noise), rtol=1e-5, atol=1e-5)
            fast = noise.contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(program(fast), model(fast), rtol=1e-6, atol=1e-6)
    assert isinstance(program, nn.Module)
    kernels = [each for each in program.parameters() if each.dim() == 4 and each.shape[1] > 1 and each.shape[2] > 1]
    assert kernels
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in kernels)


def test_rewriting_alone_does_not_spoil_a_program(written: Path, tmp_path: Path) -> None:
    load_program(rewritten(written, tmp_path / "same.pt2", lambda records: None), CPU)


def test_no_path_of_this_machine_is_in_it(written: Path) -> None:
    with zipfile.ZipFile(written) as archive:
        assert [name for name in archive.namelist() if b"/platform/" in archive.read(name)] == []


def _pickled_weight(records: dict[str, bytes]) -> None:
    config = json.loads(records[WEIGHTS])
    entry = next(iter(config["config"].values()))
    entry["use_pickle"] = True
    records[f"data/weights/{entry['path_name']}"] = pickle.dumps(Runs())
    records[WEIGHTS] = json.dumps(config).encode()


def _pickled_examples(records: dict[str, bytes]) -> None:
    records["data/sample_inputs/model.pt"] = pickle.dumps(Runs(), protocol=2)


def _old_weights(records: dict[str, bytes]) -> None:
    records["data/weights/model.pt"] = pickle.dumps(Runs())


def _object(records: dict[str, bytes]) -> None:
    records["data/constants/custom_obj_0"] = pickle.dumps(Runs())


def _compiled(records: dict[str, bytes]) -> None:
    records["data/aotinductor/model/model.so"] = b""


def _in_program(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    def changed(records: dict[str, bytes]) -> None:
        program = json.loads(records[PROGRAM])
        change(program)
        records[PROGRAM] = json.dumps(program).encode()

    return changed


def _expression(program: dict[str, Any]) -> None:
    text = json.dumps(program)
    found = text.replace("Symbol('s", f"{RUN} and Symbol('s", 1)
    assert found != text
    program.update(json.loads(found))


def _guard(program: dict[str, Any]) -> None:
    program["guards_code"] = [RUN]


def _name(program: dict[str, Any]) -> None:
    program["graph_module"]["graph"]["nodes"][0]["name"] = f"x = {RUN}; y"


def _operator(program: dict[str, Any]) -> None:
    program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.mine.anything.default"


def _no_program(records: dict[str, bytes]) -> None:
    del records[PROGRAM]


def _path(records: dict[str, bytes]) -> None:
    records["data/weights/../../../ran"] = b""


def _path_of_weight(records: dict[str, bytes]) -> None:
    config = json.loads(records[WEIGHTS])
    next(iter(config["config"].values()))["path_name"] = "../../../etc/passwd"
    records[WEIGHTS] = json.dumps(config).encode()


def _size(records: dict[str, bytes]) -> None:
    config = json.loads(records[WEIGHTS])
    next(iter(config["config"].values()))["tensor_meta"]["sizes"][0]["as_int"] = 2**62
    records[WEIGHTS] = json.dumps(config).encode()


CHANGES = {
    "no program": _no_program,
    "a path": _path,
    "a path of a weight": _path_of_weight,
    "a huge size": _size,
    "pickled weight": _pickled_weight,
    "pickled examples": _pickled_examples,
    "weights as in earlier versions": _old_weights,
    "an object": _object,
    "compiled code": _compiled,
    "an expression": _in_program(_expression),
    "a guard": _in_program(_guard),
    "a name": _in_program(_name),
    "an operator": _in_program(_operator),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_could_run_code_is_refused(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = rewritten(written, tmp_path / "evil.pt2", CHANGES[change])
    with pytest.raises(ValueError, match="is not a program that is loaded here"):
        load_program(path, CPU)
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.parent.glob("ran"))


def test_a_missing_or_torn_file_is_one_line(written: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.pt2"
    torn.write_bytes(written.read_bytes()[:5000])
    for path in (torn, tmp_path / "none.pt2"):
        with pytest.raises(ValueError, match=r"\.pt2 is not a program .*; export the model again$") as error:
            load_program(path, CPU)
        assert "\n" not in str(error.value)


def test_a_program_that_differs_from_its_network_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    monkeypatch.setattr(networks, "load_program", lambda path, device: network(seed=1))
    with pytest.raises(ExportError, match=r"its logits differ by .* of the largest one, more than 0\.0001"):
        write_program(model, 32, tmp_path / "m.pt2")


def test_a_network_that_torch_cannot_export_is_an_error(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1) if images.sum() > 0 else -images.flatten(1)

    with pytest.raises(ExportError):
        write_program(Odd(), 32, tmp_path / "m.pt2")


def test_weights_load_into_the_same_network(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    write_weights(network(1), tmp_path / "m.safetensors")
    other = network(2)
    other.load_state_dict(load_file(tmp_path / "m.safetensors"))
    noise = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(other(noise), network(1)(noise))


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "vit_b_16", "swin_t", "googlenet", "densenet121",
     "efficientnet_b0", "convnext_tiny", "maxvit_t", "squeezenet1_0", "regnet_y_400mf", "mnasnet0_5", "alexnet"],
)  # fmt: skip
def test_networks_of_torchvision_export(tmp_path: Path, name: str) -> None:
    from platform.config.models import model_of
    from platform.models.build import build

    model = build(model_of({"name": f"torchvision/{name}"}), 10, 224, 0)
    assert write_program(model, 224, tmp_path / "m.pt2") <= 1e-5
