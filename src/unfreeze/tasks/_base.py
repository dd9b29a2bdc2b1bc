"""What a task is, and the register of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar

import numpy as np

from unfreeze.data.audit import Count
from unfreeze.data.columns import find_column
from unfreeze.data.example import Example
from unfreeze.data.table import Table
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import Encoder
from unfreeze.errors import SettingsError, UnknownName

IGNORED = -100
"""Target of a token that is not to be predicted; torch's cross entropy leaves it out."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns a user named; None where they are to be found by their usual names."""

    text: str | None = None
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Feature:
    """What the model reads at once: one text, or one window of a longer one.

    Attributes:
        example: index of the example it belongs to.
        inputs: the tokenizer's outputs by name, each of one number a token.
        targets: class numbers: one for the whole text, or one a token with ``IGNORED`` where nothing is to be said.
        words: for token tasks, the word that each token speaks for, -1 for none; over all windows
            each word has one such token, or none at all.
        spans: first token, and token after the last, of each stretch that the labels name, such as an entity; those
            that lie wholly in what this feature speaks for.
        whole_words: likewise of each word, in the order of the text: the data's words, or else those that the tokenizer
            sees; special tokens are none.
    """

    example: int
    inputs: Mapping[str, Sequence[int]]
    targets: tuple[int, ...]
    words: tuple[int, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    whole_words: tuple[tuple[int, int], ...] = ()

    @property
    def length(self) -> int:
        """Number of tokens, special ones included."""
        return len(self.inputs["input_ids"])


@dataclass(frozen=True, slots=True)
class Encoded:
    """Examples as features, with what was lost on the way."""

    features: tuple[Feature, ...]
    counts: tuple[Count, ...] = ()


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one example.

    Attributes:
        value: a label, or one IOB2 tag a word.
        probability: the model's own; for tags the mean over words.
    """

    value: str | tuple[str, ...]
    probability: float


@dataclass(frozen=True, slots=True)
class Reading:
    """A task's view of the user's tables.

    Attributes:
        examples: for each table, its usable rows.
        counts: what was dropped or changed, for the report.
        says: one sentence on what was recognised, such as the columns and the tag scheme.
    """

    examples: tuple[tuple[Example, ...], ...]
    counts: tuple[Count, ...] = ()
    says: str = ""


class Task(Protocol):
    """What is to be learned: reading, encoding, decoding, metrics. An instance knows its labels.

    Attributes:
        name: as users write it.
        kind: whether the head says one thing of a "sequence" or one of each "token".
        metric: the primary metric, higher is better; a fraction of 1.
        labels: the classes, in the order of the logits.
    """

    name: ClassVar[str]
    kind: ClassVar[Literal["sequence", "token"]]
    metric: ClassVar[str]
    labels: tuple[str, ...]

    @classmethod
    def recognises(cls, table: Table, columns: Columns) -> bool:
        """Whether a table looks like this task's data; the columns named are as the file has them."""
        ...

    @classmethod
    def label_candidates(cls, table: Table) -> tuple[str, ...]:
        """Columns that could hold this task's labels, by their names and values."""
        ...

    @classmethod
    def read(cls, tables: Sequence[Table], columns: Columns, *, labelled: bool = True) -> Reading:
        """The tables' rows as examples; their targets are None where they need not be ``labelled``.

        Unlabelled reading drops no row, so that predictions stay in the order of the file.

        Raises:
            DataError: rows or columns are not what the task needs; all problems at once.
        """
        ...

    @classmethod
    def learned_from(cls, examples: Sequence[Example]) -> Self:
        """The task with the labels that occur in these (training) examples, in a fixed order."""
        ...

    def unseen(self, example: Example) -> str | None:
        """A label of the example that this task does not know, if there is one."""
        ...

    def stratum(self, example: Example) -> str:
        """What splits are to be balanced by."""
        ...

    def heads(self, *, reads_layers: bool) -> tuple[HeadSettings, ...]:
        """Heads worth trying on validation, the family's standard one first."""
        ...

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> Encoded:
        """Examples as features within the encoder's window."""
        ...

    def decode(
        self, examples: Sequence[Example], features: Sequence[Feature], *, logits: Sequence[np.ndarray]
    ) -> list[Prediction]:
        """Predictions in the order of the examples.

        Args:
            examples: those that the features' ``example`` indexes.
            features: of these examples, in any order.
            logits: for each feature (labels,) or (tokens, labels), float32.
        """
        ...

    def counts(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> np.ndarray:
        """What scores are summed from, (examples, counts), float64; the first column is worth the most."""
        ...

    def score(self, sums: np.ndarray) -> np.ndarray:
        """The primary metric from counts summed over examples, (..., counts) to (...)."""
        ...

    def details(self, sums: np.ndarray) -> dict[str, float]:
        """All metrics by name, the primary one included, from counts summed over examples, (counts,)."""
        ...

    def floors(
        self, train: Sequence[Example], examples: Sequence[Example], *, seed: int
    ) -> dict[str, list[Prediction]]:
        """Predictions of rivals that need no encoder, by name."""
        ...

    def shown(self, example: Example, prediction: Prediction) -> dict[str, Any]:
        """A prediction as columns for the user's output file."""
        ...


T = TypeVar("T", bound=type)
TASKS: dict[str, type[Task]] = {}


def task(cls: T) -> T:
    """Register a task under its name."""
    name: str = cls.name  # type: ignore[attr-defined]
    if name in TASKS:
        raise ValueError(f"two tasks are named {name!r}: {TASKS[name].__module__} and {cls.__module__}")
    TASKS[name] = cls
    return cls


def task_named(name: str) -> type[Task]:
    """The task class registered as ``name``.

    Raises:
        UnknownName: there is none.
    """
    if name not in TASKS:
        raise UnknownName("task", name, TASKS)
    return TASKS[name]


def recognise_task(table: Table, columns: Columns, *, wanted: str | None) -> type[Task]:
    """The task that a table is made for.

    Raises:
        SettingsError: several tasks fit, or none.
        UnknownName: the task asked for does not exist.
        DataError: a column that the user named does not exist.
    """
    if wanted is not None:
        return task_named(wanted)
    text = columns.text and find_column(table, "text", synonyms=(), wanted=columns.text)
    label = columns.label and find_column(table, "label", synonyms=(), wanted=columns.label)
    columns = replace(columns, text=text, label=label)
    fitting = [cls for cls in TASKS.values() if cls.recognises(table, columns)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise SettingsError(
            f"{table.name}: columns {', '.join(table.columns)} fit no task. Name them with --text-column and "
            f"--label-column, or the task with --task; tasks are {', '.join(sorted(TASKS))}. "
            "A label is one value a row: lists of labels are not read yet"
        )
    choices = [_choice(cls, table, columns) for cls in fitting]
    raise SettingsError(f"{table.name}: this file fits several tasks. Say which one: {'; or '.join(choices)}")


def _choice(cls: type[Task], table: Table, columns: Columns) -> str:
    """How a user says that this task is meant, with the label's column where several could be it."""
    candidates = () if columns.label else cls.label_candidates(table)
    if len(candidates) < 2:
        return f"--task {cls.name}"
    return f"--task {cls.name} with {' or '.join(f'--label-column {name}' for name in candidates)}"


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, computed without overflow."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """``above / below``, 0 where nothing is below."""
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)
