"""Storage over real servers: ranges, faults of every kind, retries that are counted, errors that name the file."""

import contextlib
import gc
import hashlib
import io
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import s3fs
from fsspec.asyn import AsyncFileSystem

import platform.files as files
from platform.config.data import StorageConfig
from platform.data import attempts, limits
from platform.data import storage as storage_module
from platform.data.storage import Storage
from platform.data.store_errors import NoSuchFile, StorageError
from platform.data.urls import is_remote, join
from tests.data import servers
from tests.data.servers import Fault, Server, http_server

pytestmark = pytest.mark.timeout(60)

CONTENT = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def small_and_quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pieces of 100 kB, so that the file has three; pauses of a few hundredths of a second."""
    monkeypatch.setattr(storage_module, "PIECE_BYTES", 100_000)
    monkeypatch.setattr(attempts, "FIRST_PAUSE_S", 0.01)
    yield
    gc.collect()  # requests that were left log their errors when they are collected: now, in the middle of nothing


@pytest.fixture
def server(tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    with http_server(tmp_path) as running:
        yield running


def storage(**changes: float) -> Storage:
    return Storage(StorageConfig(**({"attempts": 4, "timeout_s": 1.0} | changes)))  # pyright: ignore[reportArgumentType]


def fetched(store: Storage, url: str, size: int = len(CONTENT), md5: str = "") -> bytes:
    file = io.BytesIO()
    store.fetch(url, size, md5, file)
    return file.getvalue()


MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.mark.slow
def test_a_file_comes_whole_in_pieces(server: Server) -> None:
    store = storage()
    assert fetched(store, f"{server.url}/a.bin", md5=MD5) == CONTENT
    assert server.requests["a.bin"] == 3
    assert (store.traffic.bytes, store.traffic.retries) == (len(CONTENT), 0)


@pytest.mark.slow
def test_a_server_without_ranges_serves_too(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    store = storage()
    with http_server(tmp_path, ranges=False) as server:
        assert fetched(store, f"{server.url}/a.bin", md5=MD5) == CONTENT
    assert server.requests["a.bin"] == 1  # though it is three pieces long
    assert store.traffic.bytes == len(CONTENT)


@pytest.mark.slow
def test_who_gives_up_waits_for_no_retry(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_PAUSE_S", 20.0)
    server.faults["a.bin"] = [servers.status(503)] * 9
    store, errors = storage(attempts=9), []

    def fetch() -> None:
        try:
            fetched(store, f"{server.url}/a.bin")
        except StorageError as error:
            errors.append(str(error))

    waiting = threading.Thread(target=fetch)
    waiting.start()
    while not server.requests["a.bin"]:
        time.sleep(0.01)
    store.give_up()
    waiting.join(10)
    assert not waiting.is_alive()
    assert "a.bin cannot be read" in errors[0]
    with pytest.raises(StorageError):
        fetched(store, f"{server.url}/a.bin")
    assert server.requests["a.bin"] <= 2


FAULTS: dict[str, Fault] = {
    "503": servers.status(503),
    "429": servers.status(429),
    "500": servers.status(500),
    "cut short": servers.cut_short,
    "too little": servers.too_little,
    "stall": servers.stall,
}
SAID = {
    "cut short": "payload is not completed",
    "too little": r"50000 bytes came where 100000 were asked for: it was cut short",
    "stall": r"TimeoutError: not done within 0\.5 s \(storage\.timeout_s\)",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_that_passes_costs_one_piece_and_is_counted(server: Server, kind: str) -> None:
    server.faults["a.bin"] = [FAULTS[kind], FAULTS[kind]]
    store = storage()
    assert fetched(store, f"{server.url}/a.bin", md5=MD5) == CONTENT
    assert store.traffic.retries == 2
    assert server.requests["a.bin"] == 3 + 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_that_stays_is_an_error_with_the_address(
    server: Server, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults["a.bin"] = [FAULTS[kind]] * 50
    with (
        caplog.at_level(logging.WARNING, "platform.data"),
        pytest.raises(
            StorageError,
            match=rf"http://127.*/a.bin cannot be read after 3 attempts \(.*{SAID.get(kind, f'HTTP {kind}')}.*\);",
        ),
    ):
        fetched(storage(attempts=3, timeout_s=0.5), f"{server.url}/a.bin")
    assert server.requests["a.bin"] == 3
    assert "a.bin" in caplog.text
    assert "trying again" in caplog.text


@pytest.mark.slow
def test_what_no_answer_ever_brings_is_said(server: Server) -> None:
    store, url = storage(attempts=2), f"{server.url}/a.bin"
    server.faults["a.bin"] = [_elsewhere] * 50
    with pytest.raises(StorageError, match=r"a\.bin cannot be read after 2 attempts \(TooManyRedirects.*\); check"):
        fetched(store, url)
    server.faults["a.bin"] = [lambda handler, *_: handler.answer(200, CONTENT + b"more")] * 50
    with pytest.raises(
        StorageError, match=rf"{len(CONTENT) + 4} bytes .* 100000 were .*: it is another file than the ind"
    ):
        fetched(store, url)


def _elsewhere(handler: servers.Handler, name: str, content: bytes) -> None:
    handler.close_connection = False
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.mark.slow
def test_wrong_bytes_have_the_whole_file_fetched_again(server: Server) -> None:
    server.faults["a.bin"] = [servers.other_bytes]
    store = storage()
    assert fetched(store, f"{server.url}/a.bin", md5=MD5) == CONTENT
    assert server.requests["a.bin"] == 6
    assert store.traffic.retries == 1


@pytest.mark.slow
def test_wrong_bytes_that_stay_are_an_error_with_both_checksums(server: Server) -> None:
    with pytest.raises(StorageError, match=rf"a.bin cannot be read after 2 attempts .*checksum is {MD5}.*says 0{{32}}"):
        fetched(storage(attempts=2), f"{server.url}/a.bin", md5="0" * 32)


@pytest.mark.slow
@pytest.mark.parametrize("code", [401, 403, 410])
def test_a_refusal_is_not_asked_again(server: Server, code: int) -> None:
    server.faults["a.bin"] = [servers.status(code)] * 9
    with pytest.raises(StorageError, match=rf"a.bin cannot be read \(HTTP {code}"):
        fetched(storage(), f"{server.url}/a.bin")
    assert server.requests["a.bin"] == 1


@pytest.mark.slow
def test_an_absent_file_is_said_at_once(server: Server) -> None:
    for url in (f"{server.url}/b.bin", f"memory://{id(server)}/b.bin", str(server.folder / "b.bin")):
        with pytest.raises(NoSuchFile, match=r"b\.bin does not exist; check"):
            storage().read(url)
    assert server.requests["b.bin"] == 1


@pytest.mark.slow
def test_a_server_that_is_not_there_is_an_error() -> None:
    with pytest.raises(StorageError, match=r"http://127.0.0.1:9/a.bin cannot be read after 2 attempts"):
        storage(attempts=2).read("http://127.0.0.1:9/a.bin")


@pytest.mark.slow
def test_a_file_shorter_than_said_is_an_error(server: Server) -> None:
    with pytest.raises(StorageError, match=r"a.bin cannot be read after 2 attempts .*(cut short|416)"):
        fetched(storage(attempts=2), f"{server.url}/a.bin", size=len(CONTENT) + 5)


@pytest.mark.slow
@pytest.mark.parametrize("url", ["nosuch://bucket/x", "s3x://a"])
def test_an_unknown_protocol_is_named(url: str) -> None:
    with pytest.raises(StorageError, match=rf"{url} cannot be opened: .*(?i:protocol)"):
        storage().read(url)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["s3", "gs", "http", "https"])
def test_the_common_stores_have_their_libraries(protocol: str) -> None:
    assert issubclass(fsspec.get_filesystem_class(protocol), AsyncFileSystem)  # which know a time limit


@pytest.mark.slow
def test_files_are_written_and_listed_by_path_and_url(tmp_path: Path) -> None:
    for base in (str(tmp_path / "x"), f"file://{tmp_path}/y", f"memory://{tmp_path.name}/z"):
        store = storage()
        for name, content in {"b.tar": b"12", "a/c.tar": b"123", "d.json": b"{}"}.items():
            store.write(join(base, name), content)
        assert store.list(base, ".tar") == [("a/c.tar", 3), ("b.tar", 2)]
        assert store.list(base, (".json", "b.tar")) == [("b.tar", 2), ("d.json", 2)]
        assert store.read(join(base, "d.json")) == b"{}"
    with pytest.raises(NoSuchFile):
        storage().list(str(tmp_path / "nothing"), ".tar")


@pytest.mark.slow
def test_threads_share_a_storage(server: Server) -> None:
    store, results = storage(), []
    server.faults["a.bin"] = [servers.status(503)] * 4
    threads = [threading.Thread(target=lambda: results.append(fetched(store, f"{server.url}/a.bin"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT] * 8
    assert store.traffic.retries == 4


@pytest.mark.slow
def test_what_is_remote() -> None:
    assert [is_remote(url) for url in ("s3://b/k", "file:///a", "/a", "a/b", "C:x")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.slow
@pytest.mark.parametrize("act", ["write", "upload", "remove"])
def test_a_store_that_hangs_ends_what_changes_it_too(
    act: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # of connections to other tests' servers
    store, url, file = storage(attempts=2, timeout_s=0.5), "s3://shards/a.bin", tmp_path / "a.bin"
    monkeypatch.setattr(s3fs.S3FileSystem, "_expand_path", _as_it_is)  # it would look for the file first
    acts = {
        "write": lambda: store.write(url, CONTENT),
        "upload": lambda: store.upload(file, url),
        "remove": lambda: store.remove(url),
    }
    with pytest.raises(StorageError, match=r"s3://shards/a\.bin cannot be (written|removed) after 2 attempts"):
        acts[act]()
    # One at least has come as far as the server: to connect for the first time can take a slow machine an attempt.
    assert server.requests["PUT"] + server.requests["POST"] + server.requests["DELETE"] >= 1
    s3fs.S3FileSystem.clear_instance_cache()


async def _as_it_is(self: object, path: str, **options: object) -> list[str]:
    return [path]


@pytest.fixture
def silent_server() -> Iterator[str]:
    """An FTP server that lets everybody in and answers nothing else."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        letting_in = threading.Thread(target=_let_in, args=(server, connections))
        letting_in.start()
        yield f"ftp://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        letting_in.join()
    for connection in connections:
        connection.close()


def _let_in(server: socket.socket, connections: list[socket.socket]) -> None:
    with contextlib.suppress(OSError):
        while True:
            connections.append(server.accept()[0])
            for answer in (b"220 here\r\n", b"331 password\r\n", b"230 in\r\n"):  # greeting, USER, PASS
                connections[-1].sendall(answer)


@pytest.mark.slow
@pytest.mark.parametrize("act", ["read", "fetch", "list", "size", "write", "upload", "remove"])
def test_a_store_without_time_limits_of_its_own_ends_in_time_too(act: str, silent_server: str, tmp_path: Path) -> None:
    (file := tmp_path / "a.bin").write_bytes(b"")
    store, url = storage(attempts=2, timeout_s=0.2), f"{silent_server}/a.bin"
    acts = {
        "read": lambda: store.read(url),
        "fetch": lambda: fetched(store, url),
        "list": lambda: store.list(url, ".tar"),
        "size": lambda: store.size(url),
        "write": lambda: store.write(url, b""),
        "upload": lambda: store.upload(file, url),
        "remove": lambda: store.remove(url),
    }
    said = (
        r"a\.bin cannot be (read|written|removed) after 2 attempts \(TimeoutError: not done within (0\.2|2) s \(storage"
    )
    with pytest.raises(StorageError, match=said):
        acts[act]()


@pytest.mark.slow
def test_a_disk_that_hangs_behind_a_url_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "a.bin")  # whose opening waits for somebody who writes
    said = rf"file://{tmp_path}/a\.bin cannot be read after 2 attempts \(TimeoutError: not done within 0\.2 s "
    for read in (Storage.read, fetched):
        with pytest.raises(StorageError, match=said):
            read(storage(attempts=2, timeout_s=0.2), f"file://{tmp_path}/a.bin")
    (tmp_path / "b.bin").write_bytes(CONTENT)
    monkeypatch.setattr(limits, "_Beside", None)  # and a plain path is read without a thread beside it
    assert storage().read(str(tmp_path / "b.bin")) == CONTENT


@pytest.mark.slow
def test_a_file_that_is_removed_while_its_folder_is_listed_is_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.pt", "b.pt", "c.pt"):
        (tmp_path / name).write_bytes(b"12345")
    found = Path.rglob

    def while_one_goes(self: Path, pattern: str) -> Iterator[Path]:
        for path in sorted(found(self, pattern)):
            if path.name == "b.pt":
                path.unlink()
            yield path

    monkeypatch.setattr(Path, "rglob", while_one_goes)
    assert Storage(StorageConfig()).list(str(tmp_path), ".pt") == [("a.pt", 5), ("c.pt", 5)]


def test_a_store_that_cannot_be_listed_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"http://127.0.0.1:9/shards cannot be read after 2 attempts"):
        storage(attempts=2).list("http://127.0.0.1:9/shards", ".tar")
    assert storage().list(f"file://{tmp_path}/nothing", ".tar") == []


@pytest.mark.slow
def test_a_connection_that_is_refused_is_an_error_with_the_address() -> None:
    with pytest.raises(StorageError, match=r"ftp://127\.0\.0\.1:9/a cannot be read after 2 attempts \(Connection"):
        storage(attempts=2).read("ftp://127.0.0.1:9/a")
    storage().know("ftp://127.0.0.1:9/a")  # asks nobody


@pytest.mark.slow
def test_a_large_file_has_the_time_of_its_pieces() -> None:
    store = storage(timeout_s=10.0)
    asynchronous = fsspec.filesystem("http")
    assert isinstance(asynchronous, AsyncFileSystem)
    assert store._limit(asynchronous) == {"timeout": 10.0}
    assert store._limit(asynchronous, storage_module.pieces_of(250_000)) == {"timeout": 30.0}  # pieces of 100 kB


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_file_of_a_folder_is_whole_or_not_there(scheme: str, tmp_path: Path) -> None:
    url, source = f"{scheme}{tmp_path}/below/a.bin", tmp_path / "source"
    source.write_bytes(CONTENT)
    seen: list[bool] = []

    def look(path: Path) -> None:
        seen.append((tmp_path / "below" / "a.bin").exists())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_sync", look)  # just before it takes its place
        storage().write(url, CONTENT)
        if scheme:
            (tmp_path / "below" / "a.bin").unlink()
            storage().upload(source, url)
    assert seen
    assert not any(seen[::2])
    assert [path.read_bytes() for path in (tmp_path / "below").iterdir()] == [CONTENT]
