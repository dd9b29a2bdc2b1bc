"""CoNLL-style columns: a token a line, its tag in the last column, a blank line after each sentence."""

import re
from collections import Counter

from unfreeze.errors import DataError, Problem

DOCSTART = "-DOCSTART-"
TAG = re.compile(r"O|[BIESLUMW]-\S+|\S+-[BIESLUMW]")
SHAPE = "Each line is a token and its tag, split by a space or a tab; a blank line ends a sentence."
Numbered = list[tuple[int, str]]


def looks_like_conll(text: str) -> bool:
    """Whether at least half of the first lines end in something that looks like a tag.

    Args:
        text: the whole file.
    """
    lines = [line for line in text.split("\n", 400)[:400] if line.strip() and not line.startswith(DOCSTART)]
    fields = [re.split(r"[ \t]+", line.strip(" \t\r")) for line in lines]
    tagged = sum(len(parts) > 1 and TAG.fullmatch(parts[-1]) is not None for parts in fields)
    return tagged >= max(1, len(lines) / 2)


def parse_conll(text: str, name: str) -> tuple[dict[str, list[list[str]]], list[int]]:
    """Tokens and tags of each sentence, and the line each sentence starts on.

    Lines that begin with -DOCSTART-, and comments ("# " before the first token of a sentence), are skipped. A token
    "#" is told from a comment by its tag: the line has as many columns as the others, and ends in a tag of the file.

    Args:
        text: the whole file.
        name: the file's name, for the error.

    Returns:
        Columns "tokens" and "tags", and the lines; word ``w`` of sentence ``s`` stands on line ``lines[s] + w``.

    Raises:
        DataError: lines without a tag or with another number of columns; every such line is listed.
    """
    sentences = _sentences(text)
    plain = [(number, line) for sentence in sentences for number, line in sentence if not line.startswith("# ")]
    tabbed = sum("\t" in line for _, line in plain) > len(plain) / 2
    width, tags = _usual(plain, tabbed)
    tokens_by_sentence: list[list[str]] = []
    tags_by_sentence: list[list[str]] = []
    starts: list[int] = []
    problems: list[Problem] = []
    for sentence in sentences:
        rows = [(number, _fields(line, tabbed)) for number, line in _without_comments(sentence, width, tags, tabbed)]
        problems += [p for number, fields in rows for p in _row_problems(name, number, fields, width, tabbed)]
        if rows:
            tokens_by_sentence.append([fields[0] for _, fields in rows])
            tags_by_sentence.append([fields[-1] for _, fields in rows])
            starts.append(rows[0][0])
    if problems:
        raise DataError(problems, SHAPE)
    if not starts:
        raise DataError(Problem(name, None, "no sentence in the file; expected tokens with tags"), SHAPE)
    return {"tokens": tokens_by_sentence, "tags": tags_by_sentence}, starts


def _sentences(text: str) -> list[Numbered]:
    sentences: list[Numbered] = [[]]
    for number, raw in enumerate(text.split("\n"), 1):  # not splitlines: a token may be U+0085 or U+2028
        line = raw.rstrip("\r")
        if line.strip(" \t") and not line.startswith(DOCSTART):
            sentences[-1].append((number, line))
        elif sentences[-1]:
            sentences.append([])
    return [sentence for sentence in sentences if sentence]


def _fields(line: str, tabbed: bool) -> list[str]:
    if tabbed:
        return [field.strip(" ") for field in line.rstrip(" \t").split("\t")]
    return re.split(r"[ \t]+", line.strip(" \t"))


def _usual(plain: Numbered, tabbed: bool) -> tuple[int, set[str]]:
    """The number of columns most lines have, at least two, and the tags on those lines."""
    rows = [_fields(line, tabbed) for _, line in plain]
    widths = Counter(len(fields) for fields in rows if len(fields) > 1)
    width = widths.most_common(1)[0][0] if widths else 2
    return width, {fields[-1] for fields in rows if len(fields) == width} | {"O"}


def _without_comments(sentence: Numbered, width: int, tags: set[str], tabbed: bool) -> Numbered:
    for i, (_, line) in enumerate(sentence):
        fields = _fields(line, tabbed)
        is_token = len(fields) == width and fields[-1] in tags
        if not line.startswith("# ") or is_token:
            return sentence[i:]
    return []


def _row_problems(name: str, line: int, fields: list[str], width: int, tabbed: bool) -> list[Problem]:
    if len(fields) == 1:
        mark = " after a tab" if tabbed else ""
        return [Problem(name, line, f"a token without a tag; expected the tag{mark} in the last column")]
    if len(fields) != width:
        return [Problem(name, line, f"{len(fields)} columns; most lines have {width}")]
    if not fields[0]:
        return [Problem(name, line, "a tag without a token; expected the token in the first column")]
    return []
