"""What every test needs: our `platform` ahead of the standard library's, and small real shards."""

import os
import sys
from pathlib import Path

# Bare `pytest` has imported the standard library's module before the repository was on the path.
ROOT = Path(__file__).resolve().parent.parent
if not hasattr(sys.modules.get("platform"), "__path__"):
    sys.modules.pop("platform", None)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))  # child processes

import pytest  # noqa: E402

from platform.config import DataConfig  # noqa: E402
from platform.data.index import Index, read_index  # noqa: E402
from platform.data.pack import pack  # noqa: E402


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
