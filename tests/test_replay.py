"""The replay study: what a choice is worth against the oracle, what is kept of trials, and which rows they had."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiny import tiny_encoder

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

cells, collecting, judging, keeping, world_of = (
    importlib.import_module(f"replay_{name}") for name in ("cells", "collect", "judging", "kept", "world")
)
accuracy, entity_f1 = world_of.scoring("classification"), world_of.scoring("ner")


def right(rows: Any) -> np.ndarray:
    """Counts of whether each example was right: (settings, seeds, examples) of 0 and 1."""
    found = np.asarray(rows, dtype=np.float64)
    return np.stack([found, np.ones_like(found)], axis=-1)


def shares(*values: float) -> np.ndarray:
    return np.array(values)


# The oracle and the regret


def test_a_setting_that_is_always_right_is_the_oracle_and_one_that_never_is_loses_everything() -> None:
    found = judging.judged(right([[[1] * 9], [[0] * 9]]), accuracy)
    assert found.oracle == 1
    assert found.regret(shares(1, 0)) == 0
    assert found.regret(shares(0, 1)) == 1
    assert found.regret(shares(0.5, 0.5)) == 0.5


def test_the_oracle_is_scored_on_the_half_that_it_was_not_picked_on() -> None:
    """Each of two settings is right on one of two rows: whichever is picked on a row is wrong on the other."""
    found = judging.judged(right([[[1, 0]], [[0, 1]]]), accuracy)
    assert found.oracle == 0
    assert found.regret(shares(1, 0)) == -0.5


def test_among_equal_settings_the_mean_regret_is_nothing_where_the_best_in_hindsight_shows_points() -> None:
    random = np.random.default_rng(0)
    regrets, hindsight = [], []
    for _ in range(60):
        counts = right(random.random((12, 2, 400)) < 0.8)
        found = judging.judged(counts, accuracy, halves=20)
        regrets.append(found.regret(np.eye(12)[0]))
        scores = accuracy(counts.sum(2)).mean(1)
        hindsight.append(scores.max() - scores[0])
    error = np.std(regrets) / np.sqrt(len(regrets))
    assert abs(np.mean(regrets)) < 3 * error < 0.01
    assert np.mean(hindsight) > 0.015


def test_a_setting_counts_with_the_mean_of_its_seeds() -> None:
    found = judging.judged(right([[[1] * 6, [0] * 6], [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]]]), accuracy)
    assert found.score(shares(1, 0)) == 0.5
    assert found.regret(shares(1, 0)) == 0.5


def test_entity_scores_are_of_summed_counts_not_means_of_sentences() -> None:
    sentence = np.array([[1.0, 1, 1], [0, 9, 1]])  # F1 1 and 0: summed, 2 of 12
    counts = np.tile(sentence, (2, 1))[None, None]
    weights = np.ones((1, 4))
    assert judging._scores(counts, weights, entity_f1)[0, 0, 0] == pytest.approx(2 * 2 / (20 + 4))


def test_halves_are_the_same_whenever_they_are_asked_for() -> None:
    counts = right(np.random.default_rng(3).random((3, 2, 50)) < 0.7)
    assert np.array_equal(judging.judged(counts, accuracy).scores, judging.judged(counts, accuracy).scores)


def test_one_example_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="two examples or more; got 1"):
        judging.judged(right([[[1]]]), accuracy)


# Intervals


def test_a_choice_is_not_ahead_of_a_rival_with_the_same_answers() -> None:
    one = right(np.random.default_rng(1).random((1, 1, 80)) < 0.7)
    draws = judging.difference_draws(one, one[0], accuracy, shares=shares(1.0), draws=250)
    assert draws.shape == (250,)
    assert np.abs(draws).max() == 0


def test_the_interval_of_a_difference_holds_what_examples_and_seeds_vary() -> None:
    random = np.random.default_rng(2)
    ours, theirs = right(random.random((1, 3, 500)) < 0.85), right(random.random((3, 500)) < 0.75)
    low, high = judging.interval(judging.difference_draws(ours, theirs, accuracy, shares=shares(1.0)))
    assert low < 0.10 < high
    assert 0.02 < high - low < 0.12


def test_seeds_that_differ_widen_the_interval() -> None:
    theirs = right(np.zeros((1, 100)))
    alike = right([[[1] * 50 + [0] * 50] * 2])
    apart = right([[[1] * 100, [0] * 100]])
    widths = []
    for ours in (alike, apart):
        low, high = judging.interval(judging.difference_draws(ours, theirs, accuracy, shares=shares(1.0)))
        widths.append(high - low)
    assert widths[1] == 1 > 2 * widths[0]


# What is kept


def trial(strategy: str = "full", *, rate: float = 1e-4, seed: int = 0, **more: Any) -> dict[str, Any]:
    scores = {"validation": {"accuracy": 0.5}, "test": {"accuracy": 0.5}}
    row = {"strategy": strategy, "pooling": "standard", "layers": 1, "rate": rate, "seed": seed, "epochs": 3}
    return row | {"state": "done", "patience": 3, "cpu_seconds": 10.0, "scores": scores, "curve": []} | more


def counts(validation: list[int], test: list[int]) -> dict[str, np.ndarray]:
    return {"validation": right(validation), "test": right(test)}


ABOUT = {"data": "made_up", "task": "classification", "metric": "accuracy"}
ABOUT["rows"] = {"train": 20, "validation": 2, "test": 4}


def kept_cell(folder: Path, rows: list[tuple[dict[str, Any], dict[str, np.ndarray]]], name: str = "made_up-20") -> None:
    kept = keeping.Kept(dict(ABOUT))
    for row, some in rows:
        kept.add(row, some)
    kept.write(folder, name)


def test_what_is_kept_of_trials_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept_cell(tmp_path, [(trial(), counts([1, 0], [1, 1, 0, 0])), (trial(seed=1), counts([0, 0], [1, 1, 1, 0]))])
    found = keeping.read_kept(tmp_path, "made_up-20")
    assert found.has(("full", "standard", 1, 1e-4, 1))
    assert not found.has(("full", "standard", 1, 1e-4, 2))
    assert found.counts["test"][1].tolist() == [[1, 1], [1, 1], [1, 1], [0, 1]]
    assert found.counts["test"][1].dtype == np.uint8


def test_a_crash_between_the_two_files_loses_only_what_neither_tells_of(tmp_path: Path) -> None:
    rows = [(trial(), counts([1, 0], [1, 1, 0, 0])), (trial(seed=1), counts([0, 0], [1, 1, 1, 0]))]
    kept_cell(tmp_path, rows[:1])
    before = (tmp_path / "made_up-20.json").read_text()
    kept_cell(tmp_path, rows)
    (tmp_path / "made_up-20.json").write_text(before)
    found = keeping.read_kept(tmp_path, "made_up-20")
    assert len(found.trials) == len(found.counts["test"]) == len(found.counts["validation"]) == 1


def test_a_count_that_a_byte_cannot_hold_is_refused() -> None:
    kept = keeping.Kept({"task": "ner"})
    many = {"validation": np.array([[1, 300, 2]]), "test": np.array([[0, 0, 0]])}
    with pytest.raises(ValueError, match="a count of validation is 300"):
        kept.add(trial(), many)


# A cell as it is replayed


@pytest.fixture
def world(tmp_path: Path) -> Any:
    good, bad = counts([1, 1], [1, 1, 1, 1]), counts([1, 0], [0, 1, 0, 0])
    rows = [(trial("untouched"), bad)]
    rows += [(trial(seed=seed), good) for seed in (0, 1)]
    rows += [(trial(rate=3e-4, seed=seed, cpu_seconds=5.0), bad) for seed in (0, 1)]
    rows += [(trial("last-k", seed=seed, cpu_seconds=2.5), bad) for seed in (0, 1, 2)]
    kept_cell(tmp_path, rows)
    peers = [(trial("default", rate=5e-5, seed=seed), bad) for seed in (0, 1)]
    better = {"validation": {"accuracy": 0.9}, "test": {"accuracy": 0.9}}
    peers += [(trial("competent, 3 epochs", cpu_seconds=20.0), bad)]
    peers += [(trial("competent, 8 epochs", epochs=8, seed=seed, scores=better), good) for seed in (0, 1, 2)]
    kept_cell(tmp_path, peers, "made_up-20-peers")
    return world_of.read_world(tmp_path, "made_up-20")


def test_a_cell_has_the_seeds_that_all_settings_were_run_with_and_no_floor(world: Any) -> None:
    assert world.settings == (
        ("full", "standard", 1, 1e-4),
        ("full", "standard", 1, 3e-4),
        ("last-k", "standard", 1, 1e-4),
    )
    assert world.seeds == (0, 1)
    assert world.arms == ("full", "last-k")
    assert world.middle("last-k") == 2


def test_the_exhaustive_price_is_that_of_every_setting_with_two_seeds(world: Any) -> None:
    assert world.exhaustive_price == 2 * (10 + 5 + 2.5)


def test_a_setting_that_diverged_is_never_the_best_on_validation(tmp_path: Path) -> None:
    good = counts([1, 1], [1, 1, 1, 1])
    kept_cell(tmp_path, [(trial(state="diverged"), good), (trial(rate=3e-4), counts([0, 0], [0, 0, 0, 0]))])
    assert world_of.read_world(tmp_path, "made_up-20").validated().argmax() == 1


def test_the_competent_script_is_chosen_on_validation_and_pays_for_all_that_it_tried(world: Any) -> None:
    found = world_of.peers_of(world)
    assert found["default"].price == 10
    assert found["default"].counts.shape == (2, 4, 2)
    assert found["competent"].setting == "0.0001, 8 epochs"
    assert found["competent"].counts.shape == (3, 4, 2)
    assert found["competent"].price == 10 + 20


def test_a_cell_of_which_nothing_is_kept_is_none(tmp_path: Path) -> None:
    assert world_of.read_world(tmp_path, "made_up-20") is None


def test_orders_differ_from_each_other_and_are_the_same_each_time(world: Any) -> None:
    orders = world_of.orders_of(world, 20)
    assert orders == world_of.orders_of(world, 20)
    assert {order.seeds for order in orders} == {(0, 1), (1, 0)}
    assert {order.arms for order in orders} == {("full", "last-k"), ("last-k", "full")}
    assert all(0.9 <= factor <= 1.1 for order in orders for factor in order.noise.values())


# The rows


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A data set of texts: 40 different training rows, one of them twice, one that test has too, a rare label."""
    folder = tmp_path / "shared" / "cls_made_up"
    folder.mkdir(parents=True)
    train = [f"text {i},{'rare' if i == 0 else i % 2}" for i in range(40)] + ["Text  1,1", "test 3,1"]
    (folder / "train.csv").write_text("\n".join(["text,label", *train]) + "\n", encoding="utf-8")
    for split in ("dev", "test"):
        rows = [f"{split} {i},{i % 2}" for i in range(8)]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return folder.parent


def rows_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()[1:]


def test_training_rows_are_different_show_every_label_and_share_no_text_with_test(shared: Path, tmp_path: Path) -> None:
    cell = cells.make_cell("cls_made_up", 10, shared=shared, into=tmp_path / "rows")
    train = rows_of(cell.train)
    assert len(train) == len(set(train)) == 10
    assert {row.rpartition(",")[2] for row in train} == {"0", "1", "rare"}
    assert "test 3,1" not in rows_of(cells.make_cell("cls_made_up", 40, shared=shared, into=tmp_path / "all").train)
    assert cell.name == "cls_made_up-10"
    assert cell.task == "classification"


def test_a_cell_is_the_same_whenever_it_is_made(shared: Path, tmp_path: Path) -> None:
    made = [cells.make_cell("cls_made_up", 10, shared=shared, into=tmp_path / name) for name in ("a", "b")]
    assert rows_of(made[0].train) == rows_of(made[1].train)
    assert rows_of(made[0].test) == rows_of(made[1].test)


def test_too_few_rows_are_said(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 40 different training rows; 50 are asked for"):
        cells.make_cell("cls_made_up", 50, shared=shared, into=tmp_path)


def test_a_text_is_cut_after_its_last_whole_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tiny_encoder("bert", tmp_path / "encoder")
    monkeypatch.setattr(cells, "embedded_encoder", lambda: folder)
    cut = cells._cutter(6)  # four tokens beside the special ones
    assert cut("the film was good") == "the film was good"
    assert cut("the film was good, but") == "the film was good"
    assert cut("the film was xyzzy good") == "the film was"  # one word of many pieces does not fit


def test_sentences_keep_their_tags_and_their_order_of_words(tmp_path: Path) -> None:
    folder = tmp_path / "shared" / "ner_made_up"
    folder.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        blocks = [f"Anna\tI-PER\nwrites O\n{split}{i} O\n" for i in range(5)]
        (folder / f"{split}.txt").write_text("\n".join(blocks), encoding="utf-8")
    cell = cells.make_cell("ner_made_up", 3, shared=folder.parent, into=tmp_path / "rows")
    blocks = cell.train.read_text(encoding="utf-8").strip().split("\n\n")
    assert len(blocks) == 3
    assert all(block.splitlines()[:2] == ["Anna I-PER", "writes O"] for block in blocks)
    assert cell.task == "ner"


# The trials


def test_a_trial_is_kept_with_its_curve_counts_and_cost_and_is_not_run_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared: Path
) -> None:
    from unfreeze.encoders.loading import load_encoder

    folder = tiny_encoder("bert", tmp_path / "encoder")
    monkeypatch.setenv("UNFREEZE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("unfreeze.encoders.loading.load_encoder", lambda _: load_encoder(str(folder)))
    usual = collecting.arms_of
    monkeypatch.setattr(
        collecting, "arms_of", lambda m: [arm for arm in usual(m) if arm.name in ("untouched", "head-only")]
    )
    cell = cells.make_cell("cls_made_up", 30, shared=shared, into=tmp_path / "rows")
    collecting.collect(cell, seeds=1, kept_in=tmp_path / "kept")
    told = json.loads((tmp_path / "kept" / "cls_made_up-30.json").read_text())
    heads = [row for row in told["trials"] if row["strategy"] == "head-only"]
    assert len(heads) == 9  # three heads, three rates
    assert all(len(row["curve"]) > 1 and row["cpu_seconds"] > 0 for row in heads)
    assert set(told["about"]["floors"]) == {"majority class", "TF-IDF + linear"}
    found = keeping.read_kept(tmp_path / "kept", "cls_made_up-30")
    for row, some in zip(found.trials, found.counts["test"], strict=True):
        assert some[:, 0].mean() == pytest.approx(row["scores"]["test"]["accuracy"], abs=1e-6)
    monkeypatch.setattr(collecting, "run_and_keep", lambda *_, **__: pytest.fail("a kept trial was run again"))
    collecting.collect(cell, seeds=1, kept_in=tmp_path / "kept")
