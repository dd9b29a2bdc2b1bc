"""One label for each text: sentiment, topics, intents."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from unfreeze.data.audit import Count
from unfreeze.data.columns import LABEL_COLUMNS, TEXT_COLUMNS, columns_named, find_column, groups_of
from unfreeze.data.example import Example
from unfreeze.data.table import Table
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import Encoder
from unfreeze.encoders.tokenizing import whole_words
from unfreeze.errors import DataError, Problem
from unfreeze.tasks._base import IGNORED, Columns, Encoded, Feature, Prediction, Reading, ratio, softmax, task
from unfreeze.tasks._floors import majority_class, tfidf_linear


@task
@dataclass(frozen=True, slots=True)
class Classification:
    """Single-label classification, scored by accuracy; macro-F1 beside it.

    Attributes:
        labels: the classes in alphabetical order, which is the order of the logits.
    """

    name: ClassVar[str] = "classification"
    kind: ClassVar[Literal["sequence", "token"]] = "sequence"
    metric: ClassVar[str] = "accuracy"
    labels: tuple[str, ...] = ()

    @classmethod
    def recognises(cls, table: Table, columns: Columns) -> bool:
        """Whether there is a column of texts and a column of scalar labels."""
        if columns.label is not None:
            return _is_scalar(table, columns.label)
        has_text = columns.text is not None or bool(columns_named(table, TEXT_COLUMNS))
        return has_text and bool(cls.label_candidates(table))

    @classmethod
    def label_candidates(cls, table: Table) -> tuple[str, ...]:
        """Columns of scalars with a usual name."""
        return tuple(name for name in columns_named(table, LABEL_COLUMNS) if _is_scalar(table, name))

    @classmethod
    def read(cls, tables: Sequence[Table], columns: Columns, *, labelled: bool = True) -> Reading:
        """Rows with a text and a label as examples; the others are dropped and counted."""
        examples: list[tuple[Example, ...]] = []
        counts: list[Count] = []
        says = ""
        for table in tables:
            text = str(find_column(table, "text", synonyms=TEXT_COLUMNS, wanted=columns.text))
            if not labelled:
                examples.append(_unlabelled(table, text))
                continue
            label = str(find_column(table, "label", synonyms=LABEL_COLUMNS, wanted=columns.label))
            rows, dropped = _rows(table, text, label=label, groups=groups_of(table, columns.group))
            says = says or f"classification: texts from column {text!r}, labels from column {label!r}"
            examples.append(rows)
            counts += dropped
        if labelled:
            said, doubtful = _labels_found([example for part in examples for example in part])
            says, counts = f"{says}; {said}", [*counts, *doubtful]
        return Reading(tuple(examples), tuple(counts), says)

    @classmethod
    def learned_from(cls, examples: Sequence[Example]) -> Self:
        """The task with the labels of these examples.

        Raises:
            DataError: there are fewer than two labels.
        """
        labels = tuple(sorted({str(example.target) for example in examples}))
        if len(labels) < 2:
            file = examples[0].file if examples else "the training rows"
            found = f"only the label {labels[0]!r}" if labels else "no label"
            raise DataError(
                Problem(file, None, f"found {found}; at least two are needed"), "Add rows of another label."
            )
        return cls(labels)

    def unseen(self, example: Example) -> str | None:
        """The example's label, if training has never shown it."""
        return None if example.target is None or example.target in self.labels else str(example.target)

    def stratum(self, example: Example) -> str:
        """The label."""
        return str(example.target)

    def heads(self, *, reads_layers: bool) -> tuple[HeadSettings, ...]:
        """The family's own head, then the mean of the tokens; for a frozen encoder also of its last four layers.

        A hidden layer or a learned mix on these brought nothing (300 reviews of rt_polarity, all-MiniLM-L6-v2).
        """
        usual = (HeadSettings("standard"), HeadSettings("mean"))
        return (*usual, HeadSettings("mean", layers=4)) if reads_layers else usual

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> Encoded:
        """One feature a text; what lies beyond the encoder's window is cut, and counted.

        A text without a label, or with one that this task does not know, has the target ``IGNORED``.
        """
        texts = [example.text for example in examples]
        whole = encoder.tokenizer(texts, truncation=False, verbose=False)["input_ids"] if texts else []
        long = [i for i, ids in enumerate(whole) if len(ids) > encoder.window]
        cut: Any = encoder.tokenizer(texts, truncation=True, max_length=encoder.window) if texts else {}
        number: dict[Any, int] = {label: i for i, label in enumerate(self.labels)}
        special = frozenset(encoder.tokenizer.all_special_ids)
        features = tuple(
            Feature(
                i,
                {key: values[i] for key, values in cut.items()},
                (number.get(example.target, IGNORED),),
                whole_words=whole_words(cut["input_ids"][i], cut.word_ids(i), special=special),
            )
            for i, example in enumerate(examples)
        )
        counts = []
        if long:
            tokens = sum(len(whole[i]) - encoder.window for i in long)
            what = f"texts were cut at the encoder's window of {encoder.window} tokens ({tokens:,} tokens lost)"
            counts.append(Count(what, len(long), len(examples), tuple(examples[i].line for i in long)))
        return Encoded(features, tuple(counts))

    def decode(
        self, examples: Sequence[Example], features: Sequence[Feature], *, logits: Sequence[np.ndarray]
    ) -> list[Prediction]:
        """The most probable label of each text."""
        if not features:
            return []
        probabilities = softmax(np.stack(logits).astype(np.float64))
        best, most = probabilities.argmax(axis=1).tolist(), probabilities.max(axis=1).tolist()
        found = {f.example: Prediction(self.labels[b], p) for f, b, p in zip(features, best, most, strict=True)}
        return [found[i] for i in range(len(examples))]

    def counts(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> np.ndarray:
        """Correct, one, then for each class: true positives, predicted, gold."""
        number: dict[Any, int] = {label: i for i, label in enumerate(self.labels)}
        out = np.zeros((len(examples), 2 + 3 * len(self.labels)))
        for row, example, prediction in zip(out, examples, predictions, strict=True):
            gold, guess = number.get(example.target), number[prediction.value]
            row[0], row[1] = gold == guess, 1
            row[2 + 3 * guess] = gold == guess
            row[3 + 3 * guess] = 1
            if gold is not None:
                row[4 + 3 * gold] = 1
        return out

    def score(self, sums: np.ndarray) -> np.ndarray:
        """Accuracy."""
        return ratio(sums[..., 0], sums[..., 1])

    def details(self, sums: np.ndarray) -> dict[str, float]:
        """Accuracy, and macro-F1 over the classes that occur in gold or prediction (as scikit-learn's default)."""
        hits, guessed, gold = sums[2::3], sums[3::3], sums[4::3]
        seen = (guessed + gold) > 0
        f1 = ratio(2 * hits, guessed + gold)
        return {"accuracy": float(self.score(sums)), "macro_f1": float(f1[seen].mean()) if seen.any() else 0.0}

    def floors(
        self, train: Sequence[Example], examples: Sequence[Example], *, seed: int
    ) -> dict[str, list[Prediction]]:
        """The most frequent label, and TF-IDF with a linear model."""
        texts, labels = [e.text for e in train], [str(e.target) for e in train]
        share = Counter(labels).most_common(1)[0][1] / len(labels)
        often = [Prediction(label, share) for label in majority_class(labels, len(examples))]
        linear = tfidf_linear(texts, labels, texts=[e.text for e in examples], seed=seed)
        return {"majority class": often, "TF-IDF + linear": [Prediction(label, 1.0) for label in linear]}

    def shown(self, example: Example, prediction: Prediction) -> dict[str, Any]:
        """Columns ``prediction`` and ``probability``."""
        return {"prediction": prediction.value, "probability": round(prediction.probability, 6)}


def _is_scalar(table: Table, column: str) -> bool:
    return not any(isinstance(value, (list, tuple, dict)) for value in table.columns[column])


LIKE_MISSING = frozenset({"nan", "na", "n/a", "null", "none", "nil", "?", "-"})
"""Labels that are more often a value that is missing."""


def _labels_found(rows: Sequence[Example]) -> tuple[str, list[Count]]:
    """Which labels there are, and what looks like a mistake in them: nothing is changed, but it is said."""
    number = Counter(str(example.target) for example in rows)
    listed = ", ".join(f"{label} {n:,}" for label, n in number.most_common(10)) + (" …" if len(number) > 10 else "")
    spelled = Counter(label.casefold() for label in number)
    of_text: dict[str, set[object]] = {}
    for example in rows:
        of_text.setdefault(example.text, set()).add(example.target)
    found = (
        ("rows have a label that looks like a missing value", lambda e: str(e.target).casefold() in LIKE_MISSING),
        ("rows have a label that another spells in other case", lambda e: spelled[str(e.target).casefold()] > 1),
        ("rows have a text that also stands there with another label", lambda e: len(of_text[e.text]) > 1),
    )
    counts = []
    for what, holds in found:
        lines = tuple(example.line for example in rows if holds(example))
        counts += [Count(what, len(lines), len(rows), lines)] if lines else []
    return f"{len(number):,} labels: {listed}", counts


def _unlabelled(table: Table, text: str) -> tuple[Example, ...]:
    """All rows of a table; those without a text have an empty one."""
    rows = list(enumerate(zip(table.lines, table.columns[text], strict=True)))
    lists = [line for _, (line, said) in rows if isinstance(said, (list, tuple, dict))]
    if lists:
        raise DataError([Problem(table.name, line, f"column {text!r} holds a list; expected a text") for line in lists])
    return tuple(
        Example("" if said is None else str(said), None, file=table.name, line=line, row=row)
        for row, (line, said) in rows
    )


def _rows(
    table: Table, text: str, *, label: str, groups: Sequence[str | None]
) -> tuple[tuple[Example, ...], list[Count]]:
    """Usable rows of a table, and counts of those without a text or without a label."""
    examples, no_text, no_label, problems = [], [], [], []
    rows = zip(table.lines, table.columns[text], table.columns[label], groups, strict=True)
    for row, (line, said, target, together) in enumerate(rows):
        if isinstance(target, (list, tuple, dict)) or isinstance(said, (list, tuple, dict)):
            problems.append(Problem(table.name, line, f"columns {text!r} and {label!r} hold a text and one label each"))
        elif said is None or not str(said).strip():
            no_text.append(line)
        elif target is None or not str(target).strip():
            no_label.append(line)
        else:
            examples.append(Example(str(said), _label(target), file=table.name, line=line, row=row, group=together))
    if problems:
        raise DataError(problems, "For other kinds of data, name the task with --task.")
    lost = (("had no text and were dropped", no_text), ("had no label and were dropped", no_label))
    return tuple(examples), [Count(f"rows {w}", len(r), table.rows, tuple(r), table.name) for w, r in lost if r]


def _label(value: object) -> str:
    """Labels are text; 1.0 from a frame with gaps means 1."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
