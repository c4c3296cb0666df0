"""`mlflow models serve` of a model's folder, far from this checkout, with unpickling forbidden."""

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.prediction.colours import picture, write_model

STARTING_S = 120


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("elsewhere")
    write_model(folder / "written")
    shutil.move(folder / "written", folder / "model")  # it may lie anywhere
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    own |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PATH": f"{Path(sys.executable).parent}:{own['PATH']}"}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder / "model")]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=own, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + STARTING_S
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # a group of its own: MLflow starts uvicorn by a shell
        process.wait(20)


def asked(address: str, content: Any) -> tuple[int, Any]:
    body = json.dumps(content).encode()
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)["predictions"]
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def encoded(*images: bytes) -> list[str]:
    return [base64.b64encode(image).decode() for image in images]


def rows(*images: bytes, **params: int) -> dict[str, Any]:
    return {"dataframe_split": {"columns": ["image"], "data": [[each] for each in encoded(*images)]}, "params": params}


@pytest.mark.long
def test_images_get_classes_and_bad_ones_a_reason(address: str):
    status, found = asked(address, rows(picture("red"), b"no image", picture("blue", kind="PNG")))
    assert status == 200
    assert [row["class"] for row in found] == ["red", None, "blue"]
    assert [row["opinions"] for row in found] == [["red", "red", "green"], None, ["blue"] * 3]
    assert found[0]["disagreement"] == pytest.approx(1 / 3)
    assert found[1]["error"] == "no image format known here"
    assert found[0]["error"] is None


@pytest.mark.long
def test_base64_is_read_however_it_is_sent(address: str):
    for content in ({"inputs": {"image": encoded(picture("green"))}}, {"instances": encoded(picture("green"))}):
        status, found = asked(address, content | {"params": {"top_k": 1, "views": 10}})
        assert (status, [row["classes"] for row in found]) == (200, [["green"]]), found


@pytest.mark.long
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (rows(b"no image"), "no image can be decoded: no image format known here"),
        (rows(picture("red")[:300]), "no image can be decoded: "),
        (rows(picture("red"), views=7), "views is 7; give 1, 10, 12, 144"),
        (rows(picture("red"), top_k=0), "top_k is 0; give at least 1"),
    ],
)
def test_what_cannot_be_answered_is_400_with_the_reason_and_nothing_of_the_inside(
    content: Any, said: str, address: str
):
    status, answer = asked(address, content)
    assert status == 400
    assert said in answer["message"]
    assert "Traceback" not in json.dumps(answer)
    assert "stack_trace" not in answer
