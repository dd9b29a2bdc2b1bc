"""What the report shows, drawn from the record: the template only sets it."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from unfreeze.compare.numerals import NOTHING, counted, percent, points, span, whole
from unfreeze.report.formats import calibration_told, loading_lines, rank, setting, shown_settings
from unfreeze.report.racing import race_steps, race_told
from unfreeze.report.tuning import tuning_budget, tuning_table

_LABELS = {"better": "Better", "tie": "Tie", "not settled": "Not settled", "only one arm": "Only one arm"}
_PAIR = {"better": "shown to be worse", "tie": "a tie", "not settled": "not settled"}
_OTHER_FOLDER = "unfreeze-other-encoder"
_COMMAND = "unfreeze compare YOUR_FILE.csv"
_OPTIMIZERS = {
    "adamw": "AdamW with bias correction",
    "adam": "Adam with bias correction (its weight decay is added to the gradient)",
    "sgd": "SGD with momentum 0.9 (its weight decay is added to the gradient)",
}

GLOSSARY = {
    "Arm": "A way of fine-tuning (a strategy) on an encoder, with the range of learning rates that suits it.",
    "Point": "A hundredth of the score: 83.1 points are 0.831.",
    "Better": "The interval of the difference to every other arm lies above 0: chance alone hardly explains the lead.",
    "Tie": "The interval of the difference lies inside the margin on both sides: whatever the difference is, it is too "
    "small to matter. The cheapest of the tied arms is handed over.",
    "Not settled": "Neither of the two. The arms may differ or not; these data and runs do not say. It is not a tie.",
    "Floor": "Something that needs little or no learning, such as always giving the most frequent label. It is never "
    "handed over; an arm that does not clearly beat every floor has learnt little.",
    "Starved": "The arm had too few steps, or its best learning rate lay at the end of what was tried. It may be "
    "better than it looks here, so it cannot lose a verdict.",
    "Collapsed": "A run that gives the same label to every text. It counts in the mean.",
    "Calibrated": "The logits were divided by one number, the temperature, so that probabilities say how often the "
    "model is right; no label changes. The expected calibration error is the mean gap between the two, over 15 bins of "
    "probability.",
    "Diverged": "A run that was stopped because its loss was no finite number.",
    "Out-of-fold": "Every row is scored by a model that has not seen it in training: rows are dealt into folds, and "
    "each fold is left out once.",
    "Strict entity F1": "An entity counts as found only if its type and both of its ends are right. F1 is the harmonic "
    "mean of precision (the share of found entities that are right) and recall (the share of right ones found).",
    "Accuracy": "The share of texts that got the right label.",
    "Macro F1": "The mean of every label's own F1, so that rare labels count as much as frequent ones.",
}


def view(record: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of the report that are more than a figure of the record.

    Args:
        record: the record of a comparison, made fit to be shown.

    Returns:
        What the template reads under ``view``.
    """
    made = record["recommendation"]
    rests = made.get("rests_on")
    runs = rests["seeds"] * rests["folds"] if rests else 0
    pairs = {pair["rival"]: pair for pair in (*made.get("rivals", ()), *made.get("floors", ()))}
    rows = [_row(arm, made, pairs.get(arm["name"])) for arm in sorted(record["arms"], key=rank)]
    return {
        "label": _LABELS.get(made["verdict"], "No verdict"),
        "kind": {"better": "better", "tie": "tie"}.get(made["verdict"], "open"),
        "rests": _rests(rests) if rests else "",
        "few_runs": counted(runs, "run") if 0 < runs <= 2 else "",
        "rows": [row for row in rows if not row["arm"]["floor"]],
        "floors": [row for row in rows if row["arm"]["floor"]],
        "levels": _levels(made),
        "basis": _basis(record),
        "optimizers": _optimizers(record),
        "more": [s for s in made["sentences"] if not any(s[:-1] in short for short in made["in_short"])],
        "race": race_steps(record),
        "race_told": race_told(record),
        "tuned": [tuning_table(row["arm"]) for row in rows if row["arm"]["tuning"]],
        "tuning_budget": tuning_budget(record),
        "sources": [(key, value) for key, value in record["data"]["sources"].items() if value],
        "encoder": [(key, _figure(value)) for key, value in record["encoder"].items()],
        "loading": "\n".join(loading_lines(record["handed_over"]["loads_with"])) if record["handed_over"] else "",
        "next_command": _next_command(record),
        "bigger": _bigger(record),
        "glossary": GLOSSARY,
    }


def _rests(rests: Mapping[str, Any]) -> str:
    folds = counted(rests["folds"], "fold") if rests["folds"] > 1 else "one validation split"
    failed = f", {counted(rests['failed_runs'], 'failed run')}" if rests["failed_runs"] else ""
    return f"{counted(rests['seeds'], 'seed')}, {folds}, {counted(rests['examples'], 'scored example')}{failed}"


def _row(arm: Mapping[str, Any], made: Mapping[str, Any], pair: Mapping[str, Any] | None) -> dict[str, Any]:
    """One line of the table of arms."""
    best = arm["name"] == made["best"]
    behind, behind_span = _behind(pair) if pair else ("best" if best else NOTHING, "")
    return {
        "arm": arm,
        "best": best,
        "chosen": arm["name"] == made["chosen"],
        "behind": behind,
        "behind_span": behind_span,
        "judged": _PAIR.get(pair["verdict"], "") if pair else "",
        "notes": list(_notes(arm, pair)),
        "settings": list(_settings(arm)),
    }


def _behind(pair: Mapping[str, Any]) -> tuple[str, str]:
    """How far an arm lies behind the best, and its interval; both turned where it is a floor that lies ahead."""
    if round(pair["difference"], 3) < 0:
        turned = [-pair["interval"]["high"], -pair["interval"]["low"]]
        return f"{points(-pair['difference'])} ahead", span(turned)
    return points(pair["difference"]), span([pair["interval"]["low"], pair["interval"]["high"]])


def _settings(arm: Mapping[str, Any]) -> Iterator[str]:
    for key, value in shown_settings(arm["settings"]).items():
        yield f"{key} {value}"


def _notes(arm: Mapping[str, Any], pair: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """A word and its reason, for whatever a reader must know before trusting the line."""
    if arm["state"] != "done":
        yield arm["state"], arm["reason"]
    if arm["starved"]:
        yield "starved", arm["starved"]
    runs = counted(arm["runs"], "run")
    if arm["collapsed_runs"]:
        yield "collapsed", f"{arm['collapsed_runs']} of {runs} gave one label to every text"
    if arm["diverged_runs"]:
        yield "diverged", f"{arm['diverged_runs']} of {runs} stopped at a loss that was not finite"
    if arm["short_memory_runs"]:
        yield "short memory", f"in {arm['short_memory_runs']} of {runs} batches were cut in parts; no gradient differs"
    if (arm["settings"] or {}).get("batches") == "padded":
        yield "padded", "padding shines through in this family: batches are padded, the slow way"
    yield from _of_training(arm)
    if pair and pair["note"] and not arm["starved"]:
        yield "not settled", pair["note"]


def _of_training(arm: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A word and its reason, for what a plan did beside training with the task's loss."""
    if (arm["settings"] or {}).get("weight_decay_towards") == "pretrained" and not arm.get("pulled_back"):
        yield "decay", "nothing that learns was pretrained (or nothing decays), so no weight decays towards its start"
    for gate in arm.get("gates") or ():
        yield "gate", _gate(gate, arm["runs"])
    if arm.get("masked"):
        yield "masked", _masked(arm["masked"])
    if arm.get("calibration"):
        yield "calibrated", calibration_told(arm["calibration"], "validation rows")


def _gate(found: Mapping[str, Any], runs: int) -> str:
    """What runs decided at a gate, and why."""
    scores = sorted({points(score) for score in found["scores"]}, key=float)
    at = f", at {' to '.join(scores[:: max(1, len(scores) - 1)])} points" if scores else ""
    did = "opened" if found["opened"] else "stayed frozen, and training ended there"
    number = f"in {found['runs']} of {counted(found.get('of', runs), 'run')}"
    return f"{percent(found['start'])} into training, {found['opens']} {did} {number}{at}: {found['because']}"


def _masked(found: Mapping[str, Any]) -> str:
    """How well hidden tokens were predicted, and what stood in the way."""
    said = (
        f"hidden tokens of validation rows were predicted at a perplexity of {whole(found['perplexity'])} "
        f"({whole(found['perplexity_before'])} before training; {whole(found['unigram_perplexity'])} for "
        f"who guesses by frequency; {counted(found['tokens'], 'token')})"
    )
    said += f"; {counted(found['unlabelled'], 'text')} without labels read, too" if found.get("unlabelled") else ""
    handicap = "; the encoder brings no masked-language-model head, so that is new, which is a handicap"
    return said + (handicap if found["new_head"] else "")


def _figure(value: Any) -> str:
    return whole(value) if isinstance(value, int) and not isinstance(value, bool) else setting(value)


def _levels(made: Mapping[str, Any]) -> str:
    """At which level the differences are judged."""
    parts = []
    for name, what in (("rivals", "arms"), ("floors", "floors")):
        levels = {pair["interval"]["level"] for pair in made.get(name, ())}
        parts += [f"{percent(level)} against {what}" for level in sorted(levels)]
    return " and ".join(parts)


def _basis(record: Mapping[str, Any]) -> str:
    return "; ".join(sorted({arm["interval_basis"] for arm in record["arms"] if arm["interval_basis"]}))


def _optimizers(record: Mapping[str, Any]) -> str:
    """What the arms were trained with."""
    found = {arm["settings"].get("optim") for arm in record["arms"] if arm["settings"]}
    return " or ".join(told for name, told in _OPTIMIZERS.items() if name in found) or _OPTIMIZERS["adamw"]


def _bigger(record: Mapping[str, Any]) -> str:
    """The encoder worth trying next: the same kind, one size up."""
    parameters = record["encoder"].get("parameters") or 0
    small, base = "google-bert/bert-base-uncased", "microsoft/deberta-v3-base"
    return small if parameters < 60e6 else base if parameters < 160e6 else "microsoft/deberta-v3-large"


def _next_command(record: Mapping[str, Any]) -> str:
    """The command of this comparison with the next encoder, and an output folder of its own."""
    try:
        words = shlex.split(record["command"])
    except ValueError:  # a quote without its end: nothing that a shell could have run
        words = []
    if words[:2] != ["unfreeze", "compare"]:
        words = shlex.split(_COMMAND)
    kept, skip = [], False
    for word in words:
        takes = word in ("--model", "--output-dir")
        if not (skip or takes or word.startswith(("--model=", "--output-dir="))):
            kept.append(word)
        skip = takes
    return shlex.join([*kept, "--model", _bigger(record), "--output-dir", _OTHER_FOLDER])
