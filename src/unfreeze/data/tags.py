"""Schemes of entity tags: recognised from the tags themselves, and all brought to IOB2.

    IOB2    every entity begins with B-, goes on with I-
    IOB1    entities begin with I-; B- only where one touches another of its type
    BIOES   B- I- E- for several words, S- for one; BILOU (L, U), BMEWO (M, W) and BMES spell the same
    IO      the bare type; touching words of one type are one entity

The letter may also stand behind the type: PER-B.

Source: the names and readings are those of Ramshaw & Marcus 1995 (IOB1) and Tjong Kim Sang & Veenstra 1999 (IOB2).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from unfreeze.errors import DataError, Problem, SettingsError, UnknownName

SCHEMES = ("IOB1", "IOB2", "BIOES", "IO")
LETTERS = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S", "M": "I", "W": "S"}
FAMILIES = {"BIOES": "BIES", "BILOU": "BILU", "BMEWO": "BMEW", "BMES": "BMES"}
CURE = "Write all tags in one scheme; IOB2 is the surest: B- on the first word of every entity, I- on the others."


class _Tag(NamedTuple):
    letter: str  # as written, "" outside and for a bare type
    kind: str  # the entity's type, "" outside


class _Placed(NamedTuple):
    place: tuple[int, int]  # sentence and word
    tag: _Tag
    before: _Tag  # _OUTSIDE at the ends of a sentence
    after: _Tag


_OUTSIDE = _Tag("", "")


def recognise_scheme(
    sentences: Sequence[Sequence[str]],
    *,
    file: str = "<tags>",
    lines: Sequence[int] | None = None,
    line_a_word: bool = True,
) -> str:
    """The scheme in which these tags are written: "IOB1", "IOB2", "BIOES" or "IO".

    An I- that begins an entity speaks for IOB1, a B- that touches no entity of its type speaks for IOB2; where nothing
    speaks (no entity at all) the answer is IOB2.

    Args:
        sentences: one tag a word.
        file: the file's name, for the error.
        lines: 1-based line on which each sentence starts.
        line_a_word: whether each further word stands on the next line (CoNLL), not all on one (JSON lines).

    Raises:
        DataError: a tag that fits no scheme, or evidence for two schemes; every such place is listed.
    """
    problems = _Problems(sentences, file, lines, line_a_word)
    known = {tag: _parsed(tag) for tag in sorted({tag for sentence in sentences for tag in sentence})}
    for sentence, word, tag in _places(sentences):
        if known[tag] is None:
            problems.add((sentence, word), f"the tag {tag!r} fits no scheme; expected O or one like B-PER")
    problems.settle()
    tags = {tag: parsed for tag, parsed in known.items() if parsed is not None and parsed.kind}
    bare = [tag for tag, parsed in tags.items() if not parsed.letter]
    if bare and len(bare) < len(tags):
        minority = bare if len(bare) <= len(tags) / 2 else [tag for tag in tags if tag not in bare]
        problems.add_all(minority, "differs from the others: some tags have B- or I-, some have none")
    problems.settle()
    if bare:
        return "IO"
    letters = {parsed.letter for parsed in tags.values()}
    placed = list(_placed([[known[tag] or _OUTSIDE for tag in sentence] for sentence in sentences]))
    return _recognise_iob(placed, problems) if letters <= {"B", "I"} else _recognise_bioes(placed, letters, problems)


def to_iob2(tags: Sequence[str], scheme: str) -> tuple[str, ...]:
    """The tags of one sentence in IOB2.

    Args:
        tags: one a word, in ``scheme``.
        scheme: what ``recognise_scheme`` said.

    Raises:
        UnknownName: no such scheme.
        SettingsError: a tag that fits no scheme.
    """
    if scheme not in SCHEMES:
        raise UnknownName("tag scheme", scheme, SCHEMES)
    if scheme == "IO":
        return _joined([_Tag("", "" if tag == "O" else tag) for tag in tags])
    parsed = [_parsed(tag) for tag in tags]
    wrong = [tag for tag, found in zip(tags, parsed, strict=True) if found is None]
    if wrong:
        raise SettingsError(f"the tag {wrong[0]!r} fits no scheme; expected O or one like B-PER")
    return _joined([found or _OUTSIDE for found in parsed])


def repair_iob2(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags in valid IOB2: an I- that continues nothing becomes B-, as conlleval reads it.

    Args:
        tags: one a word, such as a model predicts them.
    """
    return to_iob2(tags, "IOB2")


def spans_of(iob2_tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Entities of one sentence, read strictly: only B- begins one, and I- goes on only with its own type.

    Args:
        iob2_tags: one a word; an I- that continues nothing belongs to no entity (seqeval's strict mode).

    Returns:
        First word, word after the last, and type of each entity, in order.
    """
    spans: list[tuple[int, int, str]] = []
    for word, tag in enumerate(iob2_tags):
        letter, _, kind = tag.partition("-")
        if letter == "B":
            spans.append((word, word + 1, kind))
        elif letter == "I" and spans and spans[-1][1:] == (word, kind):
            spans[-1] = (spans[-1][0], word + 1, kind)
    return spans


def _parsed(tag: str) -> _Tag | None:
    """Letter and type of a tag, or None where it fits no scheme."""
    if tag == "O":
        return _OUTSIDE
    first, _, rest = tag.partition("-")
    if first in LETTERS:
        return _Tag(first, rest) if rest else None
    front, dash, last = tag.rpartition("-")
    if dash and last in LETTERS:
        return _Tag(last, front) if front else None
    # B_PER or b-PER would pass for a bare type and make every entity wrong: refused, not guessed
    prefixed = len(tag) > 1 and tag[0].upper() in LETTERS and not tag[1].isalnum()
    return _Tag("", tag) if tag.strip() and tag != "o" and not prefixed else None


def _joined(tags: Sequence[_Tag]) -> tuple[str, ...]:
    """IOB2 from parsed tags; one rule fits all schemes, since they differ only in what they leave unsaid."""
    out = []
    before = ""
    for letter, kind in tags:
        role = LETTERS.get(letter, "I")
        begins = role in "BS" or kind != before
        out.append(f"{'B' if begins else 'I'}-{kind}" if kind else "O")
        before = kind
    return tuple(out)


def _recognise_iob(placed: Sequence[_Placed], problems: "_Problems") -> str:
    alone = [p for p in placed if p.tag.letter == "B" and p.before.kind != p.tag.kind]
    begun_with_i = [p for p in placed if p.tag.letter == "I" and p.before.kind != p.tag.kind]
    if alone and begun_with_i:
        n, m = len(begun_with_i), len(alone)
        few, why = (begun_with_i, "begins an entity without B-") if n <= m else (alone, "begins with B- needlessly")
        for p in few:
            counts = f"{m} entities begin with B- (IOB2), {n} with I- (IOB1)"
            problems.add(p.place, f"{p.tag.letter}-{p.tag.kind} {why}: in this file {counts}")
    problems.settle()
    return "IOB1" if begun_with_i else "IOB2"


def _recognise_bioes(placed: Sequence[_Placed], letters: set[str], problems: "_Problems") -> str:
    families = [name for name, spelled in FAMILIES.items() if letters <= set(spelled)]
    if not families:
        nearest = max(FAMILIES, key=lambda name: sum(p.tag.letter in FAMILIES[name] for p in placed))
        for p in placed:
            if p.tag.letter not in FAMILIES[nearest]:
                problems.add(p.place, f"{p.tag.letter}-{p.tag.kind}: {nearest}, as the others, has no such")
    problems.settle()
    for p in placed:
        role = LETTERS[p.tag.letter]
        opened = p.before.kind == p.tag.kind and LETTERS[p.before.letter] in "BI"
        goes_on = p.after.kind == p.tag.kind and LETTERS[p.after.letter] in "IE"
        written = f"{p.tag.letter}-{p.tag.kind}"
        if role in "IE" and not opened:
            problems.add(p.place, f"{written} continues no entity ({families[0]})")
        if role in "BI" and not goes_on:
            problems.add(p.place, f"{written} is followed by no end of its entity ({families[0]})")
    problems.settle()
    return "BIOES"


def _placed(sentences: Sequence[Sequence[_Tag]]) -> Iterator[_Placed]:
    """Every tag of an entity with its neighbours."""
    for s, sentence in enumerate(sentences):
        ringed = [_OUTSIDE, *sentence, _OUTSIDE]
        for w, tag in enumerate(sentence):
            if tag.kind:
                yield _Placed((s, w), tag, ringed[w], ringed[w + 2])


def _places(sentences: Sequence[Sequence[str]]) -> Iterator[tuple[int, int, str]]:
    for s, sentence in enumerate(sentences):
        for w, tag in enumerate(sentence):
            yield s, w, tag


class _Problems:
    """Problems gathered by place in the sentences, raised together."""

    def __init__(
        self, sentences: Sequence[Sequence[str]], file: str, lines: Sequence[int] | None, line_a_word: bool
    ) -> None:
        self.sentences, self.file, self.lines, self.line_a_word = sentences, file, lines, line_a_word
        self.found: list[Problem] = []

    def add(self, place: tuple[int, int], what: str) -> None:
        sentence, word = place
        self.found.append(Problem(self.file, self._line(sentence, word), f"word {word + 1} of the sentence: {what}"))

    def add_all(self, tags: Sequence[str], what: str) -> None:
        for sentence, word, tag in _places(self.sentences):
            if tag in tags:
                self.add((sentence, word), f"{tag!r} {what}")

    def settle(self) -> None:
        if self.found:
            raise DataError(self.found, CURE)

    def _line(self, sentence: int, word: int) -> int | None:
        return None if self.lines is None else self.lines[sentence] + (word if self.line_a_word else 0)
