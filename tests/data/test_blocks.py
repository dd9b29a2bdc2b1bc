"""Files in blocks of rows: the same rows and refusals as of the whole file, whatever the blocks and pieces."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.data import blocks, reading_bytes
from unfreeze.data.reading import read_blocks, read_table
from unfreeze.errors import DataError

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
CONTENT = {
    ".csv": 'text,label\n"two\nlines",a\n\nplain,b\n\ufeffmark,c\n"say ""so""",\n',
    ".tsv": 'text\tlabel\n"two\nlines"\ta\n\nplain\tb\n',
    ".jsonl": '{"text": "a\u2028b"}\n\n{}\n{"label": 1, "text": null}\n{"text": "c"}\n',
    ".json": '[{"text": "a"},\n{"label": 2}, {"text": "b"}\n]\n',
    ".conll": "-DOCSTART- O\n\n# text = a b\na O\nb B-X\n\n# B-Y\nc O\n\nd B-Y\n",
}


def whole(path, **how):
    """Columns and lines of a file that is read at once, None where it is refused."""
    try:
        table = read_table(path, **how)
    except DataError:
        return None
    return dict(table.columns), list(table.lines), table.form


def in_blocks(path, rows, *, piece=2**20, **how):
    """Columns and lines of all blocks together, None where one is refused."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading_bytes, "PIECE", piece)
        try:
            tables = list(read_blocks(path, rows=rows, **how))
        except DataError:
            return None
    assert all(table.rows <= rows for table in tables)
    columns = dict.fromkeys(name for table in tables for name in table.columns)
    joined = {name: [v for t in tables for v in t.columns.get(name, [None] * t.rows)] for name in columns}
    return joined, [line for table in tables for line in table.lines], tables[0].form


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("suffix", CONTENT)
def test_a_file_in_blocks_has_the_rows_of_the_whole_file(tmp_path, suffix, end):
    path = tmp_path / f"t{suffix}{end}"
    path.write_bytes(gzip.compress(CONTENT[suffix].encode()) if end else CONTENT[suffix].encode())
    expected = whole(path)
    assert expected is not None
    for rows in range(1, 5):
        for piece in (1, 7, 1000):
            assert in_blocks(path, rows, piece=piece) == expected


@settings(max_examples=200)
@given(
    parts=st.lists(
        st.sampled_from([*'ab,"\n\r\t {}[]:1#O\\\ufeff', '{"a": 1}\n', "a B-X\n", "\n\n", "é"]), max_size=30
    ),
    suffix=st.sampled_from([*CONTENT, ".txt"]),
    rows=st.integers(1, 4),
    piece=st.integers(1, 20),
    labelled=st.booleans(),
)
def test_what_is_read_or_refused_whole_is_read_or_refused_in_blocks(
    tmp_path_factory, parts, suffix, rows, piece, labelled
):
    path = tmp_path_factory.mktemp("any") / f"t{suffix}"
    path.write_bytes("".join(parts).encode())
    expected = whole(path, labelled=labelled)
    if suffix != ".txt":  # whether it looks like CoNLL is seen from its first piece
        assert in_blocks(path, rows, piece=piece, labelled=labelled) == expected
    assert in_blocks(path, rows, labelled=labelled) == expected


@given(texts=st.lists(WORDS, min_size=1, max_size=9), rows=st.integers(1, 9), most=st.integers(1, 30))
def test_a_block_ends_when_it_is_long_even_if_its_rows_are_few(tmp_path_factory, texts, rows, most):
    path = tmp_path_factory.mktemp("long") / "t.jsonl"
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "CHARACTERS", most)
        found = [list(table.columns["text"]) for table in read_blocks(path, rows=rows)]
    assert [text for block in found for text in block] == texts
    for block in found:
        assert len(block) <= rows
        assert sum(len(json.dumps({"text": text}, ensure_ascii=False)) for text in block[:-1]) < most


def test_a_bad_row_is_named_by_its_line_after_the_blocks_before_it_were_given(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\n" + b"a,b\n" * 10 + b"c\n" + b"a,b\n" * 10 + b"d\n"))
    found = read_blocks(path, rows=4)
    assert [next(found).rows, next(found).rows] == [4, 4]
    with pytest.raises(DataError) as caught:
        next(found)
    assert [problem.line for problem in caught.value.problems] == [12]
    assert "Give every row as many values as the header" in caught.value.cure


def test_lines_that_do_not_decode_have_their_numbers_in_any_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_bytes, "PIECE", 8)
    for bad, what in ((b"caf\xe9", "0xe9"), (b"\xff\xfeab", "0xff"), (b"nul\0", "a NUL byte")):
        (tmp_path / "t.csv").write_bytes(b"text,n\n" + b"good,1\n" * 5 + bad + b",6\n")
        with pytest.raises(DataError) as caught:
            list(read_blocks(tmp_path / "t.csv", rows=2))
        assert [(p.line, what in p.what) for p in caught.value.problems] == [(7, True)]


def test_quotes_that_stop_quoting_late_in_a_file_are_plain_from_its_first_row_on(tmp_path):
    (tmp_path / "t.tsv").write_text('text\tn\n"quoted"\t1\n' + "plain\t2\n" * 9 + '"open and gone\t3\n', "utf-8")
    first = next(read_blocks(tmp_path / "t.tsv", rows=2))
    assert first.columns["text"] == ['"quoted"', "plain"]


def test_a_missing_file_is_told_before_an_unknown_format_and_that_before_its_bytes(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1\0\xff")
    for name, words in (("nothing.parquet", "no such file"), ("t.parquet", r"'\.parquet' are not read")):
        with pytest.raises(DataError, match=words):
            next(read_blocks(tmp_path / name, rows=2))
