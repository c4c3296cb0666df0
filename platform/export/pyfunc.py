"""The model as MLflow's pyfunc loads it ("models from code"): this file is copied into each model's folder.

In: rows with the bytes of an image each. Out: rows of classes with probabilities. It imports nothing of this
repository: the classifier is in the package beside it.
"""

import base64
import binascii
import importlib.util
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

PACKAGE = Path(__file__).parent / "code" / "image_classifier"
TOP_K = 5


class ImageClassifier(PythonModel):
    """Classes of images, by one network or the mean of several."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the programs; nothing is unpickled."""
        self._classifier = _package().Classifier.load(Path(context.artifacts["classifier"]))

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  # of whose type MLflow says nothing
        self, context: PythonModelContext | None, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The best classes of each image.

        Args:
            context: not used.
            model_input: its first column has the bytes of a JPEG, PNG or WebP file in each row, or these in base64:
                over HTTP MLflow itself decodes `dataframe_split`, and leaves `inputs` and `instances` as they come.
            params: `views` of each image (1, 10, 12 or 144), `top_k` classes in the lists.

        Returns:
            a row an image: `class` and its `probability`; the `top_k` best `classes` with their `probabilities`;
            `opinions`, the best class of each member, and their `disagreement`, the share of members whose best class
            is another. A row whose image cannot be decoded has nothing but its `error`.

        Raises:
            MlflowException: a parameter cannot be, or no image at all can be decoded (HTTP: 400, with the reason).
        """
        params = params or {}
        try:
            images = [_bytes(value) for value in model_input.iloc[:, 0]]
            found = self._classifier.predict(images, params.get("views"))
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        if found.errors and all(found.errors):
            raise MlflowException.invalid_parameter_value(f"no image can be decoded: {found.errors[0]}")
        top_k = int(params.get("top_k", TOP_K))
        if top_k < 1:
            raise MlflowException.invalid_parameter_value(f"top_k is {top_k}; give at least 1")
        rows = [self._row(found, place, top_k) for place in range(len(found.errors))]
        return pd.DataFrame(rows, columns=COLUMNS, dtype=object)  # else NaN for what is not there, which JSON has not

    def _row(self, found: Any, place: int, top_k: int) -> list[Any]:
        if error := found.errors[place]:
            return [None, None, None, None, None, None, error]
        names, probs_K = self._classifier.classes, found.probs_NK[place]
        best = np.argsort(-probs_K, kind="stable")[:top_k]
        return [
            names[best[0]],
            float(probs_K[best[0]]),
            [names[each] for each in best],
            [float(probs_K[each]) for each in best],
            float(found.disagreement_N[place]),
            [names[each] for each in found.members_MNK[:, place].argmax(1)],
            None,
        ]


COLUMNS = ["class", "probability", "classes", "probabilities", "disagreement", "opinions", "error"]


def _bytes(value: bytes) -> bytes:
    """The bytes of a file, whose first ones no base64 has (FF D8, 89 50, the size in a RIFF)."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return value


def _package() -> ModuleType:
    """The package beside this file, under a name of its own: one process may load models of several versions."""
    name = f"image_classifier_{uuid.uuid4().hex}"
    spec = importlib.util.spec_from_file_location(
        name, PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
    )
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


set_model(ImageClassifier())
