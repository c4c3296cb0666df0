"""`bench.parts=[scale]`, small: each row has its costs and how they grow."""

import json
from pathlib import Path

import pytest

from platform.bench.growth import exponent
from platform.config.checks import ConfigError
from platform.config.scale import ScaleConfig


def test_growth_is_the_power_of_the_size():
    assert exponent({10: 3.0, 100: 3.0, 1000: 3.0}) == pytest.approx(0)
    assert exponent({10: 2.0, 100: 20.0, 1000: 200.0}) == pytest.approx(1)
    assert exponent({10: 5.0, 100: 500.0}) == pytest.approx(2)
    assert exponent({10: 0.0, 100: 0.0}) == 0


@pytest.mark.parametrize("sizes", [[], [10], [10, 10], [20, 10], [0, 10]])
def test_sizes_without_a_growth_are_refused(sizes: list[int]):
    with pytest.raises(ConfigError, match=r"bench\.scale\.shards is .*; give two rising sizes"):
        ScaleConfig(shards=sizes)


def test_rows_are_measured_at_the_sizes_asked_for(launch, tmp_path: Path):
    out = tmp_path / "figures.json"
    status, output = launch.here(
        "job=bench",
        "bench.parts=[scale]",
        "bench.scale.rows=[index,trials,probabilities]",
        "bench.scale.shards=[10,20]",
        "bench.scale.trials=[10,20]",
        "bench.scale.images=[8,16]",
        f"bench.json={out}",
    )
    assert status == 0, output
    figures = json.loads(out.read_text())
    assert {"scale.index.read_cpu_s.10", "scale.index.read_cpu_s.20", "scale.index.read_cpu_s.growth"} <= figures.keys()
    assert {"scale.trials.trial_cpu_ms.20", "scale.trials.report_cpu_s.growth"} <= figures.keys()
    assert figures["scale.trials.trial_bytes.growth"] < 0.05
    assert {"scale.probabilities.all.peak_mb.16", "scale.probabilities.means.again_cpu_ms.growth"} <= figures.keys()
    assert figures["scale.probabilities.all.kb.16"] > 30 * figures["scale.probabilities.means.kb.16"]
