"""A way of fine-tuning that a user wrote down: a TOML file of stages, what learns in each, at which rate, from what."""

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError, UnknownName
from unfreeze.plan import TASK, Group, Masking, Objective, Plan, Stage
from unfreeze.strategies._base import Search

if TYPE_CHECKING:
    from unfreeze.encoders.loading import Encoder

_SPELLING = re.compile(r"(.+\.toml)(?:@([0-9a-f]{8}))?")
_USUAL: Mapping[str, Any] = {"summary": "", "learning_rate": [3e-5, 1e-3], "num_train_epochs": 10, "min_steps": 200}
_KEYS = (*_USUAL, "stage")
_STAGE_KEYS, _PART_KEYS = ("start", "learns", "rate", "objective"), ("part", "rate")
_WEIGHTS, _UNITS = ("task", "masked", "contrastive"), ("word", "span", "entity")
_OBJECTIVE_KEYS = (*_WEIGHTS, "unit", "share")
_SHARES: Mapping[str, float] = {"word": 0.15, "span": 0.15, "entity": 0.5}
"""Of the units that are hidden in one pass, unless the user says otherwise: as tapt and entity-mask have it."""

_READ: dict[str, "Schedule"] = {}
"""By name, what this process has read: who changes a file for the next comparison does not end the one under way."""

MASKED_HEAD = "masked head"
_PARTS = ("head", "top", "embeddings", "encoder", "everything", MASKED_HEAD)
_LAYERS = re.compile(r"layer (\d+)|layers (\d+) ?[-–] ?(\d+)|layers (top|bottom) (\d+)")
_SPELLED = (*_PARTS, "layer 3", "layers 8-11", "layers top 3", "layers bottom 2")

Part = tuple[str, float]
"""What learns, as the user wrote it, and its share of the learning rate."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Stages that a user wrote.

    Attributes:
        name: the file, and what marks its content: another content is another way.
        search: learning rates, epochs and steps.
        summary: the user's own line about it.
        stages: of each its start, what learns, and what is minimised.
    """

    name: str
    search: Search
    summary: str
    stages: tuple[tuple[float, tuple[Part, ...], Objective], ...]

    def plan(self, outline: Outline) -> Plan:
        """The stages for a model; where something is named twice in a stage, the last rate counts.

        Raises:
            SettingsError: a stage names layers that the encoder does not have, or has nothing to learn.
        """
        made = []
        for number, (start, parts, objective) in enumerate(self.stages, 1):
            where = f"{self.name}: stage {number}"
            rates: dict[str, float] = {}
            for part, rate in parts:
                rates |= dict.fromkeys(_names(part, outline, where), rate)
            if not rates and MASKED_HEAD not in dict(parts):  # that one is put beside the model later
                raise SettingsError(f"{where}: this encoder has nothing of what shall learn, such as no pooler")
            shares = dict.fromkeys(rates.values())
            groups = (Group(tuple(n for n in outline.names if rates.get(n) == share), share) for share in shares)
            made.append(Stage(start, tuple(groups), objective))
        return Plan(tuple(made))


class HidingSchedule(Schedule):
    """Stages of which some hide words and predict them."""

    def install(self, model: Any, *, encoder: "Encoder", seed: int) -> None:
        """Put a masked-language-model head beside the model's own."""
        from unfreeze.encoders.masked_head import attach_masked_head

        attach_masked_head(model, encoder, seed=seed)


def is_schedule(spelling: str) -> bool:
    """Whether a user names a file, not a registered strategy."""
    return _SPELLING.fullmatch(spelling) is not None


def read_schedule(spelling: str) -> Schedule:
    """The schedule in a file; with a mark of its content only that, as this process has read it before or finds it.

    Args:
        spelling: a path, or a path and a mark, as ``Schedule.name`` has it.

    Raises:
        SettingsError: there is no such file, it is no TOML, or says what cannot be: all problems at once.
    """
    if spelling in _READ:  # never a mere path, which is read anew
        return _READ[spelling]
    path, expected = _SPELLING.fullmatch(spelling).groups()  # type: ignore[union-attr]
    try:
        content = Path(path).read_bytes()
        said = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: this file cannot be read ({error.strerror}); is its path right?") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: this is no TOML: {error}") from None
    mark = hashlib.sha256(content).hexdigest()[:8]
    if expected and mark != expected:
        raise SettingsError(f"{path} has changed since this comparison began; give the new stages a file of their own")
    problems = list(_problems(said, path))
    if problems:
        raise SettingsError("\n".join(problems))
    made = _READ[f"{path}@{mark}"] = _made(said, f"{path}@{mark}")
    return made


def _made(said: Mapping[str, Any], name: str) -> Schedule:
    known = {**_USUAL, **said}
    low, high = (float(rate) for rate in known["learning_rate"])
    stages = []
    for stage in said["stage"]:
        parts = ({"part": one} if isinstance(one, str) else one for one in _learns(stage))
        usual = stage.get("rate", 1.0)
        told = tuple((part["part"], float(part.get("rate", usual))) for part in parts)
        stages.append((float(stage.get("start", 0.0)), told, _objective(stage.get("objective", {}))))
    objectives = [objective for *_, objective in stages]
    kinds = {"sequence" for objective in objectives if objective.contrastive}
    kinds |= {"token" for objective in objectives if objective.masking and objective.masking.unit == "entity"}
    search = Search(
        (low, high),
        num_train_epochs=known["num_train_epochs"],
        min_steps=known["min_steps"],
        kind=cast(Literal["sequence", "token"], next(iter(kinds), None)),
    )
    kind = HidingSchedule if any(objective.masking for objective in objectives) else Schedule
    return kind(name, search, known["summary"], tuple(stages))


def _objective(said: Mapping[str, Any]) -> Objective:
    """What is minimised; the task's loss where nothing is said."""
    task, masked, contrastive = (float(said.get(name, 0.0)) for name in _WEIGHTS)
    unit = said.get("unit", "word")
    masking = Masking(unit, float(said.get("share", _SHARES[unit]))) if masked else None
    return Objective(task, masked, masking, contrastive) if said else TASK


def _learns(stage: Mapping[str, Any]) -> list[Any]:
    learns = stage["learns"]
    return learns if isinstance(learns, list) else [learns]


def _problems(said: Mapping[str, Any], path: str) -> Iterator[str]:
    """Everything that is wrong in a file, each with its place and what would be right."""
    yield from _unknown(said, _KEYS, path)
    rates = said.get("learning_rate", _USUAL["learning_rate"])
    fits = isinstance(rates, list) and len(rates) == 2 and all(_is_number(rate) for rate in rates)
    if not (fits and 0 < rates[0] < rates[1] <= 1):
        yield f"{path}: learning_rate is the lowest and the highest to try, such as [3e-5, 3e-4]; got {rates!r}"
    for key in ("num_train_epochs", "min_steps"):
        value = said.get(key, _USUAL[key])
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            yield f"{path}: {key} is a whole number of at least 1; got {value!r}"
    if not isinstance(said.get("summary", ""), str):
        yield f"{path}: summary is a line of text; got {said['summary']!r}"
    stages = said.get("stage")
    if not isinstance(stages, list) or not stages or not all(isinstance(stage, dict) for stage in stages):
        yield f'{path}: a schedule has at least one [[stage]], with what learns in it, such as learns = ["head"]'
        return
    for number, stage in enumerate(stages, 1):
        yield from _problems_of_stage(stage, f"{path}: stage {number}")
    starts = [stage.get("start", 0.0) for stage in stages]
    if all(map(_is_number, starts)) and (starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] >= 1):
        yield f"{path}: the stages' starts are fractions of training that rise from 0 and stay below 1; got {starts}"
    yield from _problems_together(stages, path)


def _problems_together(stages: Sequence[Mapping[str, Any]], path: str) -> Iterator[str]:
    """What is wrong with stages that may each be right."""
    objectives = [stage.get("objective") or {"task": 1} for stage in stages]
    if not all(isinstance(objective, dict) for objective in objectives):
        return  # told already
    learns = [set(_told(stage)) for stage in stages]
    taught = [names for names, objective in zip(learns, objectives, strict=True) if objective.get("task")]
    if not any(names & {"head", "everything"} for names in taught):
        yield f'{path}: the head never learns; it is new, so put "head" into learns where the task\'s loss has a weight'
    hidden = [objective.get("unit", "word") for objective in objectives if objective.get("masked")]
    heads = [
        (MASKED_HEAD in names, objective.get("masked")) for names, objective in zip(learns, objectives, strict=True)
    ]
    if bool(hidden) != any(head for head, _ in heads) or any(head and not hides for head, hides in heads):
        yield f'{path}: "{MASKED_HEAD}" belongs into learns where masked has a weight, and nowhere else'
    if "entity" in hidden and any(objective.get("contrastive") for objective in objectives):
        yield f"{path}: entities are hidden in entity recognition, and texts are compared in classification: not both"


def _problems_of_stage(stage: Mapping[str, Any], where: str) -> Iterator[str]:
    yield from _unknown(stage, _STAGE_KEYS, where)
    if not _is_number(stage.get("start", 0.0)):
        yield f"{where}: start is a fraction of training, such as 0.3; got {stage['start']!r}"
    yield from _rate_of(stage, where)
    yield from _problems_of_objective(stage.get("objective", {}), f"{where}: objective")
    if not stage.get("learns"):
        yield f'{where}: learns lists what is trained in it, such as learns = ["head", "layers top 3"]'
        return
    for one in _learns(stage):
        if isinstance(one, dict):
            yield from _unknown(one, _PART_KEYS, f"{where}: learns")
            yield from _rate_of(one, f"{where}: learns")
        part = one.get("part") if isinstance(one, dict) else one
        if not isinstance(part, str):
            yield f'{where}: learns takes parts such as "head", or {{part = "head", rate = 0.5}}; got {one!r}'
        elif part not in _PARTS and not _LAYERS.fullmatch(part):
            yield str(UnknownName("part", part, _SPELLED, place=f"{where}: learns"))


def _problems_of_objective(said: Any, where: str) -> Iterator[str]:
    if not isinstance(said, dict):
        yield f"{where} has weights, such as {{task = 1, masked = 0.1}} or {{contrastive = 1}}; got {said!r}"
        return
    yield from _unknown(said, _OBJECTIVE_KEYS, where)
    weights = [said[name] for name in _WEIGHTS if name in said]
    if not all(_is_number(weight) and 0 <= weight < float("inf") for weight in weights):
        yield f"{where}: weights are numbers of 0 or more; got {weights}"
    elif said and not any(weights):
        yield f"{where}: one of {', '.join(_WEIGHTS)} has a weight above 0; got {said}"
    if said.get("unit", "word") not in _UNITS:
        yield str(UnknownName("unit", str(said["unit"]), _UNITS, place=where))
    share = said.get("share", 0.15)
    if not _is_number(share) or not 0 < share <= 1:
        yield f"{where}: share is that of the units that are hidden, above 0 and at most 1; got {share!r}"
    if ("unit" in said or "share" in said) and not said.get("masked"):
        yield f"{where}: unit and share say what is hidden, so masked needs a weight above 0"


def _told(stage: Mapping[str, Any]) -> Iterator[str]:
    for one in _learns(stage) if stage.get("learns") else ():
        part = one.get("part") if isinstance(one, dict) else one
        if isinstance(part, str):  # of others it is told already
            yield part


def _rate_of(table: Mapping[str, Any], where: str) -> Iterator[str]:
    rate = table.get("rate", 1.0)
    if not _is_number(rate) or not 0 < rate < float("inf"):
        yield f"{where}: rate is a share of the learning rate above 0, such as 0.5; got {rate!r}"


def _unknown(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> Iterator[str]:
    yield from (str(UnknownName("key", key, known, place=where)) for key in table if key not in known)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not isnan(value)


def _names(part: str, outline: Outline, where: str) -> tuple[str, ...]:
    """The parameters of a part; what feeds several layers goes with the embeddings.

    Raises:
        SettingsError: there are no such layers.
    """
    found: Mapping[str, tuple[str, ...]] = {
        "head": outline.head,
        "top": outline.top,
        "embeddings": (*outline.embeddings, *outline.shared),
        "encoder": outline.encoder,
        "everything": (*outline.encoder, *outline.head),
        MASKED_HEAD: outline.auxiliary,
    }
    if part in found:
        return found[part]
    one, first, last, end, number = _LAYERS.fullmatch(part).groups()  # type: ignore[union-attr]
    depth = outline.depth
    if end is not None:
        count = int(number)
        low, high = (depth - count, depth - 1) if end == "top" else (0, count - 1)
    else:
        low, high = (int(one), int(one)) if one is not None else (int(first), int(last))
    if not 0 <= low <= high < depth:
        raise SettingsError(
            f"{where}: learns: {part!r}: this encoder has {depth} layers, numbered from 0 (nearest the input) to "
            f"{depth - 1}"
        )
    return tuple(name for names in outline.layers[low : high + 1] for name in names)
