"""What every test needs: our `platform` ahead of the standard library's, and small real shards."""

import gc
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

# Bare `pytest` has imported the standard library's module before the repository was on the path.
ROOT = Path(__file__).resolve().parent.parent
if not hasattr(sys.modules.get("platform"), "__path__"):
    sys.modules.pop("platform", None)
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # of pytest as a script's background process; its children inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))  # child processes

import fsspec  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import s3fs  # noqa: E402
import sklearn  # noqa: E402
from PIL import Image  # noqa: E402

from platform import redaction  # noqa: E402  # pyright: ignore[reportAttributeAccessIssue]
from platform.config.data import DataConfig  # noqa: E402
from platform.data.index import Index, read_index  # noqa: E402
from platform.packing.pack import pack  # noqa: E402
from tests.data.handmade import MakeShards, write_index, write_tar  # noqa: E402
from tests.data.servers import s3_server  # noqa: E402


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for each CPU: most of a slow test's time is a Ray cluster, a server or a command that starts. The others use
    their CPU."""
    return (1 if "not slow" in config.option.markexpr else 2) * (os.cpu_count() or 1)


def pytest_collection_finish() -> None:
    """What importing and collecting made is there until the end: the garbage collector need not look at it again and
    again (a fifteenth of the CPU of the tests that compose configs)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


# Fixtures that take seconds: of whole clusters, servers and trainings, made once for a file.
SLOW_FIXTURES = {"alone", "ended", "ends", "place", "renderings", "replicas", "s3", "server", "store"}


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for a slow fixture is slow. Files of nothing but slow tests come first, so that none of them is left
    alone at the end."""
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    quick = {item.path for item in items if not item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path in quick)


@pytest.fixture(autouse=True)
def _secrets_stay_in_their_test() -> Iterator[None]:
    """Two passwords of one address are refused, and processes that are started know all: of other tests, too."""
    names = ("_originals", "_folders", "_shared", "_known")
    kept = {name: type(known)(known) for name in names for known in [getattr(redaction, name)]}
    told = os.environ.get(redaction.VARIABLE)
    yield
    for name, known in kept.items():
        memory = getattr(redaction, name)
        memory.clear()
        memory.update(known)
    os.environ.pop(redaction.VARIABLE, None)
    if told is not None:
        os.environ[redaction.VARIABLE] = told


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For torch: sums to the last bit, and many small operations."""
    import torch  # which most tests need not

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real archives kept beside a development checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return folder


@pytest.fixture(scope="session")
def digits_data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """The embedded digits, packed."""
    data = DataConfig(
        source="sklearn:digits", shards=str(tmp_path_factory.mktemp("digits") / "shards"), samples_per_shard=300
    )
    pack(data)
    return data


@pytest.fixture(scope="session")
def digits(digits_data: DataConfig) -> Index:
    return read_index(digits_data.shards)


@pytest.fixture(scope="session")
def photos() -> list[bytes]:
    """scikit-learn's two real photographs, 640x427, as JPEG files."""
    folder = Path(sklearn.__file__).parent / "datasets" / "images"
    return [(folder / name).read_bytes() for name in ("china.jpg", "flower.jpg")]


@pytest.fixture(scope="session")
def small_jpegs() -> list[bytes]:
    """Twelve JPEG files of 40x36 px that all differ."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(12):
        buffer = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (9, 10, 3), dtype=np.uint8))
        coarse.resize((40, 36), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3-compatible store with the bucket `shards`; this process's credentials and endpoint agree."""
    with pytest.MonkeyPatch.context() as patch, s3_server(tmp_path_factory.mktemp("s3")) as address:
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # of connections, which know the endpoint of another module's server
        fsspec.filesystem("s3").mkdir("shards")
        yield address
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def ghostscript_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once somebody has run `gs`, as Pillow does on EPS."""
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "ran"


@pytest.fixture
def make_shards(tmp_path: Path) -> MakeShards:
    """Function: one dict of members (name -> bytes) for each shard -> folder of shards with their index."""

    def make(*shards: dict[str, bytes]) -> Path:
        counts = {}
        for number, members in enumerate(shards):
            path = write_tar(tmp_path / f"train-{number:06d}.tar", members)
            counts[path.name] = len({name.partition(".")[0] for name in members})
        return write_index(tmp_path, counts)

    return make
