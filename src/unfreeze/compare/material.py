"""What a comparison works on: the user's rows as examples, features and splits, the same for every arm."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unfreeze.compare.unlabelled import read_unlabelled
from unfreeze.data.audit import Count, check_share
from unfreeze.data.example import Example
from unfreeze.data.reading import read_table
from unfreeze.data.splitting import Fold, Splits, make_splits, text_key
from unfreeze.data.table import Table
from unfreeze.encoders.loading import Encoder
from unfreeze.encoders.outline import Outline
from unfreeze.engine.prefix import PrefixMemory
from unfreeze.engine.prefix_store import PrefixStore
from unfreeze.errors import DataError, Problem, SettingsError
from unfreeze.plan import Plan
from unfreeze.tasks import Columns, Feature, Reading, Task, recognise_task

LIMIT_BYTES = 2 * 1024**3
"""What hidden states may take in memory, and each table of what heads read, unless the user wants less."""

FEWEST_ALIKE = 5
"""Rows of a stratum that can be dealt to a test split and to folds evenly."""

SPLIT_COLUMNS = ("split", "subset", "fold_name", "partition")
Source = Any
"""A path, or a pandas frame."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the rows come from: one file that is to be split, or a file a split.

    Attributes:
        file: all rows; may have a column ``split``.
        train: training rows.
        validation: validation rows.
        test: test rows.
        unlabelled: texts without labels, beside the rows.
    """

    file: Source | None = None
    train: Source | None = None
    validation: Source | None = None
    test: Source | None = None
    unlabelled: Source | None = None

    @property
    def stem(self) -> str:
        """A short name for the output folder."""
        source = self.file if self.file is not None else self.train
        return Path(source).name.split(".")[0] if isinstance(source, (str, Path)) else "frame"

    def named(self) -> list[tuple[str | None, Source]]:
        """Each source with the split that it is, None for one that is to be split.

        Raises:
            SettingsError: neither a file nor training rows, or both.
        """
        if (self.file is None) == (self.train is None):
            raise SettingsError("give either one FILE, or --train FILE with --validation FILE and --test FILE")
        if self.file is not None and (self.validation is not None or self.test is not None):
            raise SettingsError("with --validation or --test, name the training rows with --train")
        splits = {None: self.file, "train": self.train, "validation": self.validation, "test": self.test}
        return [(split, source) for split, source in splits.items() if source is not None]


@dataclass(frozen=True)
class Material:
    """Everything that all arms share.

    Attributes:
        task: with its labels.
        encoder: what is fine-tuned.
        examples: all rows, in the order of the files.
        splits: indices into ``examples``.
        features: all examples as features; ``places`` says which belong to an example.
        counts: what was dropped, cut or windowed.
        says: sentences on what was recognised.
        sources: the files as the user wrote them.
        cache: where hidden states are kept for other trials, processes and commands; None for nowhere.
        limit_bytes: what hidden states may take in memory, and each table of what heads read.
        unlabelled: texts without labels as features, for ways that hide words.
    """

    task: Task
    encoder: Encoder
    examples: tuple[Example, ...]
    splits: Splits
    features: tuple[Feature, ...]
    counts: tuple[Count, ...]
    says: tuple[str, ...]
    sources: dict[str, str]
    cache: PrefixStore | None = None
    limit_bytes: int = LIMIT_BYTES
    unlabelled: tuple[Feature, ...] = ()

    @cached_property
    def memory(self) -> PrefixMemory:
        """Hidden states of frozen prefixes, shared by all trials of this process."""
        return PrefixMemory(self.features, limit_bytes=self.limit_bytes, store=self.cache)

    def expect(self, plans: Iterable[Plan], outline: Outline, *, layers: int) -> None:
        """Say what will be trained, so that one pass computes the hidden states that it all starts from, and no others.

        Args:
            plans: what will be carried out.
            outline: the parts of the models.
            layers: how many of the last layers the heads read, at the most.
        """
        pretrained = [plan for plan in plans if plan.encoder_weights == "pretrained"]
        starts = {outline.frozen_depth(plan.touched_by(stage)) for plan in pretrained for stage in plan.stages}
        self.memory.expected = frozenset({*starts, *range(outline.depth - layers + 1, outline.depth)})

    @cached_property
    def _places(self) -> dict[int, list[int]]:
        places: dict[int, list[int]] = {}
        for place, feature in enumerate(self.features):
            places.setdefault(feature.example, []).append(place)
        return places

    def places(self, examples: Sequence[int]) -> list[int]:
        """Where the features of some examples stand in ``features``, in the order of the examples."""
        return [place for example in examples for place in self._places[example]]

    def fold(self, number: int | None) -> Fold:
        """A fold, or after all folds an inner fold; None for all that is not test, with nothing to validate on."""
        return (
            (*self.splits.folds, *self.splits.inner)[number] if number is not None else Fold(self.splits.not_test, ())
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 over rows, splits and encoder: what must be the same for two runs to be the same comparison."""
        rows = [[e.text, e.target, e.words] for e in self.examples]
        folds = [[fold.train, fold.validation] for fold in self.splits.folds]
        content = [self.task.name, self.task.labels, rows, folds, self.splits.test, self.encoder.digest]
        content += [[fold.train, fold.validation] for fold in self.splits.inner]
        if self.unlabelled:
            content.append([list(feature.inputs["input_ids"]) for feature in self.unlabelled])
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def counts_of(self, examples: Sequence[int], logits: list[np.ndarray]) -> np.ndarray:
        """What scores are summed from, (examples, counts), from logits of their features in the order of ``places``."""
        return self.task.counts([self.examples[i] for i in examples], self.predictions(examples, logits))

    def predictions(self, examples: Sequence[int], logits: list[np.ndarray]) -> list[Any]:
        """Predictions in the order of ``examples``, from the logits of their features in the order of ``places``."""
        chosen = [self.examples[i] for i in examples]
        renumbered = {example: i for i, example in enumerate(examples)}
        features = [
            Feature(renumbered[f.example], f.inputs, f.targets, f.words)
            for f in (self.features[place] for place in self.places(examples))
        ]
        return self.task.decode(chosen, features, logits=logits)

    def summary(self) -> dict[str, Any]:
        """Facts about the data for the report; no text of the user's."""
        lengths = np.array([feature.length for feature in self.features])
        fold, test = self.splits.folds[0], self.splits.test
        several = len(self.splits.folds) > 1
        rows = {"train": len(fold.train), "validation": len(fold.validation), "test": len(test)}
        strata = Counter(self.task.stratum(example) for example in self.examples)
        return {
            "sources": self.sources,
            "rows": {"all": len(self.examples), **rows},
            "unlabelled": len(self.unlabelled),
            "folds": len(self.splits.folds) if several else 1,
            "splits": self.splits.origin,
            "labels": list(self.task.labels),
            "strata": dict(strata.most_common(30)),
            "tokens": {name: int(np.quantile(lengths, q)) for name, q in (("median", 0.5), ("p95", 0.95), ("max", 1))},
            "window": self.encoder.window,
            "counts": [{"what": c.told, "number": c.number, "of": c.of, "rows": list(c.rows)} for c in self.counts],
            "says": list(self.says),
            "digest": self.digest,
        }


def limit_within(memory: int) -> int:
    """What hidden states may take in memory, and each table of what heads read, where the user limits the whole.

    Args:
        memory: bytes of the whole.
    """
    return min(LIMIT_BYTES, memory // 8)


def prepare(
    sources: Sources,
    encoder: Encoder,
    *,
    columns: Columns,
    task: str | None = None,
    max_dropped: float = 0.1,
    cache: PrefixStore | None = None,
    nested: bool = False,
) -> Material:
    """Read, recognise, split and encode the user's rows.

    Args:
        sources: where the rows are.
        encoder: what is to be fine-tuned.
        columns: those that the user named.
        task: the task's name, None to recognise it.
        max_dropped: largest share of a file's rows that may be dropped.
        cache: where hidden states are kept for other trials, processes and commands; None for nowhere.
        nested: whether settings are chosen on inner folds.

    Raises:
        DataError: a file is not what it should be; all problems of a file at once.
        SettingsError: options that do not fit together, or several tasks fit.
    """
    named = sources.named()
    tables = [read_table(source) for _, source in named]
    cls = recognise_task(tables[0], columns, wanted=task)
    reading = cls.read(tables, columns)
    check_share([count for count in reading.counts if "dropped" in count.what], max_dropped, file=tables[0].name)
    examples = tuple(example for rows in reading.examples for example in rows)
    splits = _splits(cls, [split for split, _ in named], tables, reading, nested=nested)
    shown = sorted({i for fold in splits.folds for i in fold.train})
    learned = cls.learned_from([examples[i] for i in shown])
    _refuse_unseen(learned, examples, shown)
    encoded = learned.encode(examples, encoder)
    left = Count(
        "rows were left out of training or validation: their text is also in validation or test",
        len(splits.left_out),
        len(examples),
    )
    beside = read_unlabelled(sources.unlabelled, learned, encoder=encoder, columns=columns, examples=examples)
    counts = (*reading.counts, *([left] if splits.left_out else []), *encoded.counts, *beside.counts)
    files = {split or "file": table.name for (split, _), table in zip(named, tables, strict=True)}
    files |= {"unlabeled": beside.name} if beside.name else {}
    told: dict[str, Any] = {"counts": counts, "says": (reading.says, splits.origin, *beside.says), "sources": files}
    return Material(
        learned, encoder, examples, splits, encoded.features, **told, cache=cache, unlabelled=beside.features
    )


def _splits(
    task: type[Task], names: list[str | None], tables: list[Table], reading: Reading, *, nested: bool
) -> Splits:
    """The splits that the files or a column give, or that are made."""
    given: list[str | None] = []
    for split, table, rows in zip(names, tables, reading.examples, strict=True):
        column = next((name for name in table.columns if name.strip().lower() in SPLIT_COLUMNS), None)
        if split is None and column is not None:
            values = table.columns[column]
            given += [None if values[e.row] is None else str(values[e.row]) for e in rows]
        else:
            given += [split] * len(rows)
    examples = [example for rows in reading.examples for example in rows]
    if not examples:
        raise DataError(Problem(tables[0].name, None, "no usable row is left"), "Check the text and label columns.")
    return make_splits(
        keys=[text_key(example.text) for example in examples],
        strata=_strata(task, examples),
        groups=[example.group for example in examples],
        given=given if any(split is not None for split in given) else None,
        file=tables[0].name,
        nested=nested,
    )


def _strata(task: type[Task], examples: Sequence[Example]) -> list[str]:
    """What splits are balanced by.

    Of a whole text's label every split must have some. What a sentence's tags make together is only for balance, so
    there the rare mixtures count as one: else a small file would be refused for one sentence that names all types.
    """
    strata = [task().stratum(example) for example in examples]
    if task.kind == "sequence":
        return strata
    alike = {(stratum, e.group or text_key(e.text)) for stratum, e in zip(strata, examples, strict=True)}
    number = Counter(stratum for stratum, _ in alike)
    most = number.most_common(1)[0][0]
    rare = {stratum for stratum, n in number.items() if n < FEWEST_ALIKE and stratum != most}
    pooled = "rare" if sum(number[stratum] for stratum in rare) >= FEWEST_ALIKE else most
    return [pooled if stratum in rare else stratum for stratum in strata]


def _refuse_unseen(task: Task, examples: Sequence[Example], shown: Sequence[int]) -> None:
    """A label that training never shows cannot be learned."""
    training = set(shown)
    problems = [
        Problem(e.file, e.line, f"the label {unseen!r} occurs in no training row")
        for i, e in enumerate(examples)
        if i not in training and (unseen := task.unseen(e)) is not None
    ]
    if problems:
        known = ", ".join(task.labels[:20])
        raise DataError(problems, f"Training rows have: {known}. Move rows of that label into training, or drop them.")
