"""Words as tokens: alignment, and windows for sentences longer than the encoder reads at once.

Each word speaks through its first token, in exactly one window, so that every gold tag is learned once and every word
is predicted once; the other words of the window are its context. Where windows are cut depends on the words alone,
never on their tags.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from unfreeze.data.audit import Count
from unfreeze.data.example import Example
from unfreeze.data.tags import spans_of
from unfreeze.encoders.loading import Encoder
from unfreeze.tasks._base import IGNORED, Encoded, Feature


@dataclass(frozen=True, slots=True)
class _Frame:
    """The special tokens around a sequence, all special tokens, and names of further inputs, 0 for a single text."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    special: frozenset[int]
    zeros: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Window:
    """Words ``start`` to ``end`` are read; ``first`` to ``last`` of them are spoken for."""

    start: int
    end: int
    first: int
    last: int


def encode_words(examples: Sequence[Example], encoder: Encoder, *, number: Mapping[str, int]) -> Encoded:
    """Examples with words as features for a token task.

    Args:
        examples: with words; their targets may be None, or hold tags that ``number`` lacks (they become ``IGNORED``).
        encoder: its tokenizer and window.
        number: class number of each tag.

    Returns:
        One feature for each example that fits the window, several for a longer one, with counts of words that gave no
        token and of sentences that needed windows.
    """
    encoder = encoder.for_words()
    frame = _frame(encoder)
    room = encoder.window - len(frame.before) - len(frame.after)
    features: list[Feature] = []
    silent: list[int] = []  # the sentence, once for each such word
    long, shortened = [], []
    for index, (example, pieces) in enumerate(zip(examples, _pieces(examples, encoder), strict=True)):
        silent += [index for piece in pieces if not piece]
        if any(len(piece) > room // 2 for piece in pieces):
            shortened.append(index)
        kept = [piece[: room // 2] for piece in pieces]
        windows = windows_of([len(piece) for piece in kept], room)
        if len(windows) > 1:
            long.append(index)
        features += [_feature(index, example, kept, window, frame, number) for window in windows]
    found = (
        ("words give no token, so their tag is always O", silent, sum(len(example.words) for example in examples)),
        (
            "sentences have a word longer than half the encoder's window (its end is not read)",
            shortened,
            len(examples),
        ),
        (
            f"sentences are longer than the encoder's window of {encoder.window} tokens and are read in several",
            long,
            len(examples),
        ),
    )
    counts = (
        Count(what, len(at), of, tuple(dict.fromkeys(examples[i].line for i in at))) for what, at, of in found if at
    )
    return Encoded(tuple(features), tuple(counts))


def windows_of(lengths: Sequence[int], room: int) -> list[_Window]:
    """Windows over words of the given lengths in tokens, each of at most ``room`` tokens.

    Neighbours share up to a quarter of the room; the words shared are divided between the two in the middle.

    Args:
        lengths: number of tokens of each word, none above half of ``room``.
        room: tokens a window can hold.
    """
    windows: list[_Window] = []
    start = 0
    while True:
        end, used = start, 0
        while end < len(lengths) and used + lengths[end] <= room:
            used += lengths[end]
            end += 1
        windows.append(_Window(start, end, start, end))
        if end == len(lengths):
            return _divided(windows)
        back, shared = end, 0
        while back - 1 > start and shared + lengths[back - 1] <= room // 4:
            back -= 1
            shared += lengths[back]
        start = back


def _divided(windows: list[_Window]) -> list[_Window]:
    """The same windows, every word spoken for by exactly one of them."""
    borders = [(left.end + right.start + 1) // 2 for left, right in pairwise(windows)]
    firsts, lasts = [windows[0].start, *borders], [*borders, windows[-1].end]
    return [_Window(w.start, w.end, f, e) for w, f, e in zip(windows, firsts, lasts, strict=True)]


def _pieces(examples: Sequence[Example], encoder: Encoder) -> list[list[list[int]]]:
    """For each example, for each word, its token numbers; empty for a word that the tokenizer drops."""
    filled = [list(example.words) or [""] for example in examples]
    if not filled:
        return []
    encoding = encoder.tokenizer(
        filled, is_split_into_words=True, add_special_tokens=False, truncation=False, verbose=False
    )
    out = []
    for i, example in enumerate(examples):
        pieces: list[list[int]] = [[] for _ in example.words]
        for token, word in zip(encoding["input_ids"][i], encoding.word_ids(i), strict=True):
            if word is not None and pieces:
                pieces[word].append(token)
        out.append(pieces)
    return out


def _frame(encoder: Encoder) -> _Frame:
    """What the tokenizer puts around a sequence, read off one that it encodes with and without."""
    with_special = encoder.tokenizer(["a"], is_split_into_words=True)
    plain = encoder.tokenizer(["a"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    ids = with_special["input_ids"]
    before = next(i for i in range(len(ids)) if ids[i : i + len(plain)] == plain)
    zeros = tuple(key for key in with_special if key not in {"input_ids", "attention_mask"})
    special = frozenset(encoder.tokenizer.all_special_ids)
    return _Frame(tuple(ids[:before]), tuple(ids[before + len(plain) :]), special, zeros)


def _feature(
    index: int,
    example: Example,
    pieces: list[list[int]],
    window: _Window,
    frame: _Frame,
    number: Mapping[str, int],
) -> Feature:
    ids, words = list(frame.before), [-1] * len(frame.before)
    begins: list[int] = []  # for each word of the window, its first token
    for word in range(window.start, window.end):
        speaks = window.first <= word < window.last
        begins.append(len(ids))
        ids += pieces[word]
        words += [word if speaks and i == 0 else -1 for i in range(len(pieces[word]))]
    begins.append(len(ids))
    ids += frame.after
    words += [-1] * len(frame.after)
    tags = example.target or ()
    targets = tuple(number.get(tags[word], IGNORED) if word >= 0 and tags else IGNORED for word in words)
    inputs = {"input_ids": ids, "attention_mask": [1] * len(ids)} | {key: [0] * len(ids) for key in frame.zeros}
    spans = tuple(
        (begins[start - window.start], begins[end - window.start])
        for start, end, _ in spans_of(tags)
        if window.first <= start and end <= window.last
    )
    whole = pairwise(begins[window.first - window.start : window.last - window.start + 1])
    return Feature(
        index,
        inputs,
        targets,
        tuple(words),
        tuple(span for span in spans if span[0] < span[1]),
        tuple((start, end) for start, end in whole if start < end and frame.special.isdisjoint(ids[start:end])),
    )
