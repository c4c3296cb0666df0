"""The order of points, and whether their differences are more than noise."""

import csv
import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from platform.config.checks import ConfigError
from platform.evaluation.statistics.intervals import wilson
from platform.evaluation.statistics.paired import mcnemar
from platform.evaluation.statistics.seeds import LEVEL, Noise
from platform.sweep.report.artifacts import metrics
from platform.sweep.report.outcome import Curves, sampling_error
from platform.sweep.report.ranking import Ranking, rank
from platform.sweep.report.right_images import RightImages
from platform.sweep.report.table import csv_text, lines, markdown
from platform.sweep.report.verdict import cautions, verdict
from platform.sweep.trial_store import FAILED, STOPPED, WAITING, TrialStore
from tests.sweep.stores import curve, evaluation, realistic, right_images, store_of

MANY = 1_000_000  # validation images: their number limits nothing

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b",
    "[bold]x[/bold]",
    "[/]",
    "*_`x`_*",
    "\x1b[31mred\nline",
    "$x^{",
    "\ud800",
    "",
]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.sampled_from(HOSTILE),
    st.lists(st.floats(0, 1), max_size=3),
)  # fmt: skip
SCORES = st.lists(st.integers(0, 50), min_size=1, max_size=4)


def ranked(*points: list[float], val_samples: int = MANY) -> Ranking:
    return rank(*store_of(*points), ["top1"], val_samples)


def bits(*wrong: range, samples: int = 200) -> dict[str, np.ndarray]:
    """Of one trial for each point, which is wrong on these images."""
    return {f"p{place:03d}-s0": ~np.isin(np.arange(samples), images) for place, images in enumerate(wrong)}


def on_images(*wrong: range, samples: int = 200) -> Ranking:
    right = bits(*wrong, samples=samples)
    store, curves = store_of(*([each.mean()] for each in right.values()))
    return rank(store, curves, ["top1"], samples, RightImages(right))


def test_points_of_one_seed_are_told_apart_by_their_images():
    """5 wrong against 25 others, and against 5 others: McNemar of 25 to 5 and of 5 to 5; two comparisons."""
    ranking = on_images(range(5), range(100, 125), range(50, 56))
    assert [point.name for point in ranking.points] == ["p000", "p002", "p001"]
    second, third = ranking.points[1:]
    assert second.images_best is not None
    assert third.images_best is not None
    assert third.images_above is not None
    assert second.images_best.p == mcnemar(6, 5) == 1
    assert third.images_best.p_holm == pytest.approx(2 * mcnemar(25, 5))
    assert third.images_above.p_holm == pytest.approx(2 * mcnemar(25, 6))
    assert ranking.points[0].interval == wilson(195, 200)
    assert [point.contender for point in ranking.points] == [True, True, False]
    said = verdict(ranking)
    assert said.startswith(
        "p000 (optim.lr=0.01) is best, but not beyond noise: top-1 97.50% with one seed (95% CI 94.28 to 98.93%, 200 "
        "images), 0.50 points ahead of p002 (95% CI -2.50 to 4.00, exact McNemar p = 1.00)."
    )
    assert "Not distinguishable from it: p002 (2 comparisons, Holm). WARNING: it rests on one seed" in said
    table = "\n".join(lines(ranking))
    assert "94.28 to 98.93" in table
    assert "p images: exact McNemar test on the same images. Against the line above" in table
    assert "p seeds" not in table


def test_a_lead_over_images_says_that_other_seeds_are_not_in_it():
    ranking = on_images(range(5), range(100, 130))
    assert verdict(ranking).startswith("p000 (optim.lr=0.01) is best beyond noise between images: top-1 97.50%")
    assert "exact McNemar p < 0.001)" in verdict(ranking)
    assert not cautions(ranking)


def test_means_over_seeds_are_compared_between_seeds_and_over_images():
    """Seeds agree well, so that their test is sure, but the points differ on six images of 100 only."""
    samples, right = 100, {}
    for seed in range(3):
        right[f"p000-s{seed}"] = ~np.isin(np.arange(samples), [0, 1, 2, 3, 90 + seed])
        right[f"p001-s{seed}"] = ~np.isin(np.arange(samples), [20, 21, 22, 23, 24, 25, 26, 90 + seed])
    store, curves = store_of(*([right[f"p00{point}-s{seed}"].mean() for seed in range(3)] for point in (0, 1)))
    ranking = rank(store, curves, ["top1"], samples, RightImages(right))
    second = ranking.points[1]
    assert second.images_best is not None
    assert second.images_best.test == "exact sign-flip"
    assert second.images_best.p == pytest.approx(mcnemar(7, 4))  # the same images in every seed
    assert second.p_best is not None
    assert second.p_best < 0.05
    assert second.contender
    said = verdict(ranking)
    assert "is best, but not beyond noise: top-1 95.00% ± 0.00 over 3 seeds" in said
    assert "exact sign-flip p = 0.55; over seeds t-test p = 0.021)" in said
    assert "\u00b1 sd: between seeds. p seeds: t-test over seeds" in "\n".join(lines(ranking))


def test_who_is_chosen_among_many_equals_is_expected_to_be_worse():
    draws = np.random.default_rng(5)
    right = {f"p{place:03d}-s0": draws.random(300) < 0.9 for place in range(30)}
    store, curves = store_of(*([each.mean()] for each in right.values()))
    ranking = rank(store, curves, ["top1"], 300, RightImages(right))
    assert ranking.best is not None
    assert ranking.best.mean > 0.92 + 1e-9
    assert ranking.expected == pytest.approx(0.9, abs=0.01)
    (said,) = cautions(ranking)
    assert said.startswith(
        f"Chosen among 30 points by these images, {ranking.best.name} looks better than it is: top-1 of"
    )
    assert metrics(ranking)["best_top1_expected"] == ranking.expected


def test_trials_without_a_record_of_images_have_no_test_and_that_is_said():
    right = bits(range(5), range(9), range(30))
    store, curves = store_of(*([each.mean()] for each in right.values()))
    del right["p001-s0"]
    ranking = rank(store, curves, ["top1"], 200, RightImages(right, ("p001-s0",)))
    assert [point.images_best is None for point in ranking.points] == [True, True, False]
    assert ranking.points[1].contender
    assert ranking.points[1].interval == wilson(191, 200)  # of the rate alone
    assert any("not known of p001-s0 (their probabilities are not there)" in said for said in cautions(ranking))


def test_points_are_ordered_by_their_mean_over_seeds_those_with_fewer_seeds_last():
    ranking = ranked([0.5, 0.6], [0.9, 0.7], [0.65])
    assert [(point.name, point.rank, point.n) for point in ranking.points] == [
        ("p001", 1, 2), ("p000", 2, 2), ("p002", 3, 1),
    ]  # fmt: skip
    best = ranking.points[0]
    assert best.mean == pytest.approx(0.8)
    assert best.sd == pytest.approx(stats.tstd([0.9, 0.7]))
    assert ranking.points[2].sd is None
    assert ranking.lead == pytest.approx(0.25)


def test_two_points_have_the_p_of_a_t_test():
    one, other = [0.91, 0.93, 0.92], [0.90, 0.91, 0.905]
    ranking = ranked(one, other)
    assert ranking.points[1].p_above == pytest.approx(stats.ttest_ind(one, other)[1])
    assert ranking.points[1].p_above == pytest.approx(stats.f_oneway(one, other).pvalue)
    assert ranking.points[1].p_best == ranking.points[1].p_above  # one comparison needs no correction


def test_the_variance_is_pooled_over_all_points():
    points = [0.91, 0.93, 0.92], [0.90, 0.91], [0.7, 0.75, 0.72, 0.71], [0.5]
    noise = Noise.of(points, 1e-6)
    f_test = stats.f_oneway(*points)
    assert noise.freedom == 6
    assert noise.p_of_all(points) == pytest.approx(f_test.pvalue)
    within = sum((len(scores) - 1) * np.var(scores, ddof=1) for scores in points[:3]) / 6
    t = (0.92 - 0.905) / (within * (1 / 3 + 1 / 2)) ** 0.5
    assert noise.p(points[0], points[1]) == pytest.approx(2 * stats.t.sf(t, 6))
    assert noise.p(points[0], points[3]) is not None  # a point with one seed borrows the others' variance


def test_equal_points_differ_by_more_than_noise_in_one_of_twenty_sweeps():
    draws = np.random.default_rng(0)
    sweeps = 4000
    false = sum(
        ranking_p < LEVEL
        for scores in draws.normal(0.9, 0.01, (sweeps, 2, 3))
        if (ranking_p := Noise.of(scores, 1 / MANY).p(scores[0], scores[1])) is not None
    )
    assert false / sweeps == pytest.approx(0.05, abs=0.012)  # 3.5 standard errors


def test_the_true_best_stays_among_the_contenders():
    """Twelve points, two of them equally best: the one that came out lower is left out in at most 5% of sweeps."""
    draws = np.random.default_rng(1)
    truth = np.full((12, 1), 0.85)
    truth[:2] = 0.9
    left_out = 0
    for _ in range(200):
        ranking = ranked(*(truth + draws.normal(0, 0.01, (12, 3))).tolist())
        left_out += not {0, 1} <= {point.point for point in ranking.contenders}
    assert left_out <= 20  # 5% of 200, and three standard errors


def test_a_clear_winner_is_said_to_be_one():
    ranking = ranked([0.90, 0.91, 0.905], [0.80, 0.81, 0.805])
    assert verdict(ranking) == (
        "p000 (optim.lr=0.01) is best beyond noise between seeds: top-1 90.50% ± 0.50 over 3 seeds (95% CI 90.44 to "
        "90.56%, 1,000,000 images), 10.00 points ahead of p001 (noise between seeds t-test p < 0.001)."
    )
    assert ranking.contenders == [ranking.best]
    assert not cautions(ranking)


def test_an_unclear_winner_is_said_to_be_one():
    ranking = ranked([0.90, 0.92, 0.91], [0.905, 0.90, 0.92], [0.5, 0.51, 0.52])
    assert verdict(ranking).startswith("p000 (optim.lr=0.01) is best, but not beyond noise: top-1 91.00%")
    assert "Not distinguishable from it: p001 (2 comparisons, Holm)" in verdict(ranking)
    assert [point.contender for point in ranking.points] == [True, True, False]


def test_one_seed_a_point_leaves_noise_unknown():
    ranking = ranked([0.9], [0.8], [0.1])
    assert all(point.p_above is None and point.p_best is None for point in ranking.points)
    assert len(ranking.contenders) == 3
    assert "whether that is noise is unknown: one seed a point, and no record of single images" in verdict(ranking)
    assert "rests on one seed and was chosen among 3 points" in verdict(ranking)
    assert "selection bias" in verdict(ranking)
    assert "which differences are more than noise between seeds is unknown" in "\n".join(lines(ranking))


def test_seeds_that_agree_are_not_certainty():
    """On 50 images every seed gets 45 right: another point with 44 is not worse, one with 20 is."""
    ranking = ranked([0.9] * 3, [0.88] * 3, [0.4] * 3, val_samples=50)
    assert ranking.noise.sd == 1 / 50
    near, far = ranking.points[1:]
    assert near.p_above is not None
    assert near.p_above > LEVEL
    assert near.contender
    assert not far.contender


def test_sampling_error():
    assert sampling_error(0.9, 100) == pytest.approx(0.03)
    assert sampling_error(1.0, 100) == 0.01  # all right: not known better than one image
    assert "standard error of 3.00 points" in cautions(ranked([0.9] * 3, [0.89] * 3, val_samples=100))[1]
    with pytest.raises(ConfigError, match="val_samples"):
        ranked([0.9], val_samples=0)


def test_ties_share_a_rank():
    ranking = ranked([0.3, 0.1], [0.9, 0.7], [0.7, 0.9], [0.8, 0.8])
    assert [(point.rank, point.point) for point in ranking.points] == [(1, 1), (1, 2), (1, 3), (4, 0)]
    assert "ties with p002 (" in verdict(ranking)
    assert ranking.points[1].p_above == pytest.approx(1)


def test_points_that_did_not_finish_come_after():
    store, curves = store_of([0.9], [0.99], [0.98], [0.97], [0.96])
    for place, state, until, reason in ((1, FAILED, 2, "out of memory"), (2, STOPPED, 5, "asha"), (3, WAITING, 0, "")):
        trial = store.trials[place]
        trial.state, trial.reason = state, reason
        curves[trial.name] = curve(0.99, until=until) if until else []
    curves["p004-s0"] = curve(0.96, until=11)  # finished, but its final score is lost
    ranking = rank(store, curves, ["top1"], 100)
    assert [point.point for point in ranking.points] == [0]
    assert [(point.point, point.epoch, point.ended) for point in ranking.rest] == [
        (4, 11, "finished: no final score"), (2, 5, "stopped at epoch 5: asha"),
        (1, 2, "failed at epoch 2: out of memory"), (3, 0, "waiting"),
    ]  # fmt: skip
    assert ranking.rest[1].top1 == curves["p002-s0"][-1].top1
    assert "only point that finished" in verdict(ranking)
    assert "rests on one seed and was chosen among 5 points" in verdict(ranking)
    assert any("1 trial has not ended yet" in caution for caution in cautions(ranking))


def test_a_point_is_ranked_on_the_seeds_that_finished():
    store, curves = store_of([0.9, 0.92, 0.1], [0.8, 0.82, 0.81])
    store.trials[2].state, store.trials[2].reason = STOPPED, "median"
    ranking = rank(store, curves, ["top1"], MANY)
    best = ranking.points[0]
    assert (best.n, best.trials, best.mean) == (2, 3, pytest.approx(0.91))
    assert best.ended == "1 stopped at epoch 12: median"
    assert "2 of 3 seeds" in cautions(ranking)[0]
    assert "2 of 3" in "\n".join(lines(ranking))


def test_finalists_were_chosen_by_their_first_seed():
    ranking = ranked([0.95, 0.90, 0.91], [0.80], [0.79])
    assert "without it p000 has 90.50%" in cautions(ranking)[0]
    lucky = ranked([0.95, 0.90, 0.91], [0.93], [0.79])
    assert [point.point for point in lucky.points] == [0, 1, 2]
    assert "Higher with one seed, which may be luck: p001 93.00%" in verdict(lucky)


def test_a_seed_that_is_higher_beyond_noise_is_a_contender():
    """Tests are two-sided: it differs from the best of several seeds by being better."""
    ranking = ranked([0.90, 0.91, 0.905], [0.99], [0.80])
    best, lucky, weak = ranking.points
    assert (best.point, lucky.point, weak.point) == (0, 1, 2)
    assert lucky.differs
    assert weak.differs
    assert ranking.contenders == [best, lucky]
    assert "Higher with one seed, which may be luck: p001 99.00%" in verdict(ranking)
    assert "Not distinguishable" not in verdict(ranking)


def test_changes_on_the_way_are_said():
    store, curves = store_of([0.9], [0.8])
    store.trials[0].changes = [[3, "optim.lr", 0.1]]
    ranking = rank(store, curves, ["top1"], 100)
    assert ranking.points[0].ended == "1 change on the way"
    assert any("PBT" in caution for caution in cautions(ranking))


def test_nothing_finished():
    store, curves = store_of([0.9], [0.8])
    for trial in store.trials:
        trial.state, trial.reason = FAILED, "no GPU"
    ranking = rank(store, curves, ["top1"], 100)
    assert verdict(ranking) == "No point has a final score, so there is nothing to rank. Trials: 2 failed."
    assert "no GPU" in "\n".join(lines(ranking))


def test_an_empty_store():
    ranking = rank(TrialStore(), Curves(), ["top1"], 100)
    assert verdict(ranking).endswith("Trials: none.")
    assert (ranking.best, ranking.lead, ranking.contenders, cautions(ranking)) == (None, None, [], [])
    assert lines(ranking)
    assert markdown(ranking)


def test_the_best_trade_offs():
    store, curves = store_of([0.9, 0.9], [0.8, 0.8], [0.7, 0.7], [0.9, 0.9])
    for trial in store.trials:
        curves[trial.name] = curve(curves[trial.name][-1].top1, images_per_s=[100, 300, 200, 90][trial.point])
    ranking = rank(store, curves, ["top1", "images_per_s"], 100)
    assert [point.point for point in ranking.front] == [0, 1]
    assert ranking.points[0].images_per_s == pytest.approx(100)
    assert "Best trade-offs of top-1 and images/s: p000, p001." in verdict(ranking)
    assert not rank(store, curves, ["top1"], 100).front


def test_speed_is_all_images_by_all_the_time():
    store, curves = store_of([0.9])
    broken = replace(evaluation(4, 0.9, last=True), images_per_s=math.inf)
    curves["p000-s0"] = [evaluation(1, 0.5, images_per_s=10), evaluation(3, 0.6, images_per_s=40), broken]
    assert rank(store, curves, ["top1"], 100).points[0].images_per_s == pytest.approx(30 / (10 / 10 + 20 / 40))


@settings(max_examples=60, deadline=None)
@given(st.lists(SCORES, min_size=1, max_size=6), st.randoms())
def test_the_order_of_trials_does_not_matter(points: list[list[int]], random):
    store, curves = store_of(*[[right / 50 for right in scores] for scores in points])
    before = rank(store, curves, ["top1", "images_per_s"], 50)
    random.shuffle(store.trials)
    assert rank(store, curves, ["top1", "images_per_s"], 50) == before


@settings(max_examples=60, deadline=None)
@given(st.lists(SCORES, min_size=1, max_size=6))
def test_figures_are_finite_and_one_seed_is_always_said(points: list[list[int]]):
    ranking = ranked(*[[right / 50 for right in scores] for scores in points], val_samples=50)
    figures = [(each.mean, each.sd, each.p_above, each.p_best, each.sampling_error) for each in ranking.points]
    assert all(math.isfinite(figure) for row in figures for figure in row if figure is not None)
    assert all(0 <= p <= 1 for row in figures for p in row[2:4] if p is not None)
    assert ranking.best is not None
    assert ranking.best.contender
    assert ("rests on one seed" in verdict(ranking)) == (ranking.best.n == 1)
    assert "nan" not in verdict(ranking)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["optim.lr", "sampling", "a|b", "x.lr", "[red]", "y"]), VALUES), min_size=1
    )
)
def test_any_values_make_a_table(values: list[dict]):
    store, curves = store_of(*([0.5, 0.6] for _ in values), values=values)
    ranking = rank(store, curves, ["top1"], 100)
    table = lines(ranking)
    assert max(map(len, table)) <= 120
    assert all(line.isprintable() for line in table)
    assert sum(bool(re.search(r"\bp\d{3}\b", line)) for line in table) >= len(values)
    rows = [line for line in markdown(ranking).splitlines() if line.startswith("| ")]
    columns = len(ranking.keys) + 9
    assert all(len(re.findall(r"(?<!\\)\|", row)) == columns + 1 for row in rows)
    assert len(rows) == len(values) + 2
    read = list(csv.reader(io.StringIO(csv_text(ranking))))
    assert len(read) == len(values) + 1
    assert len({len(row) for row in read}) == 1


def test_the_terminal_table():
    ranking = rank(*realistic(), ["top1", "images_per_s"], 360, right_images(*realistic()))
    table = lines(ranking)
    text = "\n".join(table)
    assert max(map(len, table)) <= 120
    for word in ("rand…", "*F 1", "96.02", "94.44 to 97.50", "2 of 3", "3 faile…", "29 finished, 9 stopped, 4 failed"):
        assert word in text
    assert next(line for line in table if "p010" in line).split()[6] == "-"  # a key that the point does not have


def test_markup_is_text():
    store, curves = store_of([0.9], values=[{"a": "[bold]x[/bold]", "b": "<b>|"}])
    ranking = rank(store, curves, ["top1"], 100)
    assert "[bold]x[/bold]" in "\n".join(lines(ranking))
    assert r"\<b\>\|" in markdown(ranking)


def test_a_long_value_does_not_hide_the_others():
    ranking = rank(*store_of([0.9], values=[{"a": "x" * 500, "b": 7}]), ["top1"], 100)
    assert "x…, b=7)" in verdict(ranking)
    assert "x" * 500 in markdown(ranking)


def test_the_csv_is_exact():
    store, curves = store_of([1 / 3, 0.5], [0.1], values=[{"lr": 0.1 + 0.2, "crop": [0.08, 1.0]}, {"crop": None}])
    first, second = csv.DictReader(io.StringIO(csv_text(rank(store, curves, ["top1"], 100))))
    assert float(first["lr"]) == 0.1 + 0.2
    assert float(first["top1_min"]) == 1 / 3
    assert (first["crop"], second["crop"], second["lr"]) == ("[0.08, 1.0]", "null", "")
