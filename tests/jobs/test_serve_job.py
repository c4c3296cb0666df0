"""`job=serve` as it is typed: a real server of Ray Serve, asked over HTTP and by a browser, ended by Ctrl-C."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from platform.chaos.nodes import LocalCluster
from platform.checkout import ROOT
from tests.browser import Page, browser, needs_chromium
from tests.launching import launched
from tests.prediction.colours import picture, write_model
from tests.serving.load import load


@pytest.mark.slow
def test_what_cannot_be_served_is_one_line_before_ray_starts(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = launched("job=serve", f"serve.port={port}")
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert f"serve.port is {port} of 127.0.0.1, which another program has; give another" in done.stderr
    done = launched("job=serve", "cluster=kuberay")
    assert "job=serve answers on this machine or a Ray cluster that it joins; leave out cluster=kuberay" in done.stderr
    done = launched("job=serve", "serve.port=0", f"serve.model={tmp_path}")
    assert done.returncode == 2
    assert f"serve.model: {tmp_path} holds no model; give runs/NAME" in done.stderr
    done = launched("job=serve", "serve.port=0", "serve.host=203.0.113.1")  # of nobody's machine
    assert "where nothing can listen (Cannot assign requested address)" in done.stderr


def _said_until_it_serves(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    said = ""
    while "Ctrl-C ends it" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server with small limits; after its tests Ctrl-C ends it."""
    folder = tmp_path_factory.mktemp("serve")
    write_model(folder / "model")
    limits = ["serve.max_waiting=8", "serve.max_body_mb=0.1", "serve.port=0", "serve.batch_wait_s=0.2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "platform.launch", "job=serve", f"serve.model={folder / 'model'}", *limits],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        said = _said_until_it_serves(process)
        yield re.findall(r"page +(http://127\.0\.0\.1:\d+)/", said)[0]
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said + rest
    assert rest.strip() == "stopped by SIGINT: the server has ended"
    _, left = psutil.wait_procs(family, timeout=10)
    assert left == []
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(re.findall(r"health +(\S+)", said)[0], timeout=5)


def post(address: str, body: Any, **headers: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    request = urllib.request.Request(f"{address}/predict", body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), dict(error.headers)


def health(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}/health", timeout=10) as answer:
        return json.load(answer)


@pytest.mark.long
def test_images_get_classes_over_http_and_everything_else_a_reason(address: str):
    status, answer, _ = post(address, picture("red"), **{"Content-Type": "image/jpeg"})
    assert (status, answer["classes"][0]["class"], answer["members"]["contrary"]["class"]) == (200, "red", "green")
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n' + picture(
        "blue", kind="PNG"
    )
    status, answer, _ = post(address, form + b"\r\n--b--\r\n", **{"Content-Type": "multipart/form-data; boundary=b"})
    assert (status, answer["classes"][0]["class"]) == (200, "blue")
    status, answer, _ = post(address, b"no image")
    assert (status, answer) == (400, {"error": "the image cannot be read: no image format known here"})
    status, answer, _ = post(address, bytes(100_001))
    assert status == 413
    assert "at most 100,000 are taken" in answer["error"]
    status, answer, _ = post(address, iter([bytes(60_000)] * 3))  # in chunks, of a length that nobody says
    assert status == 413
    assert health(address)["status"] == "ok"


@pytest.mark.long
def test_under_load_all_are_answered_or_sent_away(address: str):
    before = health(address)
    statuses: list[tuple[int, str | None]] = []

    def ask() -> None:
        status, answer, headers = post(address, picture("green"))
        assert status == 503 or answer["classes"][0]["class"] == "green"
        statuses.append((status, headers.get("Retry-After") or headers.get("retry-after")))

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(statuses) == 40
    answered = [status for status, _ in statuses if status == 200]
    assert len(answered) >= 8
    assert {status for status, _ in statuses} == {200, 503}
    assert all(after and int(after) >= 1 for status, after in statuses if status == 503)
    assert post(address, picture("blue"))[0] == 200
    after = health(address)
    images, batches = after["images"] - before["images"], after["batches"] - before["batches"]
    assert images == len(answered) + 1
    assert batches < images  # some were classified together
    assert after["waiting"] == 0


@pytest.mark.long
def test_64_clients_again_and_again_lose_no_answer(address: str):
    before = health(address)
    seen = asyncio.run(load(address, [picture("green"), picture("green", kind="PNG")], clients=64, seconds=4))
    after = health(address)
    assert set(seen.statuses) == {200, 503}, seen.text()
    assert set(seen.classes) == {"green"}
    assert after["images"] - before["images"] == seen.statuses[200] > 8
    assert after["batches"] - before["batches"] < seen.statuses[200]
    assert (after["waiting"], after["max_waiting"]) == (0, 8)


@pytest.mark.long
def test_a_lost_node_costs_no_answer_and_sigterm_ends_it(tmp_path: Path):
    """Two processes with the model on two nodes of three; the head has none."""
    write_model(tmp_path / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with LocalCluster(tmp_path, nodes=3, cpus=1, head_cpus=0) as nodes:
        words = [f"serve.model={tmp_path / 'model'}", f"serve.port={port}", "serve.replicas=2"]
        process = subprocess.Popen(
            [sys.executable, "-m", "platform.launch", "job=serve", *words, f"cluster.address={nodes.address}"],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | nodes.environment,
        )  # fmt: skip
        try:
            said = _said_until_it_serves(process)
            nodes.kill_node(2)
            seen = asyncio.run(load(f"http://127.0.0.1:{port}", [picture("blue")], clients=8, seconds=10))
        finally:
            process.terminate()
            rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said + rest
    assert "stopped by SIGTERM: the server has ended" in rest
    assert set(seen.statuses) == {200}, seen.text()
    assert set(seen.classes) == {"blue"}


def choose(page: Page, file: Path) -> None:
    """As a person does in the dialog of the browser."""
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    field = page.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
    page.call("DOM.setFileInputFiles", files=[str(file)], nodeId=field)


@needs_chromium
@pytest.mark.long
def test_a_person_chooses_an_image_and_sees_classes_and_opinions(address: str, tmp_path: Path):
    (tmp_path / "cat.jpg").write_bytes(picture("red"))
    (tmp_path / "notes.txt").write_text("no image")
    with browser(900, 800) as page:
        page.open(f"{address}/")
        page.wait_for("Drop an image here, or choose a file", "3 networks, 3 classes, 1 view of each image")
        page.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        assert page.evaluate("document.activeElement.id") == "file"  # Enter or space opens the dialog
        choose(page, tmp_path / "cat.jpg")
        text = page.wait_for("2 of 3 networks say red", "cat.jpg")
        assert re.search(r"Classes\s+red\s+66\.\d%\s+green\s+33\.\d%\s+blue\s+0\.\d%", text)
        assert re.search(r"contrary\s+green\s+99\.\d%", text)
        assert page.evaluate("document.querySelector('#picture').naturalWidth") == 48
        assert (
            page.evaluate("[...document.querySelectorAll('.track i')].map(bar => parseInt(bar.style.width))[0]") == 66
        )
        page.dark()
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(map(int, re.findall(r"\d+", background))) < 64
        choose(page, tmp_path / "notes.txt")
        page.wait_for("notes.txt: the image cannot be read: no image format known here")
        assert page.evaluate("document.querySelector('#result').hidden") is True
        dropped = "new DragEvent('drop', {bubbles: true, dataTransfer: (() => {const all = new DataTransfer(); "
        dropped += "all.items.add(new File(['x'], 'dropped.jpg')); return all})()})"
        page.evaluate(f"document.body.dispatchEvent({dropped})")
        page.wait_for("dropped.jpg: the image cannot be read")
