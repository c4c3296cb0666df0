"""Odd image files get the same answer from job=predict, job=serve, MLflow's pyfunc and evaluation's own code."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from platform.config.data import StorageConfig
from platform.data.decode import CorruptImage, EncodedImage
from platform.data.normalise import Normaliser
from platform.evaluation.forward import view_probabilities
from platform.evaluation.views import render
from platform.export.description import Description
from platform.prediction.images import find_images
from platform.prediction.model import Model
from platform.prediction.predictor import Predictor
from platform.prediction.rows import Opinions
from platform.prediction.task import Task
from platform.serving.service import Asked, Service, Settings
from tests.prediction.colours import CLASSES, SIZE, Brightest, picture, write_model

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]  # exporting and loading programs takes seconds
VIEWS = 10


def of(colour: str, mode: str = "RGB", size: tuple[int, int] = (48, 40)) -> Image.Image:
    return Image.open(io.BytesIO(picture(colour, size, "PNG"))).convert(mode)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _turned() -> bytes:
    """A red half above a blue one, and EXIF that says to turn it by a quarter."""
    image = of("red")
    image.paste(of("blue", size=(48, 20)), (0, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image, "JPEG", exif=exif)


def _deep() -> bytes:
    return saved(Image.fromarray(np.full((40, 48), 40_000, np.uint16)), "PNG")


def _bomb() -> bytes:
    """20,000 x 20,000 pixels in half a megabyte."""
    return saved(Image.new("1", (20_000, 20_000)), "PNG")


FILES = {
    "empty.jpg": lambda: b"",
    "torn.jpg": lambda: picture("red")[:300],
    "torn.png": lambda: picture("red", kind="PNG")[:300],
    "one pixel.png": lambda: saved(of("green", size=(1, 1)), "PNG"),
    "bomb.png": _bomb,
    "cmyk.jpg": lambda: saved(of("blue", "CMYK"), "JPEG"),
    "deep.png": _deep,
    "moving.gif": lambda: saved(of("red"), "GIF", save_all=True, append_images=[of("blue")]),
    "moving.png": lambda: saved(of("red"), "PNG", save_all=True, append_images=[of("blue")]),
    "moving.webp": lambda: saved(of("green"), "WEBP", save_all=True, append_images=[of("blue")]),
    "turned.jpg": _turned,
    "transparent.png": lambda: saved(of("blue", "RGBA"), "PNG"),
    "grey.jpg": lambda: saved(of("red", "L"), "JPEG"),
    "plain.jpg": lambda: picture("green"),
}
NO_IMAGES = {"empty.jpg", "torn.jpg", "torn.png", "bomb.png", "moving.gif"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("colours") / "model", members=("first",), views=VIEWS)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return {name: make() for name, make in FILES.items()}


def evaluated(data: bytes, about: Description) -> np.ndarray | None:
    """As evaluation gives it, by the network that was exported."""
    try:
        crops = render(EncodedImage(data), SIZE, VIEWS)
    except CorruptImage:
        return None
    normalise = Normaliser(about.mean, about.std, torch.device("cpu"))
    return view_probabilities(Brightest(swapped=False), normalise, crops[None], VIEWS, mirror=True)[0].mean(0).numpy()


def test_all_roads_give_the_same_answer(model: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    import mlflow

    about = Description.read(model)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    images = find_images([str(tmp_path)], None, StorageConfig())
    task = Task(images, Model("colours", model, about), VIEWS, 3, 512)
    rows = {row.image: row for batch in Predictor(task, "cpu").batches(range(len(images))) for row in batch}
    service = Service(Settings("colours", model, VIEWS, 144, "cpu", 8, 10**6, 30.0))
    served = dict(zip(files, service._classified([Asked(data, VIEWS, 3) for data in files.values()]), strict=True))
    pyfunc = mlflow.pyfunc.load_model(str(model))
    found = pyfunc.predict(pd.DataFrame({"image": list(files.values())}), params={"top_k": 3}).to_dict("records")
    for name, theirs in zip(files, found, strict=True):
        row, answer, expected = rows[name], served[name], evaluated(files[name], about)
        if name in NO_IMAGES:
            assert expected is None
            assert row.error
            assert (answer, theirs["error"]) == (row.error, row.error)
            continue
        assert expected is not None, name
        assert isinstance(answer, Opinions)
        assert [opinion.name for opinion in row.top] == [opinion.name for opinion in answer.top] == theirs["classes"]
        probabilities = [float(expected[CLASSES.index(each.name)]) for each in row.top]
        for said in (row.top, answer.top):
            assert [each.probability for each in said] == pytest.approx(probabilities, abs=1e-6), name
        assert theirs["probabilities"] == pytest.approx(probabilities, abs=1e-6), name
    best = {name: row.top[0].name for name, row in rows.items() if row.top}
    assert best["cmyk.jpg"] == "blue"
    assert (best["moving.png"], best["moving.webp"]) == ("red", "green")  # the first picture
    assert (best["one pixel.png"], best["plain.jpg"]) == ("green", "green")
    assert "could be decompression bomb" in (rows["bomb.png"].error or "")  # before it is decoded
