"""How often intervals and verdicts are wrong, by simulation: docs/statistics.md has the figures of longer runs.

A rate of few hundred repetitions is itself uncertain, so bounds are met give or take one standard error of it; the
draws are the same every time. With several seeds and with folds an interval is a hull of two on purpose, and noise in
single examples is in both variances: it may cover more than 97 %, and only the lower bound is held to.
"""

from functools import partial

import numpy as np
import pytest

from simulating import ROWS, accuracy, arms, cross_validated, entity_f1, tagger, times, true_accuracy
from unfreeze.compare import intervals
from unfreeze.compare.statistics import examples_needed, paired_difference, score_interval
from unfreeze.recommend import Arm, recommend

FIRST, SECOND, MOST = np.arange(5), np.arange(5, 10), np.arange(8)


def allowance(bound, many):
    return np.sqrt(bound * (1 - bound) / many)


def at_least(rate, bound, many):
    return rate >= bound - allowance(bound, many)


def at_most(rate, bound, many):
    return rate <= bound + allowance(bound, many)


# --- the rates; called with more repetitions for the figures in the documents ---


def score_coverage(make, score, truth, many, *, resamples=1000):
    held = []
    for random in times(many):
        found = score_interval(make(random), score, resamples=resamples)
        held.append(found.low <= truth <= found.high)
    return np.mean(held)


def difference_coverage(make, truth, many, *, resamples=1000):
    held = []
    for random in times(many):
        a, b = make(random)
        interval = paired_difference(a, b, score=accuracy, resamples=resamples).interval
        held.append(interval.low <= truth <= interval.high)
    return np.mean(held)


def verdicts(make, many, *, margin=0.01):
    """Of each repetition the verdict, and the verdicts over the pairs."""
    for random in times(many):
        made = [Arm(str(i), runs, train_seconds=i) for i, runs in enumerate(make(random))]
        judged = recommend(made, accuracy, metric="accuracy", margin=margin)
        yield judged.verdict, [pair.verdict for pair in judged.rivals]


def called(what, make, many, *, margin=0.01):
    """How often a pair of a comparison is called better, or tied."""
    return np.mean([what in pairs for _, pairs in verdicts(make, many, margin=margin)])


def settled_with_what_was_needed(make, many, *, margin=0.01, most=20_000):
    """Of open pairs, how many are settled by as many examples as were said to be needed."""
    settled = []
    for random in times(many):
        pilot = paired_difference(*make(random), score=accuracy)
        reach = pilot.interval
        if reach.low > 0 or reach.high < 0 or (reach.low >= -margin and reach.high <= margin):
            continue
        needed = examples_needed(pilot, margin, n=pilot.examples)
        if needed is None or needed > most:
            continue
        size = needed * make(random)[0].examples // pilot.examples  # examples of as many documents
        found = paired_difference(*make(random, examples=size), score=accuracy).interval
        tie = found.low >= -margin and found.high <= margin
        settled.append(found.low > 0 or found.high < 0 or tie)
    assert len(settled) > many / 5
    return np.mean(settled)


# --- scores ---

ONE_RUN = {
    "accuracy": (partial(arms, shares=[0.8], seeds=1), accuracy),
    "accuracy near 1": (partial(arms, shares=[0.93], seeds=1), accuracy),
    "accuracy, 30 documents": (partial(arms, shares=[0.8], seeds=1, members=10), accuracy),
    "accuracy, 20 documents": (partial(arms, shares=[0.8], seeds=1, members=15), accuracy),
    "entity F1": (tagger, entity_f1),
    "entity F1, 40 documents": (partial(tagger, members=5), entity_f1),
}
SEVERAL_RUNS = {
    "accuracy, 3 seeds": (partial(arms, shares=[0.8], seeds=3, noise=0.02), accuracy),
    "accuracy, 2 seeds, much noise": (partial(arms, shares=[0.8], seeds=2, noise=0.05), accuracy),
    "accuracy, 3 seeds, 30 documents": (partial(arms, shares=[0.8], seeds=3, noise=0.02, members=10), accuracy),
    "entity F1, 3 seeds": (partial(tagger, seeds=3, noise=0.03), entity_f1),
}


def one_of(make, random):
    made = make(random)
    return made[0] if isinstance(made, list) else made


def truth_of(name):
    return 0.93 if name == "accuracy near 1" else 0.8


@pytest.mark.parametrize("name", ONE_RUN)
def test_95_percent_intervals_of_a_score_from_one_run_cover_93_to_97_percent(name):
    make, score = ONE_RUN[name]
    rate = score_coverage(partial(one_of, make), score, truth_of(name), 400)
    assert at_least(rate, 0.93, 400)
    assert at_most(rate, 0.97, 400)


@pytest.mark.parametrize("name", SEVERAL_RUNS)
def test_95_percent_intervals_of_a_score_from_several_seeds_hold_the_training_noise_too(name):
    make, score = SEVERAL_RUNS[name]
    rate = score_coverage(partial(one_of, make), score, truth_of(name), 300)
    assert at_least(rate, 0.93, 300)
    assert rate <= 0.995, "wider than needed, but not without end"


@pytest.mark.parametrize("seeds", [1, 2])
def test_intervals_of_a_cross_validated_score_cover_at_least_93_percent(seeds):
    def make(random):
        return cross_validated(random, [FIRST], seeds=seeds)[0]

    assert at_least(score_coverage(make, accuracy, true_accuracy(FIRST, many=1000), 200), 0.93, 200)


# --- differences ---

PAIRS = {
    "2 seeds": partial(arms, shares=[0.85, 0.82], seeds=2, noise=0.01),
    "3 seeds": partial(arms, shares=[0.85, 0.82], seeds=3, noise=0.02),
    "5 seeds": partial(arms, shares=[0.85, 0.82], seeds=5, noise=0.03),
    "3 seeds, 30 documents": partial(arms, shares=[0.85, 0.82], seeds=3, noise=0.02, members=10),
}


@pytest.mark.parametrize("name", PAIRS)
def test_95_percent_intervals_of_a_difference_on_one_split_cover_at_least_93_percent(name):
    rate = difference_coverage(PAIRS[name], 0.03, 300)
    assert at_least(rate, 0.93, 300)
    assert rate <= 0.995, "wider than needed, but not without end"


@pytest.mark.parametrize(("features", "seeds"), [((FIRST, SECOND), 1), ((MOST, FIRST), 1), ((FIRST, SECOND), 2)])
def test_intervals_of_a_cross_validated_difference_cover_at_least_93_percent(features, seeds):
    truth = true_accuracy(features[0], many=1000) - true_accuracy(features[1], many=1000)
    truth = 0.0 if len(features[0]) == len(features[1]) else truth  # equal by symmetry
    rate = difference_coverage(partial(cross_validated, features=features, seeds=seeds), truth, 200)
    assert at_least(rate, 0.93, 200)


# --- verdicts ---

EQUAL = {
    "2 arms": partial(arms, shares=[0.8] * 2),
    "2 arms, training noise": partial(arms, shares=[0.8] * 2, examples=1000, noise=0.02),
    "2 arms, 30 documents": partial(arms, shares=[0.8] * 2, members=10),
    "2 arms that differ on few examples": partial(arms, shares=[0.99] * 2, alike=0.9),
    "2 arms, cross-validated": partial(cross_validated, features=(FIRST, SECOND)),
}


@pytest.mark.parametrize("name", EQUAL)
def test_of_two_equal_arms_one_is_called_better_in_at_most_5_percent(name):
    assert at_most(called("better", EQUAL[name], 250), 0.05, 250)


def test_of_five_equal_arms_the_best_is_called_better_than_any_in_at_most_5_percent(monkeypatch):
    monkeypatch.setattr(intervals, "_DRAWS_PER_TAIL", 5)  # rougher ends, five times as fast
    assert at_most(called("better", partial(arms, shares=[0.8] * 5, examples=250), 150), 0.05, 150)


@pytest.mark.parametrize(("examples", "margin"), [(200, 0.01), (1000, 0.02), (2500, 0.03)])
def test_arms_three_points_apart_are_called_a_tie_in_at_most_5_percent(examples, margin):
    make = partial(arms, shares=[0.85, 0.82], examples=examples, noise=0.005)
    assert at_most(called("tie", make, 100, margin=margin), 0.05, 100)


def test_arms_ten_points_apart_are_found_and_equal_ones_are_tied_where_examples_suffice():
    apart = partial(arms, shares=[0.9, 0.8], examples=600, seeds=3, noise=0.005)
    assert np.mean([verdict == "better" for verdict, _ in verdicts(apart, 60)]) > 0.9
    equal = partial(arms, shares=[0.9, 0.9], examples=6000, seeds=3, alike=0.98)
    assert np.mean([verdict == "tie" for verdict, _ in verdicts(equal, 20)]) > 0.7


@pytest.mark.parametrize("members", [1, 5])
def test_as_many_examples_as_were_said_to_be_needed_settle_about_half_or_more(members):
    make = partial(arms, shares=[0.85, 0.80], examples=ROWS, noise=0.003, members=members)
    assert settled_with_what_was_needed(make, 60) > 0.45
