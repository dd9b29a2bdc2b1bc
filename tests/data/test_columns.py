"""Finding columns: sure where one name fits, an error where several do."""

import pytest

from unfreeze.data.columns import LABEL_COLUMNS, TEXT_COLUMNS, find_column
from unfreeze.data.table import Table
from unfreeze.errors import DataError


def table(*names):
    return Table("t.csv", "csv", {name: ["x"] for name in names}, [2], "")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["text", "label"], "label"),
        (["Text", "LABEL"], "LABEL"),
        (["text", " Labels "], " Labels "),
        (["text", "sentiment"], "sentiment"),
        (["topic", "label", "sentiment"], "label"),
    ],
)
def test_the_label_is_found_by_name_in_any_case(names, found):
    assert find_column(table(*names), "label", synonyms=LABEL_COLUMNS) == found


def test_text_beats_the_weaker_names():
    assert find_column(table("title", "text", "body"), "text", synonyms=TEXT_COLUMNS) == "text"


@pytest.mark.parametrize("names", [["topic", "sentiment"], ["label", "labels", "topic"], ["label", "Label"]])
def test_several_candidates_are_an_error_that_names_them_and_the_option(names):
    with pytest.raises(DataError) as caught:
        find_column(table("text", *names), "label", synonyms=LABEL_COLUMNS)
    assert f"{names[0]!r}, {names[1]!r}" in str(caught.value)
    assert "--label-column" in caught.value.cure


def test_no_candidate_is_an_error_only_where_one_is_required():
    assert find_column(table("a", "b"), "group", synonyms=["group"], required=False) is None
    with pytest.raises(DataError, match=r"no column for the text; the columns are 'a', 'b'(.|\n)*--text-column"):
        find_column(table("a", "b"), "text", synonyms=TEXT_COLUMNS)


def test_a_wanted_column_is_taken_before_any_synonym():
    assert find_column(table("text", "label", "topic"), "label", synonyms=LABEL_COLUMNS, wanted="topic") == "topic"
    assert find_column(table("Topic", "label"), "label", synonyms=LABEL_COLUMNS, wanted="topic") == "Topic"
    assert find_column(table("Topic", "topic"), "label", synonyms=LABEL_COLUMNS, wanted="topic") == "topic"


def test_a_wanted_column_that_is_not_there_is_an_error_with_the_nearest_name():
    with pytest.raises(DataError, match=r"no column 'sentimant' (.|\n)*Did you mean --label-column 'Sentiment'"):
        find_column(table("text", "Sentiment"), "label", synonyms=LABEL_COLUMNS, wanted="sentimant", required=False)
    with pytest.raises(DataError, match="Choose one with --label-column"):
        find_column(table("text", "zzz"), "label", synonyms=LABEL_COLUMNS, wanted="sentiment")
