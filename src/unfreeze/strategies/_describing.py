"""What a strategy's own file says of it, taken apart, and its plan as rows: for cards, tables and reports."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from unfreeze.encoders.outline import Outline
from unfreeze.plan import TASK, Gate, Objective, Plan, Stage
from unfreeze.strategies._base import STRATEGIES, Strategy

_PARTS = {"Source:": "source", "Use it": "use", "Do not use it": "avoid", "Range:": "range"}
"""How a part of a strategy's module docstring begins, at the beginning of a line, and what it is called here."""

_BEGINS = re.compile(rf"^({'|'.join(map(re.escape, _PARTS))})", re.MULTILINE)
_SETTING = re.compile(r"^ {8}(\w+): ((?:.+\n?)(?: {12,}.+\n?)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a strategy.

    Attributes:
        name: as users write it.
        default: its usual value.
        meaning: in words.
    """

    name: str
    default: Any
    meaning: str


@dataclass(frozen=True, slots=True)
class Description:
    """What a strategy's own file says of it.

    Attributes:
        summary: in one line.
        what: what it does, in a sentence or a few.
        source: where it comes from, what was found there, where this differs.
        use: when to use it, a whole sentence or more.
        avoid: when not to, likewise.
        range: why these learning rates; empty where nothing learns by gradient.
        settings: with their usual values.
    """

    summary: str
    what: str
    source: str
    use: str
    avoid: str
    range: str
    settings: tuple[Setting, ...]


def description_of(name: str) -> Description:
    """What the file of a registered strategy says of it; parts that it does not have are empty."""
    cls = STRATEGIES[name]
    doc = (sys.modules[cls.__module__].__doc__ or "").strip()
    own = cls.__doc__ or ""
    return Description(
        summary=doc.partition("\n")[0],
        what=" ".join(own.partition("Attributes:")[0].split()),
        **{part: "" for part in _PARTS.values()} | dict(_parts(doc)),
        settings=tuple(_settings(cls, own)),
    )


def _parts(doc: str) -> Iterator[tuple[str, str]]:
    """The parts of a module's docstring, each up to the next one or to an empty line."""
    begins = list(_BEGINS.finditer(doc))
    for begin, following in zip(begins, [*begins[1:], None], strict=True):
        text = doc[begin.start() : following.start() if following else len(doc)].partition("\n\n")[0]
        if begin.group(1).endswith(":"):
            text = text.removeprefix(begin.group(1))
        yield _PARTS[begin.group(1)], " ".join(text.split())


def _settings(cls: type[Strategy], doc: str) -> Iterator[Setting]:
    meanings = {name: " ".join(meaning.split()) for name, meaning in _SETTING.findall(doc.partition("Attributes:")[2])}
    for setting in fields(cls):  # type: ignore[arg-type]
        yield Setting(setting.name, setting.default, meanings.get(setting.name, ""))


def stage_rows(plan: Plan, outline: Outline) -> list[dict[str, Any]]:
    """A plan for an outline, a row a stage.

    Returns:
        For each stage: where it starts (``start``, a fraction of training), what ``learns`` in words, how many
        ``trainable_parameters`` and what ``share`` of all, the ``objective`` if that is not the task's loss alone,
        ``rates``: what learns at which share of the learning rate (``lr_scale``), the highest first; and a ``note``:
        what else there is to say of it, empty for most.
    """
    return [
        {
            "start": stage.start,
            "learns": outline.told(stage.trainable) or "nothing",
            "trainable_parameters": outline.size(stage.trainable),
            "share": outline.size(stage.trainable) / outline.size(outline.names),
            "objective": _objective(stage.objective),
            "rates": list(_rates(stage, outline)),
            "note": "; ".join(_notes(plan, stage, outline)),
        }
        for stage in plan.stages
    ]


def _notes(plan: Plan, stage: Stage, outline: Outline) -> Iterator[str]:
    """What else there is to say of a stage."""
    if stage.objective != TASK:
        yield f"minimises {_objective(stage.objective)}"
    if stage.gate is not None:
        yield f"only if {_rule(stage.gate)}"
    if plan.reinitialised and stage is plan.stages[0]:
        yield f"drawn anew before: {outline.told(frozenset(plan.reinitialised))}"


def _rule(gate: Gate) -> str:
    """What a gate asks for, in words; scores in points."""
    good = f"{100 * gate.good:g} % of the way from the most frequent class to 100 points"
    return f"good so far ({good}), below {100 * gate.target:g} points, and {gate.examples} training examples or more"


def _objective(objective: Objective) -> str:
    """What is minimised, as "the task's loss + 0.1 × the loss of masked entities"; empty for the first alone."""
    if objective == TASK:
        return ""
    hidden = objective.masking and {"entity": "entities", "word": "words", "span": "spans"}[objective.masking.unit]
    parts = [(objective.task, "the task's loss"), (objective.masked, f"the loss of masked {hidden}")]
    parts += [(objective.contrastive, "the contrastive loss")]
    return " + ".join(f"{weight:g} × {name}" if weight != 1 else name for weight, name in parts if weight)


def _rates(stage: Stage, outline: Outline) -> Iterator[dict[str, Any]]:
    scales = stage.lr_scales
    for scale in sorted(set(scales.values()), reverse=True):
        names = frozenset(name for name in scales if scales[name] == scale)
        yield {"learns": outline.told(names), "lr_scale": scale, "trainable_parameters": outline.size(names)}
