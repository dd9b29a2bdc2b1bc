"""The model card: the README.md of a model that is handed over, as the Hugging Face hub shows it."""

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unfreeze.compare.numerals import NOTHING, counted, percent, points, span, whole
from unfreeze.report.formats import calibration_told, loading_lines, metric_name, rank, shown_settings, tidy

_PIPELINES = {"classification": "text-classification", "ner": "token-classification"}
_DOES = {
    "text-classification": "It gives one label to a text.",
    "token-classification": "It finds named entities in a text: every word gets a tag, in the scheme IOB2.",
}
_SPECIAL = re.compile(r"([\\`*_\[\]|~#$])")


def render_card(record: Mapping[str, Any]) -> str:
    """The model card of what a comparison hands over.

    It shows figures and the names of labels, but no text, no file name and no row of the user. A licence is not named:
    it is for whoever owns the data and the encoder to say.

    Args:
        record: the record of a finished comparison; of ``handed_over``, ``reload_check`` may still be None.

    Returns:
        Markdown with a YAML head.

    Raises:
        ValueError: the comparison hands nothing over.
    """
    if record["handed_over"] is None:
        raise ValueError("this comparison hands over no model, so there is nothing to write a card about")
    record = tidy(record)
    sections = (_head, _what, _how_to_load, _how_chosen, _scores, _data, _limits, _made_with)
    return "\n\n".join("\n".join(section(record)) for section in sections) + "\n"


def provisional_card(name: str, *, metric: str, score: float, loads_with: str) -> str:
    """The card of the best model so far, while its comparison is under way.

    Args:
        name: of the way it was fine-tuned.
        metric: the name of the score.
        score: on validation rows, a fraction.
        loads_with: the line of code that loads it.

    Returns:
        Markdown.
    """
    code = "\n".join(loading_lines(loads_with))
    return (
        f"# The best model so far\n\nFine-tuned with unfreeze ({_safe(name)}): {points(score)} points of "
        f"{metric_name(metric)} on validation rows. The comparison that it comes from is not finished: no verdict says "
        f"that it is the one to use, and it was trained on one part of the rows only.\n\n```python\n{code}\n```\n"
    )


def _quoted(text: str) -> str:
    """A text as a YAML scalar: a JSON string is one, so nothing in it can end the line or start a key."""
    return json.dumps(str(text), ensure_ascii=False)


def _safe(text: Any) -> str:
    """A text that Markdown and HTML leave as it is."""
    return _SPECIAL.sub(r"\\\1", html.escape(str(text), quote=False))


def _pipeline(record: Mapping[str, Any]) -> str | None:
    return _PIPELINES.get(record["task"])


def _head(record: Mapping[str, Any]) -> Iterator[str]:
    pipeline = _pipeline(record)
    yield "---"
    yield "library_name: transformers"
    if pipeline:
        yield f"pipeline_tag: {pipeline}"
    yield "tags:"
    yield from (f"- {_quoted(tag)}" for tag in ("unfreeze", record["encoder"]["family"], record["handed_over"]["name"]))
    if record["encoder"].get("hub_id"):
        yield f"base_model: {_quoted(record['encoder']['hub_id'])}"
    yield "metrics:"
    yield f"- {_quoted(record['metric'])}"
    yield "---"


def _what(record: Mapping[str, Any]) -> Iterator[str]:
    encoder, given = record["encoder"], record["handed_over"]
    task = "Named entities" if record["task"] == "ner" else f"Text {_safe(record['task'])}"
    yield f"# {task}, {_safe(given['name'])}"
    yield ""
    yield (
        f"{_DOES.get(_pipeline(record) or '', '')} The encoder {_safe(encoder['name'])} "
        f"({_safe(encoder['family'])}, {whole(encoder.get('parameters'))} parameters) was fine-tuned in the way "
        f"*{_safe(given['name'])}*, which was chosen by comparing several ways on the same data."
    ).strip()
    yield ""
    yield "## Labels"
    yield ""
    yield from (f"- {_safe(label)}" for label in record["data"]["labels"])


def _how_to_load(record: Mapping[str, Any]) -> Iterator[str]:
    line = str(record["handed_over"]["loads_with"])
    yield "## How to load it"
    yield ""
    yield from _fenced(line)
    yield ""
    if "import unfreeze" in line:
        yield "Its head is none that transformers has a class for, so `unfreeze` must be installed and imported first."
    else:
        yield "Plain transformers loads it; unfreeze is not needed."
    yield f"Texts longer than {whole(record['data']['window'])} tokens must be cut or read in windows."
    part = record["handed_over"].get("part_loads_with")
    if part:
        yield ""
        yield "What was learned is also stored without the encoder, as a small folder beside these files:"
        yield ""
        yield from _fenced(part)


def _fenced(line: str) -> Iterator[str]:
    """Code, in a fence longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", line)), default=0))
    yield f"{fence}python"
    yield from loading_lines(line)
    yield fence


def _how_chosen(record: Mapping[str, Any]) -> Iterator[str]:
    made = record["recommendation"]
    rests = made.get("rests_on")
    yield "## How it was chosen"
    yield ""
    yield f"Verdict: **{_safe(made['verdict'])}**. {_safe(' '.join(made['sentences']))}"
    if rests and rests["seeds"] * rests["folds"] <= 2:
        yield ""
        runs = counted(rests["seeds"] * rests["folds"], "run")
        yield f"**Caution:** each way was trained in only {runs}; another seed may change the order."
    yield ""
    given = record["handed_over"]
    opened = " The test split was opened once, after the choice, for the score below." if given["test"] else ""
    yield (
        "The choice was made on validation or out-of-fold scores alone. The chosen way was then trained once more on "
        f"all rows that are not test rows ({counted(given['epochs'], 'epoch')}).{opened}"
    )


def _scores(record: Mapping[str, Any]) -> Iterator[str]:
    given, metric = record["handed_over"], metric_name(record["metric"])
    yield "## Scores"
    yield ""
    if given["test"]:
        yield f"Of this model on {counted(record['data']['rows']['test'], 'test row')}, in points:"
        yield ""
        yield f"| metric | score | {percent(0.95)} interval |"
        yield "|---|---:|---:|"
        for place, (name, value) in enumerate(given["test"].items()):
            interval = span(given.get("test_interval")) if place == 0 else NOTHING
            yield f"| {_safe(metric_name(name))} | {points(value)} | {interval} |"
    else:
        yield "There was no test split, so the score of this very model on unseen rows is not known."
    yield ""
    yield f"All ways that were compared, by {_safe(metric)} on validation or out-of-fold rows, in points:"
    yield ""
    yield f"| way | score | {percent(0.95)} interval | trained parameters |"
    yield "|---|---:|---:|---:|"
    for arm in _ranked(record["arms"]):
        kind = " (floor)" if arm["floor"] else ""
        figures = f"{points(arm['score'])} | {span(arm['interval'])} | {whole(arm['trainable_parameters'])}"
        yield f"| {_safe(arm['name'])}{kind} | {figures} |"


def _ranked(arms: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    scored = [arm for arm in arms if arm["state"] == "done" and arm["score"] is not None]
    return sorted(scored, key=rank)


def _data(record: Mapping[str, Any]) -> Iterator[str]:
    data = record["data"]
    rows = data["rows"]
    kinds = [f"{whole(rows[kind])} {kind}" for kind in ("train", "validation", "test") if rows.get(kind)]
    tokens = data["tokens"]
    yield "## Data"
    yield ""
    yield f"{counted(rows['all'], 'row')}: {', '.join(kinds)}. {_safe(data['splits'])}"
    yield (
        f"Tokens in a text: median {whole(tokens['median'])}, 95th percentile {whole(tokens['p95'])}, "
        f"most {whole(tokens['max'])}."
    )
    yield f"Digest of rows and splits: `{re.sub('[^0-9A-Za-z:]', '', str(data['digest']))}`."
    if data["counts"]:
        yield ""
        for count in data["counts"]:
            yield f"- {whole(count['number'])} of {whole(count['of'])} {_safe(count['what'])}"


def _limits(record: Mapping[str, Any]) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield (
        f"- The comparison holds for the encoder {_safe(record['encoder']['name'])} and for texts like those it was "
        "trained on. On other texts scores are usually lower."
    )
    made = record["handed_over"].get("calibration")
    told = f"were calibrated: {calibration_told(made, 'test rows')}" if made else "have not been calibrated"
    yield f"- Its probabilities {told}."
    yield "- It can only give the labels listed above, whatever the text is about."
    yield "- A model can reveal some of the data it was trained on: share it as carefully as the data."
    yield "- No licence is stated here: that of the encoder and of the data decide."


def _made_with(record: Mapping[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{_safe(name)} {_safe(version)}" for name, version in record["versions"].items())
    settings = _settings(record)
    yield "## Made with"
    yield ""
    yield f"unfreeze {_safe(record['unfreeze'])} on {_safe(record['created'])}; {versions}."
    if settings:
        yield f"Settings: {settings}."
    made = record["recommendation"]
    level = percent(made["rivals"][0]["interval"]["level"]) if made.get("rivals") else ""
    if level:
        yield f"Differences between ways were judged by paired intervals at {level} each, a margin of a tie of "
        yield f"{points(made['margin'])} points."


def _settings(record: Mapping[str, Any]) -> str:
    name = record["handed_over"]["name"]
    chosen = next((arm["settings"] for arm in record["arms"] if arm["name"] == name), None) or {}
    return ", ".join(f"{_safe(key)} {_safe(value)}" for key, value in shown_settings(chosen).items())
