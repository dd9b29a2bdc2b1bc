"""Reading files: exact values, right lines, and one clear error for whatever is wrong."""

import csv
import gzip
import hashlib
import io
import json
import os
import re

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.data.reading import read_blocks, read_table, read_texts
from unfreeze.errors import DataError, SettingsError

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
NAMES = st.lists(st.text("abcXYZ é;_", min_size=1, max_size=6).filter(str.strip), min_size=2, max_size=4, unique=True)


@pytest.fixture
def write(tmp_path):
    def _write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return _write


def refusal(path) -> DataError:
    with pytest.raises(DataError) as caught:
        read_table(path)
    return caught.value


# ---------------------------------------------------------------- what is read


@given(data=st.data(), names=NAMES, delimiter=st.sampled_from([",", "\t"]), end=st.sampled_from(["\n", "\r\n"]))
def test_csv_and_tsv_values_come_back_exactly(tmp_path_factory, data, names, delimiter, end):
    cells = st.one_of(TEXTS, st.sampled_from(["NA", "null", "None", "", "nan", " x ", '"', "a\nb", "1e3", "007"]))
    rows = data.draw(st.lists(st.tuples(*[cells] * len(names)), min_size=1, max_size=6))
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows([names, *rows])
    path = tmp_path_factory.mktemp("csv") / ("t.csv" if delimiter == "," else "t.tsv")
    path.write_bytes(out.getvalue().encode())
    table = read_table(path)
    assert list(table.columns) == names
    assert list(zip(*table.columns.values(), strict=True)) == rows


@given(
    rows=st.lists(st.dictionaries(st.sampled_from("abc"), TEXTS | st.none() | st.integers()), min_size=1, max_size=6)
)
@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.json"])
def test_json_values_come_back_exactly_and_a_missing_key_is_none(tmp_path_factory, rows, name):
    rows = [{"id": i, **row} for i, row in enumerate(rows)]
    path = tmp_path_factory.mktemp("json") / name
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8", newline="")
    table = read_table(path)
    assert table.form == "jsonl"
    assert [dict(zip(table.columns, row, strict=True)) for row in zip(*table.columns.values(), strict=True)] == [
        {key: row.get(key) for key in table.columns} for row in rows
    ]


def test_lines_are_those_where_rows_start_despite_quoted_newlines_and_blank_lines(write):
    table = read_table(write("t.csv", 'text,label\r\n"two\r\nlines",a\r\n\r\nplain,b\r\n'))
    assert list(table.lines) == [2, 5]
    assert table.columns == {"text": ["two\r\nlines", "plain"], "label": ["a", "b"]}


def test_a_json_list_gives_the_line_of_each_object(write):
    table = read_table(write("t.json", '[\n  {"a": 1},\n\n  {"a":\n 2}, {"a": 3}\n]\n'))
    assert table.columns == {"a": [1, 2, 3]}
    assert list(table.lines) == [2, 4, 5]


def test_a_line_separator_inside_a_json_string_ends_no_line(write):
    table = read_table(write("t.jsonl", '{"text": "a\u2028b\x85c"}\n{"text": "d"}\n'))
    assert table.columns["text"] == ["a\u2028b\x85c", "d"]
    assert list(table.lines) == [1, 2]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.tsv", "t.conll"])
def test_gzip_byte_order_mark_and_crlf_change_no_value(write, name):
    content = {"t.csv": "text,label\na,b\n", "t.jsonl": '{"text": "a"}\n', "t.tsv": "x\ty\n1\t2\n", "t.conll": "A O\n"}
    plain = read_table(write(name, content[name]))
    packed = read_table(write(name + ".gz", gzip.compress(content[name].encode())))
    marked = read_table(write(name, b"\xef\xbb\xbf" + content[name].replace("\n", "\r\n").encode()))
    assert plain.columns == packed.columns == marked.columns
    assert plain.digest == packed.digest == hashlib.sha256(content[name].encode()).hexdigest()


def test_a_huge_value_is_read(write):
    assert read_table(write("t.csv", "text,label\n" + "x" * 300_000 + ",a\n")).columns["label"] == ["a"]
    assert csv.field_size_limit() == 131072, "the process-wide limit is put back"


def test_tsv_quotes_are_plain_characters_where_they_quote_nothing(write):
    table = read_table(write("t.tsv", 'text\tlabel\n"open and gone\ta\n5" disk\tb\n'))
    assert table.columns["text"] == ['"open and gone', '5" disk']


def test_a_frame_keeps_strings_and_counts_what_pandas_misses_as_none():
    frame = pandas.DataFrame({"text": ["NA", None, "x"], "n": [1.5, float("nan"), 2.0], "t": [["a"], ["b", "c"], []]})
    table = read_table(frame)
    assert table.columns == {"text": ["NA", None, "x"], "n": [1.5, None, 2.0], "t": [["a"], ["b", "c"], []]}
    assert (table.name, table.form, table.rows, list(table.lines)) == ("<frame>", "frame", 3, [1, 2, 3])
    assert table.digest == read_table(frame.copy()).digest != read_table(frame.iloc[::-1]).digest


# ---------------------------------------------------------------- CoNLL


def test_conll_sentences_comments_and_document_marks(write):
    text = "-DOCSTART- -X- O\n\n# newdoc id\n# text = # O\nParis NNP B-LOC\nis VBZ O\n\n \n# NN O\nnice JJ O\n"
    table = read_table(write("t.conll", text))
    assert table.columns == {"tokens": [["Paris", "is"], ["#", "nice"]], "tags": [["B-LOC", "O"], ["O", "O"]]}
    assert list(table.lines) == [5, 9]


def test_conll_sentences_know_their_document_where_a_file_marks_several(write):
    text = "Ann B-PER\n\n-DOCSTART- O\n\nParis B-LOC\n\nis O\n-DOCSTART-\n-DOCSTART- O\n\nnice O\n"
    path = write("t.conll", text)
    documents = [f"{path}:{line}" for line in (1, 3, 3, 9)]
    assert read_table(path).columns["document_id"] == documents
    assert all("document_id" not in block.columns for block in read_blocks(path, rows=2)), "nobody asks there"


def test_a_hash_sign_is_a_token_where_its_line_ends_in_a_tag(write):
    table = read_table(write("t.txt", "# O\nfoo B-X\n# I-X\n\n# comment\nbar O\n"))
    assert table.columns["tokens"] == [["#", "foo", "#"], ["bar"]]


def test_conll_tokens_split_by_tabs_may_hold_spaces(write):
    table = read_table(write("t.bio", "New York\tB-LOC\nis\tO\n"))
    assert table.columns == {"tokens": [["New York", "is"]], "tags": [["B-LOC", "O"]]}


def test_an_odd_space_is_part_of_a_conll_token(write):
    assert read_table(write("t.conll", "a\u00a0b O\n\u2028 O\n")).columns["tokens"] == [["a\u00a0b", "\u2028"]]


def test_words_alone_are_read_only_where_no_tags_are_asked_for(write):
    path = write("t.conll", "# newdoc\nParis\nis\t\n\n#\na\u00a0b\r\n")
    table = read_table(path, labelled=False)
    assert table.columns == {"tokens": [["Paris", "is"], ["#", "a\u00a0b"]]}
    assert list(table.lines) == [2, 5]
    assert "a token without a tag" in str(refusal(path))
    tagged = write("u.conll", "Paris B-LOC\n")
    assert read_table(tagged, labelled=False) == read_table(tagged)


def test_every_conll_line_without_a_tag_is_listed(write):
    error = refusal(write("t.txt", "Paris B-LOC\nis\nnice O\n\nfoo O\nbar\na b O\n"))
    assert [(problem.line, problem.what.split(";")[0]) for problem in error.problems] == [
        (2, "a token without a tag"),
        (6, "a token without a tag"),
        (7, "3 columns"),
    ]


# ---------------------------------------------------------------- what is refused

LATIN = "text,label\ncaf\xe9,a\n".encode("latin-1")
REFUSED = {
    "an empty file": ("t.csv", "", None, "is empty"),
    "only space": ("t.jsonl", " \n\n", None, "is empty"),
    "only a byte order mark": ("t.csv", b"\xef\xbb\xbf", None, "is empty"),
    "a header only": ("t.csv", "text,label\n", None, "a header and no rows"),
    "a column named twice": ("t.csv", "text,text\na,b\n", 1, "'text' more than once"),
    "a column without a name": ("t.csv", "text,\na,b\n", 1, "column 2"),
    "a frame's index": ("t.csv", ",text\n0,b\n", 1, "index=False"),
    "a row too short": ("t.csv", "text,label\na,b\nc\n", 3, "1 value, the header has 2"),
    "a row too long": ("t.tsv", "text\tlabel\na\tb\nc\td\te\n", 3, "3 values, the header has 2"),
    "an unclosed quote": ("t.csv", 'text,label\na,b\n"c,d\ne,f\n', 3, "never closed"),
    "text after a quote": ("t.csv", 'text,label\n"a"b,c\n', 2, "closing quote"),
    "semicolons": ("t.csv", "text;label\na;b\n", 1, "semicolons"),
    "a NUL byte": ("t.csv", "text,label\nlong enough a row\0 to be no UTF-16,b\n", 2, "NUL"),
    "Latin-1": ("t.csv", LATIN, 2, "0xe9"),
    "UTF-16": ("t.csv", "text,label\na,b\n".encode("utf-16"), None, "is UTF-16"),
    "UTF-16 without a mark": ("t.csv", "text,label\na,b\n".encode("utf-16-le"), None, "looks like UTF-16"),
    "UTF-32": ("t.csv", "text,label\na,b\n".encode("utf-32"), None, "is UTF-32"),
    "broken JSON": ("t.jsonl", '{"a": 1}\n{"a": \n', 2, "column"),
    "JSON that is no object": ("t.jsonl", '{"a": 1}\n["a"]\n', 2, "a list; expected an object"),
    "a number for an object": ("t.jsonl", "3\n", 1, "a number; expected an object"),
    "NaN": ("t.jsonl", '{"a": NaN}\n', 1, "NaN is no JSON"),
    "a key given twice": ("t.jsonl", '{"a": 1, "a": 2}\n', 1, "'a' is given twice"),
    "half a surrogate pair": ("t.jsonl", '{"a": "\\ud800"}\n', 1, "surrogate"),
    "deep JSON": ("t.jsonl", "[" * 100_000 + "\n", 1, "nested too deeply"),
    "a number too long": ("t.jsonl", '{"a": ' + "9" * 5000 + "}\n", 1, "too many digits"),
    "keys without a name": ("t.jsonl", '{"a": 1}\n{"": 1}\n', 2, "without a name"),
    "objects without keys": ("t.jsonl", "{}\n", None, "without any key"),
    "one object around everything": ("t.json", '{\n"data": [1]\n}', None, "'data'"),
    "an empty list": ("t.json", "[]", None, "an empty list"),
    "a list cut short": ("t.json", '[{"a": 1},\n{"a"', 2, "no JSON"),
    "no comma in a list": ("t.json", '[{"a": 1}\n{"a": 2}]', 2, "',' or ']'"),
    "text after a list": ("t.json", '[{"a": 1}]\n x', 2, "Extra data"),
    "an entry that is no object": ("t.json", '[{"a": 1},\n 3]', 2, "a number; expected an object"),
    "NaN in a list": ("t.json", '[{"a": 1},\n {"a": NaN}]', 1, "NaN is no JSON"),
    "one value over many lines": ("t.json", "3\n\n", 1, "a number; expected an object"),
    "a tag without a token": ("t.conll", "a\tO\n\tO\nb\tO\n", 2, "a tag without a token"),
    "prose": ("t.txt", "Once upon a time.\nThere was a file.\n", None, "not tokens with tags"),
    "no sentence": ("t.conll", "-DOCSTART- O\n\n# text\n", None, "no sentence"),
    "no tags at all": ("t.conll", "Paris\nis\n", 1, "a token without a tag"),
    "an unknown suffix": ("t.parquet", "x", None, "'.parquet' are not read"),
    "no suffix": ("data", "x", None, "no suffix"),
    "no gzip": ("t.csv.gz", "text,label\na,b\n", None, "not gzip"),
    "gzip by another name": ("t.csv", gzip.compress(b"a"), None, "gzip-compressed"),
    "gzip cut short": ("t.csv.gz", gzip.compress(b"text,label\n" * 99)[:-12], None, "cut short"),
    "damaged gzip": ("t.csv.gz", gzip.compress(b"text,label\na,b\n")[:-8] + b"12345678", None, "damaged"),
    "an empty gzip": ("t.csv.gz", "", None, "is empty"),
}


@pytest.mark.parametrize(("name", "content", "line", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_input_is_one_error_with_its_place(write, name, content, line, says):
    path = write(name, content)
    error = refusal(path)
    assert says in error.problems[0].what
    assert error.problems[0].line == line
    assert error.problems[0].file == str(path)


def test_all_problems_of_a_file_come_at_once_in_its_order(write):
    error = refusal(write("t.csv", "text,,text\na,b,c\nd\n" + "e,f\n" * 30))
    assert [problem.line for problem in error.problems] == [1, 1, *range(3, 34)]
    assert "13 more problems (33 in all)" in str(error)


def test_a_missing_file_offers_the_nearest_name(write):
    there = write("messages.csv", "a\n1\n")
    error = refusal(there.with_name("mesages.csv"))
    assert "no such file" in str(error)
    assert "messages.csv" in error.cure


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    assert "no regular file" in str(refusal(tmp_path / "t.csv"))


def test_a_missing_folder_and_a_folder_are_told(tmp_path):
    assert "no such folder" in str(refusal(tmp_path / "nowhere" / "t.csv"))
    assert "folder; expected a file" in str(refusal(tmp_path))
    assert "no such file" in str(refusal("a\0b.csv"))
    assert "cannot be reached" in str(refusal(tmp_path / ("x" * 5000 + ".csv")))


@pytest.mark.parametrize(
    ("raw", "cure"), [(LATIN, "LATIN1"), (b"a,b\nx\x93y,z\n", "CP1252"), (b"a\n\x81\n", "was written in")]
)
def test_the_cure_for_another_encoding_names_the_one_that_would_decode(write, raw, cure):
    assert cure in refusal(write("t.csv", raw)).cure


def test_the_cure_unpacks_a_gzip_file_before_it_converts(write):
    cure = refusal(write("my t.csv.gz", gzip.compress(LATIN))).cure
    assert re.search(r"gunzip -c '.*/my t\.csv\.gz' \| iconv -f LATIN1 -t UTF-8 > '.*/utf8-my t\.csv'", cure)


def test_no_message_quotes_the_users_text(write):
    for name, content in [("t.csv", "text,label\nsecret\n"), ("t.jsonl", '{"text": secret}\n'), ("t.bio", "secret\n")]:
        assert "secret" not in str(refusal(write(name, content)))


def test_a_frame_that_cannot_be_used_is_refused():
    assert "expected at least one each" in str(refusal(pandas.DataFrame({"text": []})))
    twice = pandas.DataFrame([[1, 2, 3]], columns=["a", "a", " "])
    assert len(refusal(twice).problems) == 2
    half = refusal(pandas.DataFrame({"text": ["fine", "\ud800"]}))
    assert [problem.line for problem in half.problems] == [2]


def test_what_is_neither_path_nor_frame_is_refused():
    with pytest.raises(SettingsError, match="got list"):
        read_table(["a", "b"])  # type: ignore[arg-type]


def check_table_or_refusal(path, content):
    path.write_bytes(content)
    try:
        table = read_table(path)
    except DataError as caught:
        error = caught
    else:
        error = None
        assert {len(values) for values in table.columns.values()} == {table.rows}
        assert table.rows > 0
    assert error is None or {problem.file for problem in error.problems} == {str(path)}


SUFFIXES = st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".conll", ".txt"])


@given(content=st.binary(max_size=200), suffix=SUFFIXES, end=st.sampled_from(["", ".gz"]))
def test_any_bytes_give_a_table_or_a_data_error(tmp_path_factory, content, suffix, end):
    check_table_or_refusal(tmp_path_factory.mktemp("fuzz") / f"t{suffix}{end}", content)


@settings(max_examples=200)
@given(
    parts=st.lists(st.sampled_from([*'ab,"\n\r\t {}[]:1#O\\', '{"a": 1}', "B-X", "\n\n"]), max_size=30), suffix=SUFFIXES
)
def test_any_almost_right_text_gives_a_table_or_a_data_error(tmp_path_factory, parts, suffix):
    check_table_or_refusal(tmp_path_factory.mktemp("fuzz") / f"t{suffix}", "".join(parts).encode())


# ---------------------------------------------------------------- texts without labels


@pytest.mark.parametrize("name", ["t.txt", "t.TXT", "t.txt.gz"])
def test_a_txt_is_a_text_a_line(write, name):
    content = "The film was good\r\n\n  We will never come back, they said  \n\u2028Anna left".encode()
    table = read_texts(write(name, gzip.compress(content) if name.endswith("gz") else content))
    assert list(table.columns["text"]) == ["The film was good", "We will never come back, they said", "Anna left"]
    assert (list(table.lines), table.form) == ([1, 3, 4], "txt")


@pytest.mark.parametrize("content", ["Anna B-PER\nleft O\n\nOslo B-LOC\n", "Anna\nleft\n\nOslo\n"])
def test_a_txt_of_words_is_read_as_words(write, content):
    assert list(map(list, read_texts(write("t.txt", content)).columns["tokens"])) == [["Anna", "left"], ["Oslo"]]


def test_texts_in_all_other_formats_are_read_as_ever(write):
    path = write("t.csv", "text,label\na b,x\n")
    assert read_texts(path) == read_table(path)
    frame = pandas.DataFrame({"text": ["a b"]})
    assert read_texts(frame) == read_table(frame)
    for content in ("", "\n \n"):
        with pytest.raises(DataError, match="the file is empty"):
            read_texts(write("t.txt", content))
