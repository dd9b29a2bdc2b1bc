"""Words of a text with their places, and the way between character spans and tags on words."""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from unfreeze.data.tags import spans_of

Offsets = tuple[tuple[int, int], ...]
Span = tuple[int, int, str]


def split_words(text: str) -> tuple[tuple[str, ...], Offsets]:
    """Words and where they stand; a function of the text alone, never of labels.

    A run of letters, marks and digits is a word; any other visible character is a word of its own, with the marks that
    follow it (the emoji "❤" and its variation selector are one word). Invisible characters (soft hyphen, zero-width
    joiner, controls) belong to a word where they stand between two of its characters; elsewhere they are like space,
    since a tokenizer drops them and a word of them alone would have no token.

    Args:
        text: any text.

    Returns:
        The words, and for each its first character and the one after its last; ``text[start:end]`` is the word.
    """
    offsets: list[tuple[int, int]] = []
    joins = False  # whether a letter at this place would go on with the last word
    for place, char in enumerate(text):
        kind = _kind(char)
        if kind == "space":
            joins = False
        elif (joins and kind in {"letter", "mark"}) or (kind == "mark" and offsets and offsets[-1][1] == place):
            offsets[-1] = (offsets[-1][0], place + 1)
        elif kind != "invisible":
            offsets.append((place, place + 1))
            joins = kind != "symbol"
    return tuple(text[start:end] for start, end in offsets), tuple(offsets)


def overlapping_spans(spans: Sequence[Span]) -> list[tuple[int, int]]:
    """Pairs of spans that share a character, each span with the earlier one that reaches furthest.

    Args:
        spans: start, end (exclusive) and label of each, in characters, in any order.

    Returns:
        Pairs of positions in ``spans``; empty where no two overlap.
    """
    order = sorted(range(len(spans)), key=lambda i: (spans[i][0], spans[i][1]))
    pairs = []
    furthest = -1
    for i in order:
        if furthest >= 0 and spans[i][0] < spans[furthest][1]:
            pairs.append((furthest, i))
        if furthest < 0 or spans[i][1] > spans[furthest][1]:
            furthest = i
    return pairs


def tags_from_spans(offsets: Sequence[tuple[int, int]], spans: Sequence[Span]) -> tuple[tuple[str, ...], int]:
    """One IOB2 tag a word, from character spans that do not overlap.

    Spaces at the ends of a span do not count. A span that begins or ends inside a word is widened to whole words; where
    these belong to another span it keeps the words that lie wholly inside it, perhaps none.

    Args:
        offsets: start and end of each word, in characters, rising.
        spans: start, end (exclusive) and label of each.

    Returns:
        The tags, and how many spans were widened, shortened or lost because they fit no words.
    """
    tags = ["O"] * len(offsets)
    cut = []
    for start, end, label in sorted(spans):
        touched = _touched(offsets, start, end)
        if touched and offsets[touched[0]][0] >= start and offsets[touched[-1]][1] <= end:
            _write(tags, touched, label)
        else:
            cut.append((start, end, label, touched))
    for start, end, label, touched in cut:  # after the exact ones, which must not lose a word to these
        taken = any(tags[word] != "O" for word in touched)
        _write(tags, [w for w in touched if not taken or (offsets[w][0] >= start and offsets[w][1] <= end)], label)
    return tuple(tags), len(cut)


def spans_from_tags(offsets: Sequence[tuple[int, int]], iob2: Sequence[str]) -> list[Span]:
    """Character spans of the entities in IOB2 tags, read strictly.

    Args:
        offsets: start and end of each word, in characters.
        iob2: one tag a word.

    Returns:
        Start, end (exclusive) and label of each entity, in order.
    """
    return [(offsets[first][0], offsets[last - 1][1], label) for first, last, label in spans_of(iob2)]


def _touched(offsets: Sequence[tuple[int, int]], start: int, end: int) -> list[int]:
    return [i for i, (first, last) in enumerate(offsets) if first < end and last > start]


def _write(tags: list[str], words: Sequence[int], label: str) -> None:
    for i, word in enumerate(words):
        tags[word] = f"{'I' if i else 'B'}-{label}"


@lru_cache(maxsize=8192)
def _kind(char: str) -> str:
    if char.isspace():
        return "space"
    category = unicodedata.category(char)
    if category in {"Cf", "Cc"}:
        return "invisible"
    return {"L": "letter", "N": "letter", "M": "mark"}.get(category[0], "symbol")
