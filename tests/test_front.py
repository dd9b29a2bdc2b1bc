"""The front door from Python: frames in, a table, a verdict and a model out."""

import subprocess
import sys

import pandas as pd
import pytest

import unfreeze
from rows import QUICK, compare_opinions, opinions, sentences, write_conll, write_jsonl
from unfreeze.compare.options import seconds_of
from unfreeze.errors import DataError, SettingsError, StorageError
from unfreeze.front import load_comparison


@pytest.fixture(scope="module")
def comparison(tiny_encoder_dir, tmp_path_factory):
    """One comparison of opinions for this module; for reading only."""
    base = tmp_path_factory.mktemp("front")
    file = write_jsonl(base / "opinions.jsonl", opinions())
    changed = {"strategies": ("last-k:k=1", "head-only", "untouched"), "tuning": 1, "settings": {"num_train_epochs": 3}}
    return compare_opinions(file, tiny_encoder_dir, base / "out", **changed)


def test_at_most_fifteen_names_stand_at_the_front_door():
    assert len(unfreeze.__all__) <= 15
    assert all(getattr(unfreeze, name) is not None for name in unfreeze.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'comprae'"):
        _ = unfreeze.comprae


def test_the_table_has_a_row_an_arm_the_best_first(comparison):
    table = comparison.table
    assert {"last-k:k=1", "head-only", "untouched", "majority class", "TF-IDF + linear"} == set(table.index)
    scores = table["score"].dropna()
    assert list(scores) == sorted(scores, reverse=True)
    inside = (table["low"] <= table["score"]) & (table["score"] <= table["high"])
    assert inside[table["low"].notna()].all()
    assert table["test_not_used"].between(0, 1).all()
    assert table.loc["majority class", "floor"]
    assert table.loc["head-only", "trainable_parameters"] > table.loc["untouched", "trainable_parameters"] == 0
    assert "<table" in comparison._repr_html_()


def test_the_verdict_is_the_sentences_of_the_record(comparison):
    assert comparison.verdict == " ".join(comparison.record["recommendation"]["sentences"])
    assert comparison.record["recommendation"]["verdict"] in {"better", "tie", "not settled"}


def test_the_best_model_says_the_same_of_a_text_whatever_stands_beside_it(comparison):
    texts = [row["text"] for row in opinions(30)]
    said = comparison.best.predict(texts)
    assert set(said) <= {"neg", "pos"}
    assert comparison.best.predict(texts[::-1]) == said[::-1]
    assert [comparison.best.predict([text])[0] for text in texts[:5]] == said[:5]
    assert comparison.best.predict([]) == []


def test_a_model_is_copied_whole_and_never_over_somebody_elses_files(comparison, tmp_path):
    comparison.best.save_pretrained(tmp_path / "mine")
    from unfreeze.export.handing_over import load_model

    texts = [row["text"] for row in opinions(6)]
    assert load_model(tmp_path / "mine", threads=1).predict(texts) == comparison.best.predict(texts)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("all of it", encoding="utf-8")
    with pytest.raises(SettingsError, match="exists and is no model that unfreeze saved"):
        comparison.best.save_pretrained(tmp_path / "full")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_a_comparison_is_read_again_from_its_folder(comparison, tmp_path):
    again = load_comparison(comparison.folder)
    assert again.verdict == comparison.verdict
    pd.testing.assert_frame_equal(again.table, comparison.table)
    with pytest.raises(StorageError, match=r"record\.json: cannot be read"):
        load_comparison(tmp_path)


def test_a_comparison_that_handed_nothing_over_says_why_there_is_no_best(comparison):
    record = {**comparison.record, "handed_over": None}
    with pytest.raises(SettingsError, match="handed no model over"):
        _ = unfreeze.Comparison(record, comparison.folder).best


def test_entities_come_back_with_their_places(tiny_encoder_dir, tmp_path):
    file = write_conll(tmp_path / "sentences.conll", sentences(60))
    options = {"model": str(tiny_encoder_dir), "threads": 1, "precision": "fp32", "output_dir": tmp_path / "out"}
    found = unfreeze.fit(file, strategy="head-only", settings={"num_train_epochs": 9}, **options)
    text = "The company writes to Anna Berg ."
    entities = found.best.predict([text, text.split(), ""])
    assert entities[0] == entities[1]
    assert entities[2] == []
    for entity in entities[0]:
        assert text[entity["start"] : entity["end"]] == entity["text"]


def test_a_frame_with_a_split_column_is_compared_as_it_says(tiny_encoder_dir, tmp_path):
    frame = pd.DataFrame(opinions(48))
    frame["split"] = [("train", "train", "val", "test")[i // 2 % 4] for i in range(48)]
    before = frame.copy()
    options = {"strategies": ["untouched"], "model": str(tiny_encoder_dir), "output_dir": tmp_path / "out", **QUICK}
    found = unfreeze.compare(frame, **options)
    assert found.record["data"]["rows"] == {"all": 48, "train": 24, "validation": 12, "test": 12}
    pd.testing.assert_frame_equal(frame, before)


def test_a_frame_that_is_wrong_is_told_by_its_rows(tiny_encoder_dir, tmp_path):
    frame = pd.DataFrame({"text": ["x"] * 20, "label": [None] * 20})
    with pytest.raises(DataError, match="no label"):
        unfreeze.compare(frame, model=str(tiny_encoder_dir), output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("strategy", [name for name, cls in unfreeze.STRATEGIES.items() if cls.search.floor])
def test_a_floor_is_not_fitted_and_the_ways_that_give_a_model_are_named(strategy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=f"{strategy} is a floor: .* no model. Use compare, .*: ") as refused:
        unfreeze.fit("nowhere.csv", strategy=strategy)
    named = str(refused.value).rpartition(": ")[2].rstrip(".").split(", ")
    assert sorted(named) == sorted(name for name, cls in unfreeze.STRATEGIES.items() if not cls.search.floor)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90), ("15m", 900), ("1.5h", 5400), (42, 42), (0.5, 0.5), ("none", None), (None, None)],
)
def test_budgets_are_times(written, seconds):
    assert seconds_of(written) == seconds


@pytest.mark.parametrize("written", ["", "m", "15", "15 minutes", "0s", "-3m", "nans", 0, -1, float("nan")])
def test_what_is_no_time_is_refused_with_its_spelling(written):
    with pytest.raises(SettingsError, match="a budget is a time such as 90s, 15m or 2h; got"):
        seconds_of(written)


def test_a_misspelt_strategy_is_told_before_torch_is_loaded():
    code = (
        "import sys, unfreeze\n"
        "try: unfreeze.compare('a.csv', strategies=['ful'])\n"
        "except unfreeze.UnfreezeError as error: print(error, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Did you mean 'full'?" in done.stdout
    assert done.stdout.strip().endswith("False")
