"""The table of models and crops against a direct computation with NumPy."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from platform.evaluation.blocks import MAX_OVER_CROPS, MODELS_FIRST
from platform.evaluation.ensemble import score
from platform.evaluation.metrics import Scores
from platform.evaluation.predict import Predictions
from platform.evaluation.probabilities import MemberProbabilities, seal, write_part
from platform.evaluation.table import Row, rows
from tests.composing import experiment_of

SAMPLES, VIEWS, CLASSES = 41, 144, 9
COUNTS = [1, 10, 144]
LABELS = np.random.default_rng(7).integers(0, CLASSES, SAMPLES)


def probabilities(number: int) -> NDArray[np.float32]:
    """Weak classifiers, better than chance, that disagree between views and members."""
    generator = np.random.default_rng(number)
    logits = generator.normal(size=(SAMPLES, VIEWS, CLASSES)) + generator.normal(size=(SAMPLES, 1, CLASSES))
    logits += 0.8 * (np.arange(CLASSES) == LABELS[:, None, None])
    exponentials = np.exp(logits)
    return (exponentials / exponentials.sum(-1, keepdims=True)).astype(np.float32)


def member(
    folder: Path, number: int, *, labels: NDArray[np.int64] = LABELS, corrupt: tuple[int, ...] = ()
) -> MemberProbabilities:
    folder, samples = folder / str(number), len(labels)
    valid = ~np.isin(np.arange(samples), corrupt)
    probs = torch.from_numpy(probabilities(number)[:samples])
    all_at_once = Predictions(np.arange(samples), labels, valid, probs)
    write_part(folder, 0, range(samples), VIEWS, CLASSES, "float32", iter([all_at_once]))
    seal(folder, samples, VIEWS, 1)
    return MemberProbabilities(folder)


def direct(probs_NK: NDArray[np.float64], kept: NDArray[np.bool_]) -> tuple[float, float, float]:
    """(top-1 error, top-5 error, loss) with NumPy's stable sort."""
    probs_NK, labels = probs_NK[kept], LABELS[kept]
    best = np.argsort(-probs_NK, axis=1, kind="stable")
    own = probs_NK[np.arange(len(labels)), labels] / probs_NK.sum(1)
    in_top5 = (best[:, :5] == labels[:, None]).any(1)
    return 1 - (best[:, 0] == labels).mean(), 1 - in_top5.mean(), -np.log(own).mean()


def expected_order() -> Iterator[tuple[int, int, str]]:
    """(models, crops, note) of the table of three members, from the top."""
    yield from ((1, views, "mean of the members") for views in COUNTS)
    yield from ((3, views, "") for views in COUNTS)
    yield from ((3, 144, note) for note in (MAX_OVER_CROPS, MODELS_FIRST))


def errors(row: Row) -> tuple[float, float, float]:
    return row.top1_error, row.top5_error, row.loss


@pytest.mark.parametrize("chunk", [256, 7])
def test_the_table_equals_a_direct_computation(tmp_path: Path, chunk: int) -> None:
    corrupt = (5, 40)
    members = {f"m{n}": member(tmp_path, n, corrupt=corrupt if n == 1 else ()) for n in range(3)}
    scores = score(members, COUNTS, chunk)
    probs_MNVK = np.stack([probabilities(n) for n in range(3)]).astype(np.float64)
    kept = ~np.isin(np.arange(SAMPLES), corrupt)  # corrupt for one is left out for all
    table = {(row.models, row.crops, row.note): row for row in rows(scores)}
    expected = {}
    for views in COUNTS:
        means_MNK = probs_MNVK[:, :, :views].mean(2)
        singles = np.mean([direct(mean, kept) for mean in means_MNK], axis=0)
        expected[1, views, "mean of the members"] = tuple(singles)
        expected[3, views, ""] = direct(means_MNK.mean(0), kept)
    expected[3, 144, MAX_OVER_CROPS] = direct(probs_MNVK.max(2).mean(0), kept)
    expected[3, 144, MODELS_FIRST] = direct(probs_MNVK.mean(0).max(1), kept)
    assert list(table) == list(expected_order())
    for key, values in expected.items():
        assert errors(table[key]) == pytest.approx(values, rel=1e-4), key
    assert len({round(row.loss, 6) for row in table.values()}) == len(table)  # the cases do tell them apart
    assert scores.ensemble[10].samples == SAMPLES - 2
    assert scores.ensemble[10].corrupt == 2


def test_each_member_is_scored_alone(tmp_path: Path) -> None:
    scores = score({"a": member(tmp_path, 0), "b": member(tmp_path, 1)}, [1, 10])
    valid = torch.ones(SAMPLES, dtype=torch.bool)
    for name, number in (("a", 0), ("b", 1)):
        for views in (1, 10):
            mean = torch.from_numpy(probabilities(number))[:, :views].mean(1)
            expected = Scores.of(mean, torch.from_numpy(LABELS), valid)
            assert scores.members[name][views].as_list() == pytest.approx(expected.as_list())


def test_an_ensemble_of_one_is_that_member(tmp_path: Path) -> None:
    scores = score({"only": member(tmp_path, 0)}, COUNTS)
    assert scores.ensemble == scores.members["only"]
    table = rows(scores)
    assert [(row.models, row.crops, row.note) for row in table] == [
        (1, 1, ""),
        (1, 10, ""),
        (1, 144, ""),
        (1, 144, MAX_OVER_CROPS),  # which is the other alternative too
    ]
    assert scores.alternatives[MAX_OVER_CROPS] == scores.alternatives[MODELS_FIRST]


def test_an_ensemble_of_copies_is_as_good_as_one(tmp_path: Path) -> None:
    one = member(tmp_path, 0)
    scores = score({"a": one, "b": one}, [1, 10])
    for views in (1, 10):
        assert scores.ensemble[views].as_list() == pytest.approx(scores.members["a"][views].as_list())


def test_a_single_view_has_no_alternatives(tmp_path: Path) -> None:
    table = rows(score({"a": member(tmp_path, 0), "b": member(tmp_path, 1)}, [1]))
    assert [(row.models, row.crops, row.note) for row in table] == [(1, 1, "mean of the members"), (2, 1, "")]


def test_alternatives_use_no_more_views_than_the_table(tmp_path: Path) -> None:
    scores = score({"a": member(tmp_path, 0)}, [1, 10])
    largest = probabilities(0)[:, :10].max(1).astype(np.float64)
    assert errors(rows(scores)[-1]) == pytest.approx(direct(largest, np.ones(SAMPLES, np.bool_)), rel=1e-4)
    assert rows(scores)[-1].crops == 10


def test_seven_members_stand_beside_the_papers_figures_and_costs(tmp_path: Path) -> None:
    table = experiment_of("+experiment=googlenet_ens")[0].config.table
    scores = replace(score({str(n): member(tmp_path, n) for n in range(7)}, COUNTS), table=table)
    errors = [row.paper.top5_error for row in rows(scores)]
    assert [(row.models, row.crops, row.cost, row.paper.top5_error) for row in rows(scores)] == [
        (1, 1, 1, 0.1007),
        (1, 10, 10, 0.0915),
        (1, 144, 144, 0.0789),
        (7, 1, 7, 0.0809),
        (7, 10, 70, 0.0762),
        (7, 144, 1008, 0.0667),
        (7, 144, 1008, None),
        (7, 144, 1008, None),
    ]
    against_base = [round(100 * (error - 0.1007), 2) for error in errors if error is not None]
    assert against_base == [0, -0.92, -2.18, -1.98, -2.45, -3.40]  # the last printed as -3.45


def test_members_of_other_samples_or_fewer_views_are_refused(tmp_path: Path) -> None:
    first, shorter = member(tmp_path, 0), member(tmp_path, 1, labels=LABELS[:-1])
    other = member(tmp_path, 2, labels=(LABELS + 1) % CLASSES)
    for odd in (shorter, other):
        with pytest.raises(ValueError, match="odd was not evaluated like first"):
            score({"first": first, "odd": odd}, COUNTS)
    with pytest.raises(ValueError, match="first was not evaluated"):
        score({"first": first}, [1, 145])
