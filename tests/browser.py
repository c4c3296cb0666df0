"""Debian's Chromium, without a window and with a fresh profile: opens a page, waits for what it shows, and looks.

`with browser() as page: page.open(URL); page.wait_for("Runs")`. A test that needs it skips where there is no Chromium.
"""

import base64
import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import websocket

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium on PATH; on Debian: apt-get install chromium"
)
WAIT_S = 60.0


class Page:
    """One tab, by Chromium's DevTools protocol."""

    def __init__(self, url: str) -> None:
        self._socket = websocket.create_connection(url, timeout=WAIT_S, suppress_origin=True)
        self._number = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol; returns its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url: str) -> None:
        """Open an address anew, also where only the part behind # differs."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    @property
    def text(self) -> str:
        """What a person can read."""
        return self.evaluate("document.body ? document.body.innerText : ''")

    def wait_for(self, *texts: str, within_s: float = WAIT_S) -> str:
        """Wait until the page shows all of these; its text then."""
        end = time.monotonic() + within_s
        while any(text not in (shown := self.text) for text in texts):
            assert time.monotonic() < end, f"{[text for text in texts if text not in shown]} not in {shown[-3000:]}"
            time.sleep(0.2)
        return shown

    def wait_until(self, expression: str, within_s: float = WAIT_S) -> Any:
        """Wait until a JavaScript expression is true; its value."""
        end = time.monotonic() + within_s
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, f"{expression} is {value!r}; the page: {self.text[-3000:]}"
            time.sleep(0.2)
        return value

    def screenshot(self, file: Path) -> None:
        """Write what the window shows as a PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def dark(self, *, dark: bool = True) -> None:
        """Have the page be shown as to people who prefer dark (or light) pages."""
        value = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])


@contextlib.contextmanager
def browser(width: int = 1500, height: int = 950) -> Iterator[Page]:
    """A Chromium that nobody used before; it is ended, and its profile removed."""
    assert CHROMIUM
    profile = Path(tempfile.mkdtemp(prefix="platform-chromium-"))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0",
        f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        page = Page(_address(profile / "DevToolsActivePort", process))
        page.call("Page.enable")
        yield page
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)


def _address(port_file: Path, process: subprocess.Popen[bytes]) -> str:
    """The address of the tab, once Chromium has written its port."""
    end = time.monotonic() + WAIT_S
    while True:
        assert process.poll() is None, "Chromium has ended"
        assert time.monotonic() < end, "Chromium does not answer"
        with contextlib.suppress(OSError, IndexError):
            port = int(port_file.read_text().splitlines()[0])
            tabs = json.loads(urlopen(f"http://127.0.0.1:{port}/json", timeout=10).read())
            return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        time.sleep(0.1)
