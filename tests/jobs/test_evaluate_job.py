"""Which numbers of views `job=evaluate` makes again: those there are results of, not all that could be."""

from pathlib import Path

import numpy as np
import torch

from jobs.evaluate import _evaluated
from platform.evaluation.kept import kept_scores
from platform.evaluation.predict import Predictions
from platform.evaluation.probabilities import seal, write_part
from platform.experiment.folder import ExperimentFolder


def test_what_was_scored_is_made_again_and_the_most_that_a_member_has(tmp_path: Path):
    folder = ExperimentFolder(tmp_path)
    assert _evaluated(folder, ["one", "two"], "val") == set()
    place = folder.member("two").probabilities
    some = Predictions(np.arange(4), np.zeros(4, np.int64), np.ones(4, bool), torch.rand(4, 144, 3).softmax(-1))
    write_part(place, 0, range(4), 144, 3, "float32", iter([some]))
    seal(place, 4, 144, 1)
    assert _evaluated(folder, ["one", "two"], "val") == {144}  # a launcher died before they were scored
    kept_scores({"two": place}, [1, 10, 144], folder.scores("val"), lambda said: None)
    assert _evaluated(folder, ["one", "two"], "val") == {1, 10, 144}  # and not 12
    assert _evaluated(folder, ["one", "two"], "test") == set()
