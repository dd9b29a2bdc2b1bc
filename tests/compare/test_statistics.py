"""Intervals and paired differences: by hand and as laws; how often they are wrong is simulated in test_coverage."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.compare.clusters import Clusters
from unfreeze.compare.intervals import bootstrap_interval, unseen_share
from unfreeze.compare.statistics import (
    Difference,
    Interval,
    RunScores,
    examples_needed,
    have_common_run,
    holm,
    paired_difference,
    score_interval,
    selection_score,
)


def accuracy(sums):
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


def right(values):
    """Counts (correct, 1) of examples that are right or wrong."""
    values = np.asarray(values, dtype=float)
    return np.stack([values, np.ones_like(values)], axis=-1)


def arm(correct, share=0.25, folds=1):
    """Runs from (seeds, examples) of right and wrong; folds are equal runs of examples."""
    correct = np.asarray(correct, dtype=float)
    scores = np.stack([part.mean(axis=1) for part in np.split(correct, folds, axis=1)], axis=1)
    return RunScores(scores, right(correct), share)


def difference(mean, low, high, limited_by="examples"):
    return Difference(mean, Interval(low, high, 0.95, ""), 0.5, "", 3, 100, limited_by)


# --- one arm ---


def test_the_interval_holds_the_score_and_says_what_it_rests_on():
    interval = bootstrap_interval(right([1] * 320 + [0] * 80), accuracy)
    assert interval.low == pytest.approx(0.8 - 1.96 * 0.02, abs=0.006)
    assert interval.high == pytest.approx(0.8 + 1.96 * 0.02, abs=0.006)
    assert interval.basis == "bootstrap over 400 examples"


def test_examples_without_one_error_do_not_make_a_certain_score():
    interval = bootstrap_interval(right([1] * 20), accuracy)
    assert interval.high == 1
    assert interval.low == pytest.approx(0.025 ** (1 / 20))  # Clopper & Pearson
    assert unseen_share(1000, 0.95) == pytest.approx(0.0037, abs=0.0001)


def test_clusters_that_agree_within_widen_the_interval():
    values = np.repeat(np.random.default_rng(0).random(40) < 0.7, 10)
    alone = bootstrap_interval(right(values), accuracy)
    drawn = bootstrap_interval(right(values), accuracy, clusters=Clusters(np.arange(400) // 10, "document"))
    assert (drawn.high - drawn.low) / (alone.high - alone.low) == pytest.approx(np.sqrt(10), rel=0.15)
    assert drawn.basis == "bootstrap over 40 documents"


@given(st.lists(st.booleans(), min_size=2, max_size=40), st.randoms())
def test_the_interval_does_not_depend_on_the_order_of_the_examples_and_repeats_itself(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    first = bootstrap_interval(right(values), accuracy, resamples=200)
    assert first == bootstrap_interval(right(shuffled), accuracy, resamples=200)
    assert 0 <= first.low <= np.mean(values) <= first.high <= 1


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        (np.ones((0, 2)), {}, "one example or more"),
        (np.array([[np.nan, 1.0]]), {}, "finite"),
        (np.ones((3, 2)), {"clusters": Clusters(np.zeros(1))}, "one cluster an example"),
        (np.ones((3, 2)), {"level": 95}, "between 0 and 1"),
    ],
)
def test_counts_and_levels_that_make_no_sense_are_refused(counts, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(counts, accuracy, **options)


@pytest.mark.parametrize(
    ("ends", "clipped"),
    [((-1.4, 1.6), (-1, 1)), ((-0.2, 1.6), (-0.2, 1)), ((0.1, 0.2), (0.1, 0.2)), ((1.1, 1.2), (1, 1))],
)
def test_a_clipped_interval_ends_where_differences_end(ends, clipped):
    made = Interval(*ends, 0.95, "why").clipped(-1, 1)
    assert (made.low, made.high, made.level, made.basis) == (*clipped, 0.95, "why")


# --- two arms ---


def test_the_difference_is_of_seed_mean_scores_and_turns_its_sign_with_the_arms():
    random = np.random.default_rng(3)
    a, b = arm(random.random((3, 200)) < 0.8), arm(random.random((3, 200)) < 0.7)
    there, back = paired_difference(a, b, score=accuracy), paired_difference(b, a, score=accuracy)
    assert there.mean == pytest.approx(selection_score(a, accuracy) - selection_score(b, accuracy))
    assert there.mean == pytest.approx(-back.mean)
    assert there.interval.low == pytest.approx(-back.interval.high, abs=0.004)
    assert there.runs == 3
    assert there.examples == 200


def test_folds_give_the_corrected_resampled_t_interval_worked_by_hand():
    a = arm([[1, 1, 1, 0, 1, 1, 1, 1, 1, 1] * 10], folds=5)
    gaps = np.array([0.1, 0.3, 0.2, 0.0, 0.4])
    b = RunScores(a.scores - gaps, np.array(a.counts), 0.25)
    b.counts[0, :20, 0] = 0  # pooled difference .18: 18 of the first 20 were right
    found = paired_difference(a, b, score=accuracy)
    reach = 2.776445 * np.sqrt(gaps.var(ddof=1) * (1 / 5 + 0.25))
    assert found.mean == pytest.approx(0.18)
    assert found.interval.low == pytest.approx(0.18 - reach, rel=1e-5)
    assert found.interval.high == pytest.approx(0.18 + reach, rel=1e-5)
    assert "corrected resampled t" in found.basis


def test_one_split_adds_the_training_noise_of_both_arms_to_the_sampling_noise():
    pattern = np.arange(1000) % 10
    a = arm([pattern < 8, pattern < 9, pattern < 7])
    b = arm([pattern < 6, pattern < 6, pattern < 6])
    found = paired_difference(a, b, score=accuracy)
    training = a.scores.var(ddof=1) / 3
    sampling = (a.counts.mean(axis=0) - b.counts.mean(axis=0))[:, 0].var() / 1000
    freedom = (training + sampling) ** 2 / (training**2 / 2 + sampling**2 / 999)
    assert 2 < freedom < 3  # so t lies between 3.18 and 4.30
    width = (found.interval.high - found.interval.low) / 2
    assert 3.18 < width / np.sqrt(training + sampling) < 4.31
    assert found.limited_by == "runs"


def test_one_run_rests_on_examples_alone_and_says_so():
    random = np.random.default_rng(4)
    found = paired_difference(arm(random.random((1, 300)) < 0.9), arm(random.random((1, 300)) < 0.5), score=accuracy)
    assert found.runs == 1
    assert found.limited_by == "runs"
    assert found.basis == "one run: bootstrap over 300 examples, training noise not seen"


def test_equal_predictions_on_few_examples_are_no_certain_tie():
    few, many = arm([[1, 0] * 10] * 2), arm([[1, 0] * 1000] * 2)
    assert paired_difference(few, few, score=accuracy).interval.high > 0.1
    same = paired_difference(many, many, score=accuracy)
    assert (same.mean, same.p_value) == (0, 1)
    assert 0 < same.interval.high < 0.01


@pytest.mark.parametrize(("differ", "excluded"), [(4, False), (5, False), (7, True), (10, True)])
def test_few_examples_all_in_favour_of_one_arm_are_judged_like_the_exact_sign_test(differ, excluded):
    worse = np.ones((2, 200))
    worse[:, :differ] = 0
    found = paired_difference(arm(np.ones((2, 200))), arm(worse), score=accuracy)
    assert found.mean == pytest.approx(differ / 200)
    assert (found.interval.low > 0) == excluded
    assert found.p_value == pytest.approx(2 * 0.5**differ, abs=0.02)


def test_failed_runs_are_left_out_of_the_pairs_and_pull_the_selection_score_down():
    correct = np.tile([1.0, 1.0, 1.0, 0.0], (2, 25))
    whole, broken = arm(correct), arm(np.where([[False], [True]], np.nan, correct))
    assert paired_difference(whole, broken, score=accuracy).mean == 0
    assert paired_difference(whole, broken, score=accuracy).runs == 1
    assert (whole.failed_runs, broken.failed_runs) == (0, 1)
    assert selection_score(whole, accuracy) == 0.75
    assert selection_score(broken, accuracy) == 0.375
    other = arm(np.where([[True], [False]], np.nan, correct))
    assert not have_common_run(broken, other)
    with pytest.raises(ValueError, match="no finished run in common"):
        paired_difference(broken, other, score=accuracy)
    assert np.isnan(selection_score(arm(correct * np.nan), accuracy))


def test_what_a_failed_fold_left_out_counts_as_wrong():
    half = np.where(np.arange(100) < 50, np.tile([1.0, 1.0, 1.0, 1.0, 0.0], 20), np.nan)
    assert selection_score(arm([half], folds=2), accuracy) == pytest.approx(0.4)


def test_arms_that_do_not_pair_up_are_refused():
    with pytest.raises(ValueError, match="same folds and examples"):
        paired_difference(arm([[1, 0]]), arm([[1, 0, 1]]), score=accuracy)
    with pytest.raises(ValueError, match="as many seeds"):
        RunScores(np.ones((2, 1)), np.ones((3, 4, 2)), 0.25)
    with pytest.raises(ValueError, match="above 0"):
        arm([[1, 0]], share=0)


def test_a_closed_form_floor_stands_for_every_seed():
    floor = arm([[1, 0, 1, 1]])
    assert floor.repeated(3).counts.shape == (3, 4, 2)
    assert floor.repeated(3).repeated(5).seeds == 3


def test_clusters_are_resampled_together_in_a_difference_and_are_what_it_counts():
    random = np.random.default_rng(6)
    a = np.repeat(random.random((2, 40)) < 0.8, 10, axis=1)
    b = np.repeat(random.random((2, 40)) < 0.7, 10, axis=1)
    apart = paired_difference(arm(a), arm(b), score=accuracy)
    documents = Clusters(np.arange(400) // 10, "document")
    drawn = paired_difference(replace(arm(a), clusters=documents), replace(arm(b), clusters=documents), score=accuracy)
    assert (apart.examples, drawn.examples) == (400, 40)
    assert drawn.interval.high - drawn.interval.low > 1.5 * (apart.interval.high - apart.interval.low)
    assert drawn.basis == "2 seeds on one validation split and a bootstrap over 40 documents, their variances added"


def test_clusters_that_do_not_fit_are_refused():
    documents, others = Clusters(np.array([0, 0, 1])), Clusters(np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="one cluster an example: 2 examples"):
        replace(arm([[1, 0]]), clusters=documents)
    one, other = (replace(arm([[1, 0, 1]]), clusters=which) for which in (documents, others))
    for rival in (other, arm([[1, 0, 1]])):
        with pytest.raises(ValueError, match="with the same clusters"):
            paired_difference(one, rival, score=accuracy)


# --- the score of one arm, with what its runs show ---


def test_the_interval_of_a_score_holds_training_noise_where_there_are_several_seeds():
    pattern = np.arange(1000) % 10
    alike, noisy = arm([pattern < 8] * 3), arm([pattern < 8, pattern < 9, pattern < 7])
    sure, unsure = score_interval(alike, accuracy), score_interval(noisy, accuracy)
    assert sure.high - sure.low < 0.06
    assert unsure.low <= 0.8 - 4.3 * np.sqrt(0.01 / 3), "two degrees of freedom, for nearly all of it is training noise"
    assert unsure.basis == "3 seeds on one validation split and a bootstrap over 1,000 examples, their variances added"
    one = score_interval(arm([pattern < 8]), accuracy)
    assert one.basis == "one run: bootstrap over 1,000 examples, training noise not seen"
    plain = bootstrap_interval(right(pattern < 8), accuracy)
    assert (one.low, one.high) == (plain.low, plain.high)


def test_the_interval_of_a_cross_validated_score_is_corrected_for_shared_training_rows():
    found = score_interval(arm([[1] * 100 + [1] * 80 + [0] * 20 + [1] * 60 + [0] * 40], folds=3), accuracy)
    scores = np.array([1.0, 0.8, 0.6])
    reach = 4.302653 * np.sqrt(scores.var(ddof=1) * (1 / 3 + 0.25))
    assert found.low == pytest.approx(0.8 - reach, rel=1e-5)
    assert found.high == 1, "a score ends there"
    assert "corrected resampled t" in found.basis


def test_a_run_that_failed_counts_as_nothing_in_the_interval_of_a_score():
    correct = np.tile([1.0, 1.0, 1.0, 0.0], (3, 25))
    found = score_interval(arm(np.where([[False], [False], [True]], np.nan, correct)), accuracy)
    assert found.low == 0
    assert found.high > 0.75, "half of the runs could have failed, or none"
    none = score_interval(arm(correct * np.nan), accuracy)
    assert (none.low, none.high, none.basis) == (0, 1, "no finished run")


# --- many comparisons, and what would settle one ---


def test_holm_is_as_worked_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03], family=6) == pytest.approx([0.06, 0.16, 0.15]), "the three of six that were picked"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_raises_p_values_keeps_their_order_and_never_exceeds_bonferroni(p_values):
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1, p * len(p_values)) or q == pytest.approx(min(1, p * len(p_values)))
    in_order = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
    assert in_order == sorted(in_order)


@pytest.mark.parametrize(
    ("mean", "low", "high", "margin", "needed"),
    [
        (0.02, -0.02, 0.06, 0.01, 1600),  # half-width .04 must fall to .02
        (0.0, -0.02, 0.02, 0.01, 1600),  # inside the margin
        (0.002, -0.018, 0.022, 0.01, 2500),  # half-width .02 must fall to .008, sooner than to .002
        (0.0, -0.02, 0.02, 0.0, None),
    ],
)
def test_examples_needed_follow_one_over_the_square_root(mean, low, high, margin, needed):
    found = examples_needed(difference(mean, low, high), margin, n=400)
    assert found == (needed if needed is None else pytest.approx(needed, abs=1))


def test_training_noise_that_examples_do_not_take_away_is_reckoned_with():
    half = replace(difference(0.02, -0.02, 0.06), training_share=0.2)
    assert examples_needed(half, 0.01, n=400) == pytest.approx(400 * 0.8 / (0.25 - 0.2), abs=1)
    assert examples_needed(replace(half, training_share=0.3), 0.01, n=400) is None, (
        "not even with all examples there are"
    )


def test_examples_do_not_help_where_training_noise_is_the_limit():
    assert examples_needed(difference(0.02, -0.02, 0.06, "runs"), 0.01, n=400) is None
