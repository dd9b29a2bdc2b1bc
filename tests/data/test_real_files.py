"""Real files parse, and what their descriptions count is what is found."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

import unfreeze.data
from unfreeze.data.reading import read_table
from unfreeze.data.tags import recognise_scheme, spans_of, to_iob2
from unfreeze.data.words import overlapping_spans, spans_from_tags, split_words, tags_from_spans
from unfreeze.errors import DataError


@pytest.mark.parametrize(
    ("corpus", "scheme"), [("ner_wikigold", "IOB1"), ("ner_btc_twitter", "IOB2"), ("ner_ncbi_disease", "IOB2")]
)
def test_entities_are_those_the_description_counts(shared_data, corpus, scheme):
    described = (shared_data / corpus / "README.md").read_text(encoding="utf-8")
    splits = [json.loads(line) for line in re.findall(r'^- (\{"split".*\})$', described, re.MULTILINE)]
    assert {split["split"] for split in splits} == {"train", "dev", "test"}
    for split in splits:
        table = read_table(shared_data / corpus / f"{split['split']}.txt")
        tags = table.columns["tags"]
        assert recognise_scheme(tags, file=table.name, lines=table.lines) == scheme
        assert table.rows == split["sentences"]
        assert sum(map(len, table.columns["tokens"])) == split["tokens"]
        kinds = Counter(kind for sentence in tags for *_, kind in spans_of(to_iob2(sentence, scheme)))
        assert kinds == split["entities"]


def test_every_other_table_parses(shared_data):
    files = [p for p in shared_data.glob("[!n]*/*") if re.search(r"\.(csv|jsonl)(\.gz)?$", p.name)]
    assert len(files) > 20
    for path in files:
        table = read_table(path)
        assert table.rows > 300
        assert {len(values) for values in table.columns.values()} == {table.rows}


def test_prose_is_no_table_of_tags(shared_data):
    with pytest.raises(DataError, match="not tokens with tags"):
        read_table(shared_data / "raw_domain_text" / "legal.txt.gz")


def test_every_entity_of_the_demo_survives_to_the_character():
    table = read_table(Path(unfreeze.data.__file__).parent / "demo" / "messages.jsonl")
    kinds: Counter[str] = Counter()
    for text, entities in zip(table.columns["text"], table.columns["entities"], strict=True):
        spans = [(entity["start"], entity["end"], entity["label"]) for entity in entities]
        assert overlapping_spans(spans) == []
        offsets = split_words(text)[1]
        tags, cut = tags_from_spans(offsets, spans)
        assert cut == 0
        assert spans_from_tags(offsets, tags) == sorted(spans)
        kinds.update(label for *_, label in spans)
    assert kinds == {"PER": 306, "LOC": 364, "ORG": 194}
