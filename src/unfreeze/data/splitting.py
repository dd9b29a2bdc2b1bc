"""Which rows train, which choose, which are looked at once.

Rule: with no split given, 20 % of the rows are the test split; of the others, fewer than 3,000 become five stratified
folds, more become one validation split. A given split is kept. Rows with the same text, and rows of one group, never
lie on both sides.

Where settings shall not be chosen on rows that report, each fold has an inner fold of its training rows.
"""

import random
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from unfreeze.data.dealing import Rows, deal
from unfreeze.errors import DataError, Problem, UnknownName

FOLDS = 5
FEW_ROWS = 3_000
MANY_ROWS = 10_000
LEAST_ROWS = 10
LEAST_PER_CLASS = 5
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "development": "validation", "eval": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fold:
    """Row numbers to learn from and to choose by, each rising."""

    train: tuple[int, ...]
    validation: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Splits:
    """Where every row belongs: in the folds, in the test split, or left out.

    Attributes:
        folds: one, or five whose validation parts together are all rows that are not test.
        test: row numbers of the test split, rising; empty where the user gave train and validation only.
        origin: where the splits come from, one sentence for the report.
        left_out: rows used nowhere, because an equal text or a row of their group lies in validation or test.
        inner: for each fold one of its training rows alone, to choose settings on; empty where none was asked for.
    """

    folds: tuple[Fold, ...]
    test: tuple[int, ...]
    origin: str
    left_out: tuple[int, ...]
    inner: tuple[Fold, ...] = ()

    @property
    def not_test(self) -> tuple[int, ...]:
        """All rows the model that is handed over may learn from."""
        return tuple(sorted({row for fold in self.folds for row in (*fold.train, *fold.validation)}))


def text_key(text: str) -> str:
    """The text as it counts for equality: without differences in case, spacing and Unicode spelling.

    Args:
        text: any text.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def make_splits(
    *,
    keys: Sequence[str],
    strata: Sequence[str],
    groups: Sequence[str | None],
    given: Sequence[str | None] | None,
    seed: int = 0,
    file: str = "<data>",
    nested: bool = False,
) -> Splits:
    """Splits as the user gave them, or made as this module's rule says.

    A pure function of its arguments; a made split does not depend on the order of the rows, only on what they hold.

    Args:
        keys: the text of each row as ``text_key`` gives it; equal keys stay on one side.
        strata: what each split should hold in equal shares, such as the label.
        groups: rows of one group stay on one side; None for a row that stands alone.
        given: the split each row names ("dev", "val" and the like count as validation), or None.
        seed: another seed makes other splits; given splits know no seed.
        file: the file's name, for the error.
        nested: whether to make inner folds, too.

    Returns:
        The splits, with every row in exactly one of not-test, test and left-out.

    Raises:
        DataError: too few rows, a class with too few, no training rows, or rows that name no split.
        UnknownName: a split of an unknown name (a close match is offered).
    """
    rows = Rows(keys, strata, groups)
    if len(keys) < LEAST_ROWS:
        what = f"{_rows(len(keys))}; at least {LEAST_ROWS} are needed to train and to compare"
        raise DataError(Problem(file, None, what), "Label more texts.")
    named = _named(given, file)
    names = ("train", "validation", "test")
    parts = {name: [row for row, split in enumerate(named) if split == name] for name in names}
    made = not parts["validation"] and not parts["test"]
    splits = _made(rows, seed, file) if made else _kept(rows, parts, seed=seed, file=file)
    return replace(splits, inner=_inner(rows, splits.folds, seed=seed, file=file)) if nested else splits


def _named(given: Sequence[str | None] | None, file: str) -> list[str]:
    written = [(name or "").strip().casefold() for name in given or ()]
    if not any(written):
        return []
    for name in dict.fromkeys(written):
        if name and name not in SPLIT_NAMES:
            place = f"{file}: {written.count(name):,} of {len(written):,} rows"
            raise UnknownName("split", name, SPLIT_NAMES, place=place)
    if not all(written):
        what = f"rows without a split: {written.count(''):,} of {len(written):,}; the others name one"
        raise DataError(Problem(file, None, what), "Give each row train, validation or test, or give none.")
    named = [SPLIT_NAMES[name] for name in written]
    if "train" not in named:
        counts = ", ".join(f"{n:,} {name}" for name, n in sorted(Counter(named).items()))
        raise DataError(Problem(file, None, f"no row is in the train split ({counts})"), "Add rows to learn from.")
    return named


def _made(rows: Rows, seed: int, file: str) -> Splits:
    everything = range(len(rows.keys))
    _check_classes(rows, everything, file)
    test, *others = deal(rows, everything, parts=FOLDS, chance=random.Random(f"{seed} test"))
    rest = sorted(row for part in others for row in part)
    _check_sides(rows, rest, test, file=file, side="test")
    folds, how = _folds(rows, rest, seed=seed, file=file)
    origin = f"Made here (seed {seed}): 20\u00a0% test ({_rows(len(test))}); {how}{_kept_together(rows)}."
    return Splits(folds, tuple(test), origin, ())


def _kept(rows: Rows, parts: dict[str, list[int]], *, seed: int, file: str) -> Splits:
    test = parts["test"]
    validation = _apart(rows, parts["validation"], test)
    train = _apart(rows, parts["train"], [*validation, *test])
    left_out = tuple(sorted({*parts["train"], *parts["validation"]} - {*train, *validation}))
    for name, kept in (("train", train), ("validation", validation)):
        if parts[name] and not kept:
            what = f"every {name} row ({len(parts[name]):,}) is also in another split (equal texts or groups)"
            raise DataError(Problem(file, None, what), "Bring splits that share no texts and no groups.")
    lost = f"; {_rows(len(left_out))} left out, being also in validation or test" if left_out else ""
    if validation:
        shown = f"{len(train):,} train, {len(validation):,} validation, {_rows(len(test), 'test')}"
        return Splits((Fold(tuple(train), tuple(validation)),), tuple(test), f"As given: {shown}{lost}.", left_out)
    _check_classes(rows, train, file, left_out)
    folds, how = _folds(rows, train, seed=seed, file=file)
    return Splits(folds, tuple(test), f"Test as given ({_rows(len(test))}); {how} (seed {seed}){lost}.", left_out)


def _folds(rows: Rows, rest: Sequence[int], *, seed: int, file: str) -> tuple[tuple[Fold, ...], str]:
    few = len(rest) < FEW_ROWS
    # a tenth is enough from 10,000 rows on: the standard error of a score on 1,000 rows is at most 1.6 points
    n_parts = FOLDS if len(rest) < MANY_ROWS else 2 * FOLDS
    parts = deal(rows, rest, parts=n_parts, chance=random.Random(f"{seed} folds"))
    folds = []
    for part in parts if few else parts[:1]:
        inside = set(part)
        train = [row for row in sorted(rest) if row not in inside]
        _check_sides(rows, train, part, file=file, side="validation")
        folds.append(Fold(tuple(train), tuple(part)))
    if few:
        return tuple(folds), f"{FOLDS} stratified folds on {_rows(len(rest))} (fewer than {FEW_ROWS:,})"
    size = f"{round(100 / len(parts))}\u00a0% of {_rows(len(rest))} ({len(parts[0]):,})"
    return tuple(folds), f"one stratified validation split, {size}; folds are for fewer than {FEW_ROWS:,}"


def _inner(rows: Rows, folds: Sequence[Fold], *, seed: int, file: str) -> tuple[Fold, ...]:
    """Of each fold's training rows: those that the next fold validates on, and the rest; of a lone fold's, a fifth.

    Where classes or groups are too few for every fifth, the first one is taken that leaves some of each in training.

    Raises:
        DataError: no part can be taken away, because too many rows must stay together.
    """
    if len(folds) > 1:
        following = [folds[(k + 1) % len(folds)].validation for k in range(len(folds))]
        inner = [_without(fold, part) for fold, part in zip(folds, following, strict=True)]
    else:
        parts = deal(rows, folds[0].train, parts=FOLDS, chance=random.Random(f"{seed} inner"))
        found = [_without(folds[0], part) for part in parts]
        whole = (fold for fold in found if fold.validation and not _lacking(rows, fold.train, fold.validation))
        inner = [next(whole, found[0])]
    for fold in inner:
        _check_sides(rows, fold.train, fold.validation, file=file, side="validation of an inner fold (--nested)")
    return tuple(inner)


def _without(fold: Fold, part: Sequence[int]) -> Fold:
    """A fold of another's training rows: a part of them validates, the others train."""
    inside = set(part)
    return Fold(tuple(row for row in fold.train if row not in inside), tuple(sorted(inside & set(fold.train))))


def _apart(rows: Rows, wanted: Iterable[int], others: Sequence[int]) -> list[int]:
    """The wanted rows that share no text and no group with the others."""
    keys = {rows.keys[row] for row in others}
    groups = {rows.groups[row] for row in others} - {None}
    return [row for row in wanted if rows.keys[row] not in keys and rows.groups[row] not in groups]


def _rows(number: int, kind: str = "") -> str:
    """A number of rows: "1 row", "1,200 train rows"."""
    return f"{number:,} {kind}{' ' if kind else ''}row{'' if number == 1 else 's'}"


def _check_classes(rows: Rows, wanted: Sequence[int], file: str, left_out: Sequence[int] = ()) -> None:
    """Refuse classes too small to be split, and say why they are: equal texts and groups, rows that were left out."""
    clusters = rows.clusters(wanted)
    counts = Counter(rows.strata[row] for row in wanted)
    lost = Counter(rows.strata[row] for row in left_out)
    apart = Counter(stratum for cluster in clusters for stratum in {rows.strata[row] for row in cluster})
    problems = []
    for name in sorted(counts):
        if apart[name] < LEAST_PER_CLASS:
            what = f"class {name!r} has {_rows(counts[name])}"
            if lost[name]:
                what += f" left ({_rows(lost[name])} left out: the text or group is also in validation or test)"
            if apart[name] < counts[name]:
                what += f", but without equal texts and groups only {apart[name]}"
            problems.append(Problem(file, None, f"{what}; {LEAST_PER_CLASS} are needed"))
    if problems:
        cure = "Label more texts of it, merge it with another class, drop it, or bring your own splits."
        raise DataError(problems, f"A class with fewer cannot be split into training and validation. {cure}")


def _check_sides(rows: Rows, train: Sequence[int], held_out: Sequence[int], *, file: str, side: str) -> None:
    missing = _lacking(rows, train, held_out)
    if missing or not held_out:
        what = f"class {missing[0]!r} would lie in {side} only" if missing else f"no row is left for {side}"
        raise DataError(
            Problem(file, None, f"{what}: the rows that must stay together are too many"),
            "Use smaller groups, or bring your own splits.",
        )


def _lacking(rows: Rows, train: Sequence[int], held_out: Sequence[int]) -> list[str]:
    """Classes of rows that are held out which training does not show."""
    return sorted({rows.strata[row] for row in held_out} - {rows.strata[row] for row in train})


def _kept_together(rows: Rows) -> str:
    grouped = any(group is not None for group in rows.groups)
    return "; equal texts and rows of one group lie on one side" if grouped else "; equal texts lie on one side"
