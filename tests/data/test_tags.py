"""Tag schemes: recognised from evidence, brought to IOB2, refused where they contradict themselves."""

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unfreeze.data.tags import recognise_scheme, repair_iob2, spans_of, to_iob2
from unfreeze.errors import DataError, SettingsError, UnknownName

KINDS = st.sampled_from(["PER", "LOC", "work-of-art"])
SPELLINGS = {"BIOES": "BIES", "BILOU": "BILU", "BMEWO": "BMEW", "BMES": "BMES"}  # first, inside, last, single


@st.composite
def sentences_of_entities(draw):
    """A length and the entities (first word, word after the last, type) of each of a few sentences."""
    sentences = []
    for _ in range(draw(st.integers(1, 4))):
        place, spans = 0, []
        for gap, size, kind in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), KINDS), max_size=4)):
            spans.append((place + gap, place + gap + size, kind))
            place += gap + size
        sentences.append((place + draw(st.integers(0, 2)), spans))
    return sentences


def encode(length, spans, scheme):
    tags = ["O"] * length
    for i, (first, end, kind) in enumerate(spans):
        touches = i > 0 and spans[i - 1][1:] == (first, kind)
        for word in range(first, end):
            if scheme == "IO":
                tags[word] = kind
                continue
            if scheme == "IOB1":
                letter = "B" if word == first and touches else "I"
            elif scheme == "IOB2":
                letter = "B" if word == first else "I"
            else:
                begin, inside, last, single = SPELLINGS[scheme]
                letter = single if end - first == 1 else {first: begin, end - 1: last}.get(word, inside)
            tags[word] = f"{letter}-{kind}"
    return tags


def behind(tags):
    """PER-B for B-PER."""
    return [tag if tag == "O" else f"{tag[2:]}-{tag[0]}" for tag in tags]


@given(sentences=sentences_of_entities(), scheme=st.sampled_from(["IOB1", "IOB2", *SPELLINGS]), suffix=st.booleans())
def test_every_scheme_gives_the_same_iob2_tags(sentences, scheme, suffix):
    written = [encode(length, spans, scheme) for length, spans in sentences]
    written = [behind(tags) for tags in written] if suffix else written
    expected = [tuple(encode(length, spans, "IOB2")) for length, spans in sentences]
    found = recognise_scheme(written)
    assert [to_iob2(tags, found) for tags in written] == expected
    if any(spans for _, spans in sentences):
        assert found == ("BIOES" if scheme in SPELLINGS else scheme)


@given(sentences=sentences_of_entities())
def test_bare_types_are_io_where_no_two_entities_of_a_type_touch(sentences):
    assume(any(spans for _, spans in sentences))
    for _, spans in sentences:
        assume(all(a[1:] != (b[0], b[2]) for a, b in pairwise(spans)))
    written = [encode(length, spans, "IO") for length, spans in sentences]
    assert recognise_scheme(written) == "IO"
    assert [to_iob2(tags, "IO") for tags in written] == [tuple(encode(n, spans, "IOB2")) for n, spans in sentences]


@given(sentences=sentences_of_entities())
def test_spans_of_valid_iob2_are_the_entities(sentences):
    for length, spans in sentences:
        assert spans_of(encode(length, spans, "IOB2")) == spans


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), max_size=9))
def test_spans_of_any_tags_are_those_of_seqeval_in_strict_mode(tags):
    scheme = pytest.importorskip("seqeval.scheme")
    theirs = [(e.start, e.end, e.tag) for e in scheme.Entities([tags], scheme.IOB2).entities[0]]
    assert spans_of(tags) == theirs


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), max_size=9))
def test_repaired_tags_hold_the_entities_conlleval_would_see(tags):
    pytest.importorskip("seqeval")
    from seqeval.metrics.sequence_labeling import get_entities

    repaired = repair_iob2(tags)
    assert [(first, end - 1, kind) for first, end, kind in spans_of(repaired)] == [
        (first, last, kind) for kind, first, last in get_entities(list(tags))
    ]
    assert repair_iob2(repaired) == repaired


@pytest.mark.parametrize(
    ("sentences", "scheme"),
    [
        ([["O", "O"]], "IOB2"),
        ([[]], "IOB2"),
        ([["B-X", "I-X"], ["B-X", "B-X"]], "IOB2"),
        ([["I-X", "B-X"]], "IOB1"),
        ([["I-X", "I-Y"]], "IOB1"),
        ([["S-X"]], "BIOES"),
        ([["U-X", "B-X", "L-X"]], "BIOES"),
        ([["X", "O"]], "IO"),
        ([["brand-name", "O"]], "IO"),
        ([["I-B", "I-B"]], "IOB1"),
    ],
)
def test_the_scheme_follows_from_the_evidence(sentences, scheme):
    assert recognise_scheme(sentences) == scheme


def problems_of(sentences, **places):
    with pytest.raises(DataError) as caught:
        recognise_scheme(sentences, file="t.conll", **places)
    return caught.value.problems


def test_evidence_for_two_schemes_is_refused_at_the_minority():
    found = problems_of([["B-X", "O"], ["O", "I-X"], ["B-Y"]], lines=[1, 4, 7])
    assert [problem.line for problem in found] == [5]
    assert "2 entities begin with B- (IOB2), 1 with I- (IOB1)" in found[0].what
    assert [p.line for p in problems_of([["I-X", "O", "I-X"], ["O", "B-X"]], lines=[1, 5])] == [6]


@pytest.mark.parametrize("tag", ["", "B", "B-", "-B", "b-PER", "B_PER", "I:PER", "o", " "])
def test_a_tag_that_fits_no_scheme_is_refused(tag):
    found = problems_of([["O", "B-X", tag, "O"]], lines=[3])
    assert [problem.line for problem in found] == [5]
    assert repr(tag) in found[0].what


def test_bare_types_among_prefixed_ones_are_refused():
    assert [problem.line for problem in problems_of([["B-X", "I-X", "O", "X"]], lines=[1])] == [4]
    assert [problem.line for problem in problems_of([["B-X", "Z", "O", "X"]], lines=[1])] == [1]


def test_letters_of_two_schemes_are_refused():
    found = problems_of([["B-X", "E-X", "S-X", "U-X"]], lines=[1])
    assert [problem.line for problem in found] == [4]
    assert "BIOES" in found[0].what


@pytest.mark.parametrize("tags", [["I-X", "E-X"], ["B-X", "O", "S-X"], ["B-X", "E-Y"], ["S-X", "I-X", "E-X"], ["E-X"]])
def test_broken_entities_of_bioes_are_refused(tags):
    assert problems_of([tags])


def test_all_words_of_a_json_line_stand_on_one_line():
    assert [p.line for p in problems_of([["O"], ["O", "B"]], lines=[1, 2], line_a_word=False)] == [2]


def test_an_unknown_scheme_or_tag_is_refused():
    with pytest.raises(UnknownName, match="Did you mean 'IOB2'"):
        to_iob2(["O"], "IOB")
    with pytest.raises(SettingsError, match="'B' fits no scheme"):
        to_iob2(["B"], "IOB2")
