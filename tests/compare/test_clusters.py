"""Which rows are resampled together: from the user's file to the counts of a comparison."""

from pathlib import Path

import pandas as pd
import pytest

from rows import opinions, sentences
from unfreeze.compare.clusters import clusters_of
from unfreeze.compare.material import Material, Sources, prepare
from unfreeze.data.example import Example
from unfreeze.encoders.loading import Encoder, load_encoder
from unfreeze.tasks import Columns


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return load_encoder(str(tiny_encoder_dir))


def of(*belongs: tuple[str | None, str | None]):
    return clusters_of([Example("x", "a", group=group, document=document) for group, document in belongs])


def test_rows_of_one_group_belong_together_and_a_row_without_one_stands_alone():
    found = of(("a", None), (None, None), ("b", None), ("a", None), (None, None))
    assert found.noun == "group"
    first, second, third, fourth, fifth = found.numbers
    assert first == fourth
    assert len({first, second, third, fifth}) == found.many == 4


def test_documents_count_where_no_groups_are_named():
    found = of((None, "f:1"), (None, "f:1"), (None, "f:9"))
    assert (found.noun, found.many) == ("document", 2)
    assert of(("a", "f:1"), ("b", "f:1"), ("b", "f:9")).noun == "group"


def test_rows_that_all_stand_alone_have_no_clusters():
    assert of((None, None), (None, None)) is None
    assert of(("a", None), ("b", None)) is None


def in_documents(path: Path, *, size: int) -> Path:
    text = []
    for i, sentence in enumerate(sentences(60)):
        text.append("-DOCSTART- O\n\n" if i % size == 0 else "")
        text.append("".join(f"{word} {tag}\n" for word, tag in sentence) + "\n")
    path.write_text("".join(text), encoding="utf-8")
    return path


def of_material(material: Material):
    return clusters_of(material.examples)


def test_sentences_of_one_marked_document_belong_together(encoder: Encoder, tmp_path: Path):
    several = prepare(Sources(in_documents(tmp_path / "a.conll", size=4)), encoder, columns=Columns())
    found = of_material(several)
    assert (found.noun, found.many) == ("document", 15)
    whole = prepare(Sources(in_documents(tmp_path / "b.conll", size=60)), encoder, columns=Columns())
    assert of_material(whole) is None, "a mark at the head is no structure"
    assert several.splits == whole.splits, "documents alone do not change the splits"


def test_marked_documents_can_be_named_as_groups_that_no_split_parts(encoder: Encoder, tmp_path: Path):
    columns = Columns(group="document_id")
    material = prepare(Sources(in_documents(tmp_path / "a.conll", size=4)), encoder, columns=columns)
    parts = [material.splits.test, *(fold.validation for fold in material.splits.folds)]
    for i, part in enumerate(parts):
        others = {row for other in parts[:i] + parts[i + 1 :] for row in other}
        assert {row // 4 for row in part}.isdisjoint(row // 4 for row in others)


def test_the_group_column_of_a_table_says_what_belongs_together(encoder: Encoder):
    rows = [row | {"author": f"author {i // 3}"} for i, row in enumerate(opinions(60))]
    material = prepare(Sources(pd.DataFrame(rows)), encoder, columns=Columns(group="author"))
    assert of_material(material).many == 20
