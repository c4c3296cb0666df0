"""What is imported before the fork leaves a process that can be forked: one thread, no connection, no GPU, no ids."""

import subprocess
import sys

import pytest

from platform.cluster.fork_server.preload import FIRST, FIRST_OF_GROUPS, GROUPS, WITH_RAY
from platform.cluster.preloaded import ALL, WITHOUT_GROUPS, Preloaded
from platform.config.cluster import ClusterConfig

EVERYTHING = """
import gc, os, sys
from platform.cluster.fork_server import preload
assert preload.preload(["numpy", "torch"]) == []
import torch
asked = []
for name in ("_cuda_getDeviceCount", "_cuda_init", "_cuda_isDriverSufficient"):
    if hasattr(torch._C, name):
        setattr(torch._C, name, lambda *_, name=name: asked.append(name) or 0)
from platform.cluster.preloaded import ALL
assert preload.preload([*ALL.first, *ALL.with_ray]) == []
preload.require_forkable({0, 1, 2})
preload.require_own_ids()
assert not torch.cuda.is_initialized()
assert not asked, asked
assert len(os.listdir("/proc/self/task")) == 1
import numpy
known = [numpy.random.mtrand._rand, torch.default_generator]
kinds = (numpy.random.RandomState, numpy.random.Generator, torch.Generator)  # random.Random: children seed them all
drawn = [each for each in gc.get_objects() if isinstance(each, kinds)]
others = [each for each in drawn if all(each is not one for one in known)]
print([(type(each), [type(holder) for holder in gc.get_referrers(each)]) for each in others])
"""


@pytest.mark.slow
def test_all_of_it_leaves_a_process_that_can_be_forked():
    done = subprocess.run([sys.executable, "-c", EVERYTHING], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


IDS = """
import ray
from platform.cluster.fork_server.preload import NotForkable, require_own_ids
ray._raylet.UniqueID.from_random()
try:
    require_own_ids()
except NotForkable as error:
    print(error)
"""


@pytest.mark.slow
def test_ids_that_children_would_share_are_seen():
    done = subprocess.run([sys.executable, "-c", IDS], capture_output=True, text=True, timeout=60)
    assert "all children would go on with the same ones" in done.stdout


def test_every_module_is_named_once():
    names = [*ALL.first, *ALL.with_ray]
    assert len(set(names)) == len(names)
    assert {*FIRST, *FIRST_OF_GROUPS} < set(ALL.first)
    assert {*WITH_RAY, *GROUPS} < set(ALL.with_ray)


LONE = """
import sys
from platform.cluster.fork_server import preload
from platform.cluster.preloaded import WITHOUT_GROUPS
assert preload.preload([*WITHOUT_GROUPS.first, *WITHOUT_GROUPS.with_ray]) == []
preload.require_own_ids()
print(sorted({"ray.train", "ray.tune", "pandas", "pyarrow"} & sys.modules.keys()))
"""


@pytest.mark.slow
def test_lanes_of_one_worker_do_not_wait_for_ray_trains_imports():
    done = subprocess.run([sys.executable, "-c", LONE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_groups_and_trials_have_ray_train_and_ray_tune():
    one, two = ClusterConfig(workers=1), ClusterConfig(workers=2)
    assert Preloaded.of(one) == WITHOUT_GROUPS
    assert Preloaded.of(two) == Preloaded.of(one, tuned=True) == ALL
