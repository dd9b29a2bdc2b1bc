"""The cells of the replay study: a data set and a number of its training rows, as small files both sides are given.

Training rows are the first of the set's own train split after a fixed shuffle, no text twice and none that validation
or test has, too; where a label is missing among them, the next shuffle is taken. Validation rows are the first 300 of
its dev split, test rows the first 1,000 of its test split. Texts of ``CUT`` sets are cut at 128 tokens, special ones
included, in all three files, after the last whole word.
"""

import argparse
import csv
import gzip
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inputs import embedded_encoder
from measuring import HERE

from unfreeze.data.splitting import text_key

CELLS = (
    "ner_wikigold",
    "cls_rt_polarity",
    "cls_customer_reviews",
    "ner_btc_twitter",
    "cls_financial_phrasebank",
    "cls_medical_abstracts",
)
CUT = {"cls_medical_abstracts": 128}
"""Data sets whose texts are cut, and at how many tokens."""

VALIDATION_ROWS, TEST_ROWS, SHUFFLES = 300, 1000, 100


@dataclass(frozen=True, slots=True)
class Cell:
    """A data set and how many of its rows are learned from.

    Attributes:
        data: folder name of the data set.
        rows: training rows.
        train: file of these.
        validation: file of the rows that choose.
        test: file of the rows that judge.
    """

    data: str
    rows: int
    train: Path
    validation: Path
    test: Path

    @property
    def name(self) -> str:
        """As files of this cell are named."""
        return f"{self.data}-{self.rows}"

    @property
    def task(self) -> str:
        """The library's name for what is learned."""
        return "ner" if self.data.startswith("ner_") else "classification"


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as it stands in the file, what it counts as for equality, and its labels."""

    written: tuple[str, ...]
    key: str
    labels: frozenset[str]


def make_cell(data: str, rows: int, *, shared: Path, into: Path) -> Cell:
    """Write a cell's three files, the same whenever it is called.

    Args:
        data: folder name of the data set.
        rows: training rows.
        shared: the folder of data sets.
        into: where the files go.

    Raises:
        ValueError: the set has too few rows, or no shuffle shows every label.
    """
    every = {split: _read(shared / data, split) for split in ("train", "dev", "test")}
    test = _unique(every["test"], set(), seed=0)[:TEST_ROWS]
    validation = _unique(every["dev"], {row.key for row in test}, seed=0)[:VALIDATION_ROWS]
    apart = {row.key for row in (*test, *validation)}
    labels = frozenset[str]().union(*(row.labels for split in every.values() for row in split))
    for seed in range(SHUFFLES):
        train = _unique(every["train"], apart, seed=seed)[:rows]
        if len(train) < rows:
            raise ValueError(f"{data} has {len(train):,} different training rows; {rows:,} are asked for")
        if frozenset[str]().union(*(row.labels for row in train)) >= labels:
            break
    else:
        raise ValueError(f"{data}: {rows} rows show every label in none of {SHUFFLES} shuffles")
    suffix, write = (".txt", _write_words) if data.startswith("ner_") else (".csv", _write_texts)
    into.mkdir(parents=True, exist_ok=True)
    files = [into / f"{data}-{rows}-{split}{suffix}" for split in ("train", "validation", "test")]
    cut = _cutter(CUT[data]) if data in CUT else None
    for path, some in zip(files, (train, validation, test), strict=True):
        write(path, [row.written for row in some], cut)
    return Cell(data, rows, *files)


def _unique(rows: Sequence[_Row], apart: set[str], *, seed: int) -> list[_Row]:
    """The rows shuffled, no text twice and none of those to be kept apart."""
    shuffled, seen = list(rows), set(apart)
    random.Random(seed).shuffle(shuffled)
    return [row for row in shuffled if not (row.key in seen or seen.add(row.key))]


def _read(folder: Path, split: str) -> list[_Row]:
    """All rows of a split: texts with a label, or sentences of words with tags."""
    found = next(path for name in ("csv", "csv.gz", "txt") if (path := folder / f"{split}.{name}").is_file())
    with (
        gzip.open(found, "rt", encoding="utf-8", newline="")
        if found.suffix == ".gz"
        else found.open(encoding="utf-8", newline="") as stream
    ):
        if ".csv" in found.name:
            pairs = [(row["text"], row["label"]) for row in csv.DictReader(stream)]
            return [_Row(pair, text_key(pair[0]), frozenset(pair[1:])) for pair in pairs]
        return [_sentence(block.splitlines()) for block in stream.read().split("\n\n") if block.strip()]


def _sentence(lines: Sequence[str]) -> _Row:
    fields = [line.split() for line in lines if line.split()]
    types = frozenset(parts[-1].partition("-")[2] for parts in fields) - {""}
    words = tuple(f"{parts[0]} {parts[-1]}" for parts in fields)
    return _Row(words, text_key(" ".join(parts[0] for parts in fields)), types)


def _write_texts(path: Path, rows: Sequence[tuple[str, ...]], cut: Callable[[str], str] | None) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label"))
        writer.writerows((cut(text) if cut else text, label) for text, label in rows)


def _write_words(path: Path, rows: Sequence[tuple[str, ...]], cut: Callable[[str], str] | None) -> None:
    path.write_text("".join("\n".join(words) + "\n\n" for words in rows), encoding="utf-8")


def _cutter(tokens: int) -> Callable[[str], str]:
    """Cuts a text after the last whole word that so many tokens hold, special ones included."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(embedded_encoder() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def cut(text: str) -> str:
        encoded = tokenizer.encode(text)
        if len(encoded.ids) <= tokens:
            return text
        words, offsets = encoded.word_ids, encoded.offsets
        last = tokens - 2  # the final special token takes one place
        while words[last + 1] is not None and words[last + 1] == words[last]:
            last -= 1
        return text[: offsets[last][1]]

    return cut


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """A command line with what all scripts of the study share: which cells, and where trials are kept.

    Args:
        doc: of the script; its first line describes it.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument("--rows", type=int, default=300, help="training rows of a cell")
    parser.add_argument("--kept", type=Path, default=HERE / "replay", help="where trials are kept")
    return parser
