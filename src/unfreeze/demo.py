"""The demo: the exam question this project grew from, answered on our own corpus, offline.

Question: which of five ways makes the most of a pretrained encoder for named entity recognition? (1) from scratch, (2) frozen
features, (3) fine-tune everything, (4) mask the entities, (5) unfreeze from the top. The fourth is yet to come.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfreeze.front import Comparison, compare

if TYPE_CHECKING:
    from unfreeze.compare.watching import Watcher


@dataclass(frozen=True, slots=True)
class Demo:
    """One comparison of the demo.

    Attributes:
        name: of its folder.
        title: what it asks.
        task: of the corpus.
        label_column: of the corpus.
        numbers: the ways, in the order of the question, with their numbers there (0 where it has none).
        unseen: sentences for the model, written after the corpus was closed.
    """

    name: str
    title: str
    task: str
    label_column: str
    numbers: Mapping[str, int]
    unseen: tuple[str, ...]


DEMOS = (
    Demo(
        "entities",
        "Which way of fine-tuning finds people, places and organisations best?\n"
        "The ways of the exam question: 1 scratch · 2 head-only · 3 full · 5 gradual (4, masking entities, is yet to come)",
        "ner",
        "entities",
        {"scratch": 1, "head-only": 2, "full": 3, "gradual": 5, "untouched": 0},
        (
            "Ask Priya Raman at the Harrogate branch, she moved my booking within a minute.",
            "two weeks and still nothing from velmora parcels, last seen in rotterdam",
            "Thank you, Kestrel Dental, and above all Dr Osei!",
        ),
    ),
    Demo(
        "sentiment",
        "Which way of fine-tuning tells content from annoyed customers best?",
        "classification",
        "sentiment",
        {"head-only": 0, "last-k": 0, "full": 0, "untouched": 0},
        (
            "The driver waited while I looked for my keys. Lovely man.",
            "Third call, third promise, still no refund.",
            "Does the Saturday course also run in August?",
        ),
    ),
)


def run_demo(
    demo: Demo,
    *,
    output_dir: str | Path,
    budget: str,
    threads: int | None = None,
    watcher: "Watcher | None" = None,
) -> tuple[Comparison, dict[str, Any]]:
    """Run one comparison of the demo on the embedded corpus and encoder.

    One learning rate is tried for each way and one seed run, so that it ends within minutes on two cores; the verdict is
    labelled for what it rests on.

    Args:
        demo: which.
        output_dir: its folder is made below this one.
        budget: wall time, such as "4m".
        threads: threads of one operation.
        watcher: told what happens.

    Returns:
        The comparison, and the predictions for the unseen sentences by sentence.

    Raises:
        MissingExtra: the embedded encoder is not installed.
    """
    corpus = resources.files("unfreeze.data") / "demo" / "messages.jsonl"
    with resources.as_file(corpus) as path:
        comparison = compare(
            path,
            task=demo.task,
            label_column=demo.label_column,
            strategies=tuple(demo.numbers),
            budget=budget,
            seeds=1,
            tuning=1,
            threads=threads,
            output_dir=Path(output_dir) / demo.name,
            command="unfreeze demo",
            numbers={name: number for name, number in demo.numbers.items() if number},
            watcher=watcher,
        )
    return comparison, dict(zip(demo.unseen, comparison.best.predict(demo.unseen), strict=True))
