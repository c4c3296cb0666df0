"""Which trial stands for a sweep, and among how many it was chosen."""

from pathlib import Path

from platform.sweep.best_trial import trials_tried
from platform.sweep.trial_store import DIVERGED, FAILED, STOPPED, WAITING
from tests.sweep.stores import store_of


def test_seeds_and_stopped_trials_count_among_what_a_trial_was_chosen_from(tmp_path: Path):
    """Two points of three seeds and one that was stopped; what failed, diverged or waits was not compared."""
    store, _ = store_of([0.9, 0.8, 0.7], [0.6, 0.5, 0.4], [0.3], [0.2], [0.1], [0.0])
    for trial, state in zip(store.trials[6:], (STOPPED, FAILED, DIVERGED, WAITING), strict=True):
        trial.state = state
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "experiment.json").write_text("{}")
    store.write(tmp_path / "sweep")
    assert trials_tried("sweep/p000-s0", tmp_path) == 7
    assert trials_tried("elsewhere", tmp_path) == 1
