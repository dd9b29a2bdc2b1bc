"""Texts without labels: what is read of them, what is left out, and who may be given them."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rows import opinions, sentences, write_conll, write_jsonl
from runs import RUNTIME
from unfreeze.compare.arms import make_arms
from unfreeze.compare.material import Material, Sources, prepare
from unfreeze.compare.pricing import Speed, outline_of, price_of_trial, with_own_outline
from unfreeze.compare.unlabelled import refuse_idle
from unfreeze.encoders.loading import Encoder, load_encoder
from unfreeze.errors import DataError, SettingsError
from unfreeze.tasks import Columns

NEW = ["A small boat left the harbour", "nobody heard the engine", "I love this quiet town"]


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return load_encoder(str(tiny_encoder_dir))


def made(encoder: Encoder, unlabelled: Any, *, file: Any = None, text: str | None = None) -> Material:
    rows = pd.DataFrame(opinions(60)).rename(columns={"text": text or "text"}) if file is None else file
    return prepare(Sources(rows, unlabelled=unlabelled), encoder, columns=Columns(text=text))


def texts(material: Material) -> list[str]:
    return [material.encoder.tokenizer.decode(f.inputs["input_ids"][1:-1]) for f in material.unlabelled]


def test_texts_that_are_rows_twice_there_or_empty_are_left_out_and_counted(encoder: Encoder, tmp_path: Path) -> None:
    rows = opinions(60)
    known = [rows[0]["text"], rows[41]["text"].upper() + "  "]  # in whichever split
    path = tmp_path / "more.txt"
    path.write_text("\n\n".join([*NEW, *known, NEW[0]]) + "\n", encoding="utf-8")
    material = made(encoder, path)
    assert texts(material) == [text.lower() for text in NEW]
    told = {str(count) for count in material.counts}
    assert f"2 of 6 texts without labels were left out: they are among the labelled rows ({path})" in told
    assert f"1 of 6 texts without labels were left out: they are there twice ({path})" in told
    assert f"3 texts without labels from {path}, for ways that hide words" in material.says
    assert material.summary()["unlabelled"] == 3
    assert material.summary()["sources"]["unlabeled"] == str(path)
    frame = made(encoder, pd.DataFrame({"text": [*NEW, "", None]}))
    assert texts(frame) == texts(material)
    assert "2 of 5 rows without a text were left out (<frame>)" in {str(count) for count in frame.counts}


def test_they_are_of_this_comparison_and_no_other(encoder: Encoder) -> None:
    digests = {made(encoder, source).digest for source in (None, *(pd.DataFrame({"text": NEW[:n]}) for n in (1, 2, 3)))}
    assert len(digests) == 4
    assert made(encoder, pd.DataFrame({"text": NEW})).digest in digests


def test_their_column_is_the_one_named_or_one_with_a_usual_name(encoder: Encoder) -> None:
    for column in ("words said", "review"):
        assert len(made(encoder, pd.DataFrame({column: NEW}), text="words said").unlabelled) == 3


def test_entity_recognition_reads_texts_and_words(encoder: Encoder, tmp_path: Path) -> None:
    file = write_conll(tmp_path / "rows.conll", sentences(30))
    words = write_jsonl(tmp_path / "more.jsonl", [{"tokens": text.split()} for text in NEW])
    one, other = (made(encoder, source, file=file) for source in (words, pd.DataFrame({"text": NEW})))
    assert texts(one) == texts(other) == [text.lower() for text in NEW]
    assert [len(f.whole_words) for f in one.unlabelled] == [len(text.split()) for text in NEW]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.csv", None, "no such file"),
        ("more.csv", b"", "the file is empty"),
        ("more.txt", b" \n\n", "the file is empty"),
        ("more.csv", b"id,mark\n1,2\n", "no column for the text; the columns are 'id', 'mark'"),
        ("more.csv", b"review,title\nx,y\n", "several columns could be the text"),
        ("more.csv", b'text\n""\n', "no text is left that is not among the labelled rows"),
        ("more.md", b"boats\n", "files named '.md' are not read"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(
    encoder: Encoder, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        made(encoder, tmp_path / name)


def test_ways_that_cannot_read_them_are_refused_and_those_that_can_are_named(encoder: Encoder) -> None:
    material = made(encoder, pd.DataFrame({"text": NEW}))
    arms = make_arms(("full", "tapt"), material, tuning=1, overrides={}, seed=0)
    outline = outline_of(material, arms[0], runtime=RUNTIME)
    plans = {arm.name: arm.plan(outline) for arm in arms}
    refuse_idle(plans, outline)
    with pytest.raises(SettingsError, match=r"--unlabeled: full cannot read .*\(tapt\), or leave"):
        refuse_idle({"full": plans["full"]}, outline)


def test_what_they_cost_is_in_the_price(encoder: Encoder) -> None:
    def price(unlabelled: Any) -> float:
        material = made(encoder, unlabelled)
        (arm,) = make_arms(("tapt",), material, tuning=1, overrides={}, seed=0)
        speed = Speed(1e-3, 3e-3, outline_of(material, arm, runtime=RUNTIME))
        return price_of_trial(with_own_outline(arm, material, runtime=RUNTIME), material, speed=speed)

    none, some = price(None), price(pd.DataFrame({"text": NEW}))
    more = price(pd.DataFrame({"text": [f"{text} {text} {text}" for text in NEW]}))
    assert none * 1.1 < some < more
