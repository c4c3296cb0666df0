"""MLflow's files of a model folder: MLmodel, requirements, environments and examples.

Written here, as text, so that the worker that has trained a member need not import MLflow, which takes seconds. A test
compares them with what MLflow itself writes.
"""

import base64
import importlib.metadata
import io
import json
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

import platform as machine  # our package has the standard module's names as well
from platform.checkout import ROOT
from platform.export.description import ARTIFACTS, Description

CODE = "model.py"  # a copy of platform/export/pyfunc.py
REQUIREMENTS = ("mlflow", "torch", "numpy", "pillow")  # pandas comes with MLflow
TOP_K = 5
INPUTS = [{"type": "binary", "name": "image", "required": True}]
OUTPUTS: list[dict[str, Any]] = [
    {"type": "string", "name": "class", "required": False},
    {"type": "double", "name": "probability", "required": False},
    {"type": "array", "items": {"type": "string"}, "name": "classes", "required": False},
    {"type": "array", "items": {"type": "double"}, "name": "probabilities", "required": False},
    {"type": "double", "name": "disagreement", "required": False},
    {"type": "array", "items": {"type": "string"}, "name": "opinions", "required": False},
    {"type": "string", "name": "error", "required": False},
]


def write_mlmodel(folder: Path, description: Description) -> None:
    """Write all files that MLflow wants beside the artifacts, which are in `folder` already.

    Args:
        folder: of the model.
        description: of the model.
    """
    shutil.copyfile(ROOT / "platform" / "export" / "pyfunc.py", folder / CODE)
    python = machine.python_version()
    (folder / "requirements.txt").write_text("\n".join(requirements()) + "\n")
    _write_yaml(folder / "conda.yaml", _conda(python))
    _write_yaml(
        folder / "python_env.yaml",
        {
            "python": python,
            "build_dependencies": ["pip", "setuptools", "wheel"],
            "dependencies": ["-r requirements.txt"],
        },
    )
    image = base64.b64encode(example_image(description.image_size)).decode()
    columns = {"columns": ["image"], "data": [[image]]}
    params = {"views": 1, "top_k": 3}
    (folder / "input_example.json").write_text(json.dumps({"inputs": columns, "params": params}))
    (folder / "serving_input_example.json").write_text(
        json.dumps({"dataframe_split": columns, "params": params}, indent=1)
    )
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    _write_yaml(folder / "MLmodel", _mlmodel(description, python, size))


def requirements() -> list[str]:
    """NAME==VERSION of what the model needs, as installed here; any build of torch will do."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]


def example_image(size: int) -> bytes:
    """A small JPEG: a gradient, the same every time."""
    ramp = np.linspace(0, 255, size).astype(np.uint8)
    pixels = np.stack([np.tile(ramp, (size, 1)), np.tile(ramp[:, None], (1, size)), np.full((size, size), 128)], 2)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _conda(python: str) -> dict[str, Any]:
    pip: list[Any] = [f"python={python}", "pip", {"pip": requirements()}]
    return {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": pip}


def _mlmodel(description: Description, python: str, size: int) -> dict[str, Any]:
    params = [
        {"name": "views", "default": description.views, "shape": None, "type": "long"},
        {"name": "top_k", "default": TOP_K, "shape": None, "type": "long"},
    ]
    return {
        "flavors": {
            "python_function": {
                "artifacts": {"classifier": {"path": ARTIFACTS, "uri": ARTIFACTS}},
                "cloudpickle_version": importlib.metadata.version("cloudpickle"),  # MLflow notes it; nothing is pickled
                "code": None,
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                "loader_module": "mlflow.pyfunc.loaders.code_model",
                "model_code_path": CODE,
                "python_version": python,
                "streamable": False,
            }
        },
        "is_signature_from_type_hint": False,
        "metadata": description.metadata(),
        "mlflow_version": importlib.metadata.version("mlflow"),
        "model_id": None,
        "model_size_bytes": size,
        "model_uuid": uuid.uuid4().hex,
        "prompts": None,
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "pandas_orient": "split",
            "params": "true",
            "serving_input_path": "serving_input_example.json",
            "type": "dataframe",
        },
        "signature": {"inputs": json.dumps(INPUTS), "outputs": json.dumps(OUTPUTS), "params": json.dumps(params)},
        "type_hint_from_example": False,
        "utc_time_created": time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime()),
    }


def _write_yaml(path: Path, content: Any) -> None:
    path.write_text(yaml.safe_dump(content, default_flow_style=False, allow_unicode=True))
