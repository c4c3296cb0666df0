"""Servers that are killed and come back at the same address."""

import contextlib
from pathlib import Path
from urllib.request import urlopen

import pytest
from mlflow.tracking import MlflowClient

from platform.chaos.servers import Absences, MlflowServer, ShardServer
from platform.config.data import DataConfig, StorageConfig
from platform.data.cache import MemoryCache
from platform.data.index import read_index
from platform.data.storage import Storage
from platform.data.store_errors import StorageError

IMPATIENT = StorageConfig(cache="memory", attempts=1, timeout_s=2)


@pytest.mark.slow
def test_shards_are_read_and_gone_and_read_again(digits_data: DataConfig):
    with ShardServer(Path(digits_data.shards).resolve()) as server:
        shard = read_index(server.url, IMPATIENT).split("train").shards[0]
        cache = MemoryCache(Storage(IMPATIENT), 10**9)
        content = cache.open(shard)
        server.kill()
        with pytest.raises(StorageError):
            cache.open(shard)
        server.start()
        assert cache.open(shard) == content


@pytest.mark.slow
def test_an_absent_server_comes_back_by_itself(tmp_path: Path):
    with ShardServer(tmp_path) as server:
        with Absences(0.5) as absences:
            absences.begin(server)
            with pytest.raises(OSError, match="refused"):
                urlopen(server.url)
            absences.begin(server)  # which first waits for it
            with pytest.raises(OSError, match="refused"):
                urlopen(server.url)
        assert urlopen(server.url).status == 200


def test_an_error_does_not_wait_for_an_absent_server(tmp_path: Path):
    with ShardServer(tmp_path) as server:
        with contextlib.suppress(KeyboardInterrupt), Absences(3600) as absences:
            absences.begin(server)
            raise KeyboardInterrupt
        with pytest.raises(OSError, match="refused"):
            urlopen(server.url)


@pytest.mark.slow
@pytest.mark.long
def test_an_mlflow_server_keeps_its_runs_over_a_kill(tmp_path: Path):
    with MlflowServer(tmp_path) as server:
        run = MlflowClient(server.url).create_run("0").info.run_id
        server.kill()
        server.start()
        assert MlflowClient(server.url).get_run(run).info.run_id == run
    with pytest.raises(OSError, match="refused"):
        urlopen(server.url)
