"""Texts without labels, beside the user's rows: what ways that go on with pretraining learn from, too.

None of them may be a row that is used otherwise: a text of the validation or test rows would make its score too good,
and one of the training rows is learned from anyway.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from unfreeze.compare.numerals import counted, listed
from unfreeze.data.audit import Count
from unfreeze.data.example import Example
from unfreeze.data.reading import read_texts
from unfreeze.data.splitting import text_key
from unfreeze.data.table import Table
from unfreeze.encoders.loading import Encoder
from unfreeze.encoders.outline import Outline
from unfreeze.errors import DataError, Problem, SettingsError
from unfreeze.plan import Plan
from unfreeze.strategies import STRATEGIES
from unfreeze.tasks import Columns, Feature, Task

OPTION = "--unlabeled"


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """Texts without labels as features.

    Attributes:
        name: of the file, empty where there is none.
        features: of the texts that are used.
        counts: what was left out, or cut.
        says: one sentence on how many there are.
    """

    name: str = ""
    features: tuple[Feature, ...] = ()
    counts: tuple[Count, ...] = ()
    says: tuple[str, ...] = ()


def read_unlabelled(
    source: Any, task: Task, *, encoder: Encoder, columns: Columns, examples: Sequence[Example]
) -> Unlabelled:
    """Read a file of texts, leave out what is among the labelled rows, and encode the others.

    Args:
        source: a path or a pandas frame; None for no texts.
        task: how texts become features.
        encoder: what is fine-tuned.
        columns: those that the user named; the text's is looked for under its usual names where the file lacks it.
        examples: all labelled rows.

    Raises:
        DataError: the file is not what it should be, or no text is left.
    """
    if source is None:
        return Unlabelled()
    table = read_texts(source)
    found = _texts(table, task, columns)
    known = {text_key(example.text) for example in examples}
    keyed: dict[str, Example] = {}
    empty, among, twice = [], [], []
    for example in found:
        key = text_key(example.text)
        if not key:
            empty.append(example.line)
        elif key in known:
            among.append(example.line)
        elif key in keyed:
            twice.append(example.line)
        else:
            keyed[key] = example
    if not keyed:
        problem = Problem(table.name, None, "no text is left that is not among the labelled rows")
        raise DataError(problem, f"{OPTION} takes texts beside those with labels.")
    encoded = task.encode(tuple(keyed.values()), encoder)
    left_out = {
        "rows without a text were left out": empty,
        "texts without labels were left out: they are among the labelled rows": among,
        "texts without labels were left out: they are there twice": twice,
    }
    counts = [
        Count(what, len(lines), len(found), tuple(lines), table.name) for what, lines in left_out.items() if lines
    ]
    counts += [replace(count, file=table.name) for count in encoded.counts]
    says = f"{counted(len(keyed), 'text')} without labels from {table.name}, for ways that hide words"
    return Unlabelled(table.name, encoded.features, tuple(counts), (says,))


def _texts(table: Table, task: Task, columns: Columns) -> tuple[Example, ...]:
    """The texts of a table; where it has no column of the name that the user gave, of one with a usual name."""
    named = {name.strip().casefold() for name in table.columns}
    text = columns.text if columns.text is not None and columns.text.strip().casefold() in named else None
    try:
        return type(task).read([table], Columns(text=text), labelled=False).examples[0]
    except DataError as error:
        cure = f"{OPTION} takes a file of texts: a column such as 'text', or a .txt with a text a line."
        raise DataError(error.problems, f"{error.cure} {cure}".strip()) from None


def refuse_idle(plans: Mapping[str, Plan], outline: Outline) -> None:
    """Refuse texts without labels where no way would read them.

    Args:
        plans: of the ways that are compared, by name.
        outline: of a model on the encoder, to find the ways that would.

    Raises:
        SettingsError: none of the plans hides words.
    """
    if any(plan.masking and plan.masking.reads_unlabelled for plan in plans.values()):
        return
    others = []
    for name, cls in sorted(STRATEGIES.items()):
        with suppress(SettingsError):  # of what the encoder does not have
            masking = cls().plan(outline).masking
            others += [name] if masking and masking.reads_unlabelled else []
    raise SettingsError(
        f"{OPTION}: {listed(list(plans))} cannot read texts without labels. Name a way that can "
        f"({', '.join(others)}), or leave {OPTION} away"
    )


def share_of_step(unlabelled: Sequence[Feature], train: Sequence[Feature]) -> float:
    """Tokens that texts without labels add to a step that hides words, as a share of the training rows' own."""
    if not unlabelled:
        return 0.0
    tokens, own = (sum(f.length for f in some) / max(1, len(some)) for some in (unlabelled, train))
    return tokens / max(1.0, own)
