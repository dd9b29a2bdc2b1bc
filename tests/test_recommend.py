"""Verdicts from made-up arms whose right verdict is known."""

import dataclasses
import json
import random as shuffler
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.compare import numerals
from unfreeze.compare.clusters import Clusters
from unfreeze.compare.statistics import Interval, RunScores, examples_needed, holm, paired_difference
from unfreeze.recommend import Arm, Comparison, Recommendation, as_dict, recommend
from unfreeze.recommend.wording import sentences


def accuracy(sums):
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


def runs(share, *, examples=2000, seeds=3, differing=0.0, failed=0):
    """Runs that are right on the first ``share`` of the examples, each seed a little more or less."""
    place = (np.arange(examples) + 0.5) / examples
    shares = share + differing * np.linspace(-1, 1, seeds)[:, None] if seeds > 1 else np.array([[share]])
    counts = np.stack([(place < shares).astype(float), np.ones((seeds, examples))], axis=2)
    counts[seeds - failed :] = np.nan
    return RunScores(counts[..., 0].mean(axis=1, keepdims=True), counts, 0.25)


def arm(name, share, *, seconds=10.0, **rest):
    known = {field.name for field in dataclasses.fields(Arm)}
    about = {key: rest.pop(key) for key in list(rest) if key in known}
    return Arm(name, runs(share, **rest), train_seconds=seconds, **about)


def judge(*arms, **options):
    return recommend(arms, accuracy, metric="accuracy", **options)


def test_an_arm_far_above_every_other_is_better_and_is_handed_over():
    made = judge(arm("last-k", 0.80), arm("full", 0.90, seconds=99), arm("head", 0.7))
    assert (made.verdict, made.best, made.chosen) == ("better", "full", "full")
    assert [pair.rival for pair in made.rivals] == ["last-k", "head"]
    assert made.sentences[0].startswith("full beats last-k by 10.0 points of accuracy (98.3\u00a0% interval 8.")
    assert "and 1 other arm more clearly" in made.sentences[0]
    assert made.cheapest is None


def test_arms_inside_the_margin_tie_and_the_cheapest_is_handed_over():
    made = judge(arm("full", 0.900, seconds=99), arm("last-k", 0.899, seconds=20), arm("head", 0.7, seconds=1))
    assert (made.verdict, made.best, made.chosen) == ("tie", "full", "last-k")
    assert [pair.verdict for pair in made.rivals] == ["tie", "better"]
    assert made.sentences[0].startswith("full ties with last-k (0.1 points of accuracy")
    assert made.sentences[1] == "last-k is handed over: the cheapest of the tied."


def test_absence_of_evidence_is_no_tie():
    made = judge(arm("full", 0.90, examples=100, seconds=99), arm("head", 0.89, examples=100, seconds=1))
    assert (made.verdict, made.best, made.chosen) == ("not settled", "full", "full")
    assert made.cheapest.name == "head"
    assert made.cheapest.risk == made.rivals[0].interval.high > 0.01
    assert made.examples_needed > 100
    assert made.sentences[0].startswith(
        "Not settled: full leads head by 1.0 points of accuracy (95\u00a0% interval 0.0 to "
    )
    assert f"About {made.examples_needed:,} scored examples would settle it" in " ".join(made.sentences)


def test_where_documents_were_resampled_the_sentences_count_documents():
    documents = Clusters(np.arange(400) // 4, "document")
    arms = [arm("full", 0.90, examples=400, seconds=99), arm("head", 0.89, examples=400, seconds=1)]
    made = judge(*(dataclasses.replace(a, runs=dataclasses.replace(a.runs, clusters=documents)) for a in arms))
    said = " ".join(made.sentences)
    assert f"About {made.examples_needed:,} scored documents would settle it" in said
    assert "(100 now)" in said
    assert "This rests on 3 seeds on one validation split and 400 examples in 100 documents." in said
    assert made.examples_needed == made.rivals[0].examples_needed > 100
    assert as_dict(made)["rests_on"] | {"units": 100, "unit": "document"} == as_dict(made)["rests_on"]


def test_who_prefers_cheap_gets_the_cheapest_not_shown_to_be_worse():
    arms = [arm("full", 0.90, examples=100, seconds=99), arm("head", 0.89, examples=100, seconds=1)]
    made = judge(*arms, arm("worst", 0.2, examples=100, seconds=0.1), prefer="cheap")
    assert made.chosen == "head"
    assert "the cheapest arm not shown to be worse than full; it may score up to" in made.sentences[1]
    assert judge(arm("full", 0.9), arm("head", 0.7, seconds=1), prefer="cheap").chosen == "full"


def test_one_run_settles_nothing():
    made = judge(arm("full", 0.9, seeds=1), arm("head", 0.5, seeds=1))
    assert made.verdict == "not settled"
    assert made.examples_needed is None
    assert "one run cannot show training noise" in made.sentences[0]
    assert "Run two seeds or more to let it be settled." in made.sentences


def test_where_training_noise_is_the_limit_more_seeds_are_asked_for():
    made = judge(arm("full", 0.90, differing=0.05), arm("head", 0.87, differing=0.05))
    assert made.verdict == "not settled"
    assert made.examples_needed is None
    assert any("more seeds would help" in sentence for sentence in made.sentences)


def test_a_starved_rival_cannot_lose_and_does_not_hold_up_the_verdict_over_the_others():
    starved = arm("lora", 0.5, starved="its best rate is the highest tried")
    made = judge(arm("full", 0.9), arm("head", 0.7), starved)
    assert made.verdict == "better"
    assert {pair.rival: pair.verdict for pair in made.rivals} == {"head": "better", "lora": "not settled"}
    assert "lora was starved and cannot lose a verdict: its best rate is the highest tried." in made.sentences
    alone = judge(arm("full", 0.9), starved)
    assert alone.verdict == "not settled"
    assert alone.sentences[0].endswith("; lora is starved.")
    several = judge(arm("full", 0.9, seeds=1), starved, arm("ia3", 0.4, starved="x"), arm("head", 0.7, seeds=1))
    assert several.sentences[0].endswith("; ia3 and lora are starved; one run cannot show training noise.")


def test_a_starved_best_can_win_but_does_not_lose_a_tie_to_a_cheaper_arm():
    best = arm("full", 0.90, seconds=99, starved="too few steps")
    assert judge(best, arm("head", 0.7)).verdict == "better"
    made = judge(best, arm("head", 0.899, seconds=1))
    assert (made.verdict, made.chosen) == ("not settled", "full")
    assert made.sentences[0].endswith("; full is starved.")
    assert "full was starved and cannot lose a verdict: too few steps." in made.sentences


def test_a_floor_is_never_handed_over_and_is_named_first_when_it_is_not_shown_to_be_worse():
    floor = arm("tfidf-linear", 0.903, seeds=1, floor=True, seconds=0)
    made = judge(arm("full", 0.9), arm("head", 0.7), floor, arm("majority", 0.5, seeds=1, floor=True))
    assert (made.best, made.chosen, made.verdict) == ("full", "full", "better")
    assert made.floors_not_worse == ("tfidf-linear",)
    assert made.sentences[0].startswith("full is not shown to beat this floor")
    assert made.floors[0].interval.low < 0 <= made.floors[0].interval.high
    low, high = (numerals.points(-end) for end in (made.floors[0].interval.high, made.floors[0].interval.low))
    assert low.startswith("0.") or low.startswith("−0.")
    assert f"it trails tfidf-linear by 0.3 points (98.3\u00a0% interval {low} to {high})." in made.sentences[0]
    assert judge(arm("full", 0.9), arm("majority", 0.5, seeds=1, floor=True)).floors_not_worse == ()


def test_where_only_starved_ways_are_open_more_steps_are_advised_not_more_seeds():
    made = judge(arm("full", 0.9, seeds=1), arm("head", 0.7, seeds=1, starved="too few steps"))
    assert made.verdict == "not settled"
    assert "What is starved settles nothing: give it more epochs or more learning rates (see below)." in made.sentences
    assert not any("seeds or more" in sentence for sentence in made.sentences)


def test_a_floor_that_is_shown_to_be_better_is_said_to_be():
    better, open_ = arm("tfidf-linear", 0.95, seeds=1, floor=True), arm("words", 0.9, seeds=1, floor=True)
    first = judge(arm("full", 0.9), arm("head", 0.7), better, open_).sentences[0]
    assert first.startswith("full is beaten by this floor, so no way of fine-tuning is worth its price here: it trails")
    assert "tfidf-linear by 5.0 points" in first
    assert "full is not shown to beat this floor, so its score may mean little: it scores the same as words" in first


def test_in_short_the_floors_that_are_not_beaten_are_named_without_figures() -> None:
    better, open_ = arm("tfidf-linear", 0.95, seeds=1, floor=True), arm("words", 0.9, seeds=1, floor=True)
    beaten = judge(arm("full", 0.9), arm("head", 0.7), better, open_).in_short[0]
    assert beaten.startswith("full is beaten by tfidf-linear, so no way of fine-tuning is worth its price here; full ")
    unclear = judge(arm("full", 0.9), arm("head", 0.9), open_).in_short[0]
    assert unclear.startswith("full is not shown to beat words, so its score may mean little; ")
    assert judge(arm("full", 0.9), arm("head", 0.7)).in_short[0].startswith("full beats head by")


def said_of_floors(*differences):
    """The sentence about floors that lie this far below the best, give or take ten points."""
    pairs = tuple(
        Comparison(f"floor {n}", d, Interval(d - 0.1, d + 0.1, 0.95, ""), 0.5, "not settled", None, "")
        for n, d in enumerate(differences)
    )
    names = tuple(pair.rival for pair in pairs)
    return sentences(Recommendation("only one arm", "accuracy", 0.01, "full", "full", (), (), pairs, names))[0]


def test_a_floor_above_below_or_level_is_said_to_be_so_with_its_interval_turned_likewise():
    assert "it trails floor 0 by 27.6 points (95\u00a0% interval 17.6 to 37.6)." in said_of_floors(-0.276)
    assert "it leads floor 0 by 2.0 points (95\u00a0% interval −8.0 to 12.0)." in said_of_floors(0.02)
    assert "it scores the same as floor 0 (95\u00a0% interval −10.0 to 10.0)." in said_of_floors(-0.0001)
    several = said_of_floors(-0.02, 0.0, 0.03)
    assert "not shown to beat these floors" in several
    assert "it trails floor 0 by 2.0 points (" in several
    assert ", scores the same as floor 1 (" in several
    assert " and leads floor 2 by 3.0 points (" in several


@given(st.lists(st.floats(0, 1), min_size=2, max_size=4), st.integers(1, 3))
def test_no_sentence_leads_by_less_than_nothing_or_breaks_before_a_percent_sign(found, seeds):
    made = judge(*(arm(str(i), share, examples=50, seeds=seeds, floor=i % 2 == 1) for i, share in enumerate(found)))
    text = " ".join(made.sentences)
    assert "by −" not in text
    assert " %" not in text
    assert not re.search(r"-\d", text)


def folded(*folds):
    """Two folds of twenty examples, right in all or in none of each."""
    counts = np.stack([np.repeat(np.array(folds, dtype=float), 20), np.ones(40)], axis=1)[None]
    return RunScores(np.array([folds], dtype=float), counts, 0.25)


def test_an_interval_of_two_folds_that_disagree_ends_at_a_hundred_points_and_what_is_needed_knows_it_does_not():
    best, rival = folded(1, 0), folded(0, 0.9)
    made = recommend([Arm("a", best), Arm("b", rival)], accuracy, metric="accuracy")
    (pair,) = made.rivals
    whole = paired_difference(best, rival, score=accuracy)
    assert whole.interval.low < -1
    assert whole.interval.high > 1
    assert pair.examples_needed == examples_needed(whole, 0.01, n=40)
    assert (pair.interval.low, pair.interval.high) == (-1.0, 1.0)
    assert "interval −100.0 to 100.0" in made.sentences[0]
    assert made.cheapest is None or made.cheapest.risk <= 1


def test_floors_alone_give_no_arm_and_one_arm_gives_no_comparison():
    made = judge(arm("majority", 0.5, floor=True))
    assert (made.verdict, made.best, made.chosen) == ("no arm", None, None)
    assert made.sentences[0].startswith("Only floors were compared. They show what others must beat and are never")
    failed = judge(arm("majority", 0.5, floor=True), Arm("full", None, state="failed", reason="it diverged"))
    assert failed.sentences[0].startswith("No arm finished that could be handed over")
    alone = judge(arm("full", 0.9), arm("majority", 0.5, seeds=1, floor=True))
    assert (alone.verdict, alone.chosen) == ("only one arm", "full")
    assert alone.sentences[0].startswith("Only one arm finished, full")
    assert "full was starved: too few steps." in judge(arm("full", 0.9, starved="too few steps")).sentences
    assert judge().verdict == "no arm"


def test_dropped_and_failed_arms_are_named_and_never_chosen():
    made = judge(
        arm("full", 0.8),
        arm("head", 0.7),
        Arm("scratch", None, state="dropped", reason="the budget does not allow it"),
        arm("gradual", 0.99, state="failed", reason="the loss was not finite"),
        arm("lora", 0.99, failed=3),
    )
    assert made.best == "full"
    assert [name for name, _ in made.dropped] == ["gradual", "lora", "scratch"]
    assert "scratch is not in the comparison: the budget does not allow it." in made.sentences
    assert "lora is not in the comparison: every run failed." in made.sentences


def test_a_rival_that_failed_in_a_run_can_lose_but_not_tie():
    lost = judge(arm("full", 0.9), arm("lora", 0.7, failed=1))
    assert lost.verdict == "better"
    assert lost.degenerate == (("lora", 1, 3),)
    assert "lora failed in 1 of 3 runs." in lost.sentences
    near = judge(arm("full", 0.9, seconds=99), arm("lora", 0.9, seconds=1, failed=1), prefer="cheap")
    assert (near.verdict, near.chosen) == ("not settled", "full")
    assert "lora failed in 1 of its runs" in near.sentences[0]


def test_a_best_that_failed_in_a_run_is_not_called_better():
    made = judge(arm("full", 0.99, failed=1), arm("head", 0.2))
    assert (made.best, made.verdict) == ("full", "not settled")
    assert "full failed in 1 of its runs" in made.sentences[0]


def test_arms_without_a_finished_run_in_common_are_not_judged():
    correct = np.ones((2, 10))
    first, second = np.array([[1.0], [np.nan]]), np.array([[np.nan], [1.0]])
    counts = [np.stack([correct * which, correct * which], axis=2) for which in (first, second)]
    arms = [Arm(name, RunScores(c[:, :1, 0], c, 0.25)) for name, c in zip("ab", counts, strict=True)]
    made = judge(*arms)
    assert made.verdict == "not settled"
    assert made.sentences[0] == "Not settled: a cannot be set beside b; a and b have no finished run in common."


def test_equal_scores_are_ranked_by_what_must_be_stored_then_by_name_and_never_by_a_clock():
    made = judge(arm("b", 0.9, seconds=5), arm("c", 0.9, seconds=1, stored_bytes=9), arm("a", 0.9, seconds=7))
    assert [name for name, _ in made.scores] == ["a", "b", "c"]
    assert (made.verdict, made.chosen) == ("tie", "c")


def test_two_arms_of_one_name_and_a_negative_margin_are_refused():
    with pytest.raises(ValueError, match="unique"):
        judge(arm("full", 0.9), arm("full", 0.8))
    with pytest.raises(ValueError, match="margin"):
        judge(arm("full", 0.9), margin=-0.01)


def test_the_recommendation_is_plain_json():
    made = judge(arm("full", 0.9), arm("head", 0.7), Arm("lora", None, state="failed"))
    read = json.loads(json.dumps(as_dict(made), allow_nan=False))
    assert read["verdict"] == "better"
    assert read["rivals"][0]["interval"]["level"] == 0.95
    assert read["rests_on"] == {
        "seeds": 3,
        "folds": 1,
        "examples": 2000,
        "failed_runs": 0,
        "units": None,
        "unit": "example",
    }


shares = st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), min_size=1, max_size=5)


@given(shares, st.integers(1, 3), st.randoms(use_true_random=False))
def test_any_arms_get_the_same_lawful_verdict_in_any_order(kinds, seeds, random: shuffler.Random):
    arms = [
        arm(str(i), share, examples=60, seeds=seeds, differing=0.01, floor=floor, starved="x" if starved else None)
        for i, (share, floor, starved) in enumerate(kinds)
    ]
    made = judge(*arms)
    shuffled = list(arms)
    random.shuffle(shuffled)
    assert judge(*shuffled) == made
    floors = {a.name for a in arms if a.floor}
    assert made.chosen not in floors
    assert (made.chosen is None) == (len(floors) == len(arms))
    assert made.sentences
    if made.verdict in ("better", "tie"):
        assert seeds > 1
        judged = [p for p in made.rivals if p.verdict != "not settled"]
        assert judged
        assert all(p.interval.low > 0 or max(-p.interval.low, p.interval.high) <= 0.01 for p in judged)
    json.dumps(as_dict(made), allow_nan=False)


def test_p_values_and_levels_are_corrected_over_all_pairs_because_the_best_was_picked_from_them():
    best, rivals = arm("full", 0.9, examples=200), [arm("a", 0.85, examples=200), arm("b", 0.83, examples=200)]
    alone = [judge(best, rival).rivals[0].p_value for rival in rivals]
    level = 1 - 0.05 / 3  # three arms make three pairs
    plain = [paired_difference(best.runs, r.runs, score=accuracy, level=level).p_value for r in rivals]
    made = judge(best, *rivals)
    assert {pair.interval.level for pair in made.rivals} == {level}
    together = {pair.rival: pair.p_value for pair in made.rivals}
    assert [together["a"], together["b"]] == holm(plain, family=3)
    floors = [arm(name, 0.5, examples=200, seeds=1, floor=True) for name in ("c", "d", "e")]
    assert {pair.interval.level for pair in judge(best, *rivals, *floors).floors} == {1 - 0.05 / 6}
    assert {pair.interval.level for pair in judge(best, *floors).floors} == {1 - 0.05 / 3}
    assert together["b"] > plain[1] > 0
    assert together["a"] >= alone[0]
