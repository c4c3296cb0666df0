"""A password and a token in addresses, through a whole run: in no file, no database, no line, and not what it is."""

import base64
import json
import os
import secrets
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from platform.chaos.servers import MlflowServer
from tests.data.servers import Handler, http_server

pytestmark = [pytest.mark.slow, pytest.mark.long]
ADMIN = "admin"


class AskingHandler(Handler):
    """Gives a file to whoever knows the newest password and token."""

    password, token = "", ""

    def do_GET(self) -> None:
        login = "Basic " + base64.b64encode(f"me:{type(self).password}".encode()).decode()
        address = urlsplit(self.path)
        if self.headers.get("Authorization") != login or parse_qs(address.query).get("sig") != [type(self).token]:
            self.send_error(401)
            return
        self.path = address.path
        super().do_GET()


class MlflowWithAccounts(MlflowServer):
    """MLflow as it is run with `--app-name basic-auth`."""

    def __init__(self, folder: Path, password: str) -> None:
        super().__init__(folder)
        (folder / "auth.ini").write_text(
            "[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///accounts.db\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        self.environment: Mapping[str, str] = {
            **MlflowServer.environment,
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
            "MLFLOW_AUTH_ADMIN_PASSWORD": password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-the-test",
        }

    def _command(self, port: int) -> list[str]:
        return [*super()._command(port), "--app-name", "basic-auth"]


class Watch:
    """Looks through all files below some folders again and again, also those that are removed later."""

    def __init__(self, *folders: Path) -> None:
        self.needles: list[bytes] = []
        self.found: set[str] = set()
        self._folders, self._end = folders, threading.Event()
        self._seen: dict[Path, tuple[int, int]] = {}
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.look()

    def look(self) -> None:
        for folder in self._folders:
            for root, _, names in os.walk(folder):
                for name in names:
                    self._look_at(Path(root) / name)

    def _look_at(self, path: Path) -> None:
        try:
            now = path.lstat()
            if (now.st_mtime_ns, now.st_size) == self._seen.get(path) or not path.is_file():
                return
            self._seen[path] = now.st_mtime_ns, now.st_size
            content = path.read_bytes()
        except OSError:  # gone again
            return
        self.found |= {f"{path}: {needle.decode()}" for needle in self.needles if needle in content}

    def _run(self) -> None:
        while not self._end.wait(1.0):
            self.look()


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Short, as sockets need it."""
    with tempfile.TemporaryDirectory(prefix="s-") as folder:
        yield Path(folder)


def test_no_secret_of_an_address_is_written_and_a_run_goes_on_with_new_ones(launch, tmp_path: Path, scratch: Path):
    passwords = [f"p@ss/{secrets.token_hex(8)}" for _ in range(2)]
    tokens = [f"{secrets.token_hex(6)}+{secrets.token_hex(6)}" for _ in range(2)]
    mlflow_password = f"m:{secrets.token_hex(12)}"
    watch = Watch(tmp_path, scratch)
    for each in [*passwords, *tokens, mlflow_password]:  # as given and as each layer may write it
        forms = {each, quote(each, safe=""), json.dumps(each).strip('"'), each.encode().hex()}
        watch.needles += [form.encode() for form in (*forms, base64.b64encode(each.encode()).decode())]
    (tmp_path / "server").mkdir()
    server = MlflowWithAccounts(tmp_path / "server", mlflow_password)
    outputs = []
    with http_server(Path(launch.shards)) as shards, server, watch:
        shards.RequestHandlerClass = AskingHandler

        def run() -> int:
            place = _with_secrets(shards.url, "me", AskingHandler.password, AskingHandler.token)
            status, output = launch(
                "job=ensemble", "name=hidden", "data.source=null", "training.epochs=0.1", "evaluation.views=[1]",
                f"+ensemble.members={{a: ['data.shards=\"{place}\"'], b: ['order_seed=1']}}", f"data.shards='{place}'",
                f"tracking.uri={_with_secrets(server.url, ADMIN, mlflow_password)}", "tracking.required=true",
                f"storage.cache={tmp_path / 'cache'}", "checkpoint.every_steps=2", environment={"TMPDIR": str(scratch)},
            )  # fmt: skip
            outputs.append(output)
            return status

        AskingHandler.password, AskingHandler.token = passwords[0], tokens[0]
        assert run() == 0, outputs
        AskingHandler.password, AskingHandler.token = passwords[1], tokens[1]
        assert run() == 0, outputs
        assert "nothing to train" in outputs[1]
        address = _with_secrets(shards.url, "me", *[each[0] for each in (passwords, tokens)])  # not good any more
        status, output = launch("job=train", f"data.shards='{address}'", environment={"TMPDIR": str(scratch)})
        outputs.append(output)
        assert status == 2
        assert "HTTP 401" in output
    assert watch.found == set()
    said = "\n".join(outputs).encode()
    assert [needle for needle in watch.needles if needle in said] == []
    assert "me:***@127.0.0.1" in outputs[2]
    with sqlite3.connect(tmp_path / "server" / "server.db") as database:
        params = dict(database.execute("select key, value from params").fetchall())
        dump = "\n".join(database.iterdump()).encode()
    assert params["tracking.uri"] == f"http://{ADMIN}:***@{urlsplit(server.url).netloc}"
    assert params["data.shards"].startswith("http://me:***@127.0.0.1")
    assert [needle for needle in watch.needles if needle in dump] == []


def _with_secrets(url: str, user: str, password: str, token: str = "") -> str:
    quoted = quote(password, safe="")
    return url.replace("//", f"//{user}:{quoted}@") + (f"?sig={quote(token, safe='')}" if token else "")
