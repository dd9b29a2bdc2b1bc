"""The demo: the exam question this project grew from, answered on our own corpus, offline.

Question: which of five ways makes the most of a pretrained encoder for named entity recognition? (1) from scratch,
(2) frozen features, (3) fine-tune everything, (4) mask the entities, (5) unfreeze from the top.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfreeze.compare.options import Options, seconds_of
from unfreeze.files import read_json, write_json
from unfreeze.front import Comparison, compare, plan_comparison

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
        share: of the demo's time.
        unseen: sentences for the model, written after the corpus was closed.
    """

    name: str
    title: str
    task: str
    label_column: str
    numbers: Mapping[str, int]
    unseen: tuple[str, ...]
    share: float


DEMOS = (
    Demo(
        "entities",
        "Which way of fine-tuning finds people, places and organisations best?\n"
        "The ways by number: 1 scratch · 2 head-only · 3 full · 4 entity-mask · 5 gradual",
        "ner",
        "entities",
        {"scratch": 1, "head-only": 2, "full": 3, "entity-mask": 4, "gradual": 5, "untouched": 0},
        (
            "Ask Priya Raman at the Harrogate branch, she moved my booking within a minute.",
            "two weeks and still nothing from velmora parcels, last seen in rotterdam",
            "Thank you, Kestrel Dental, and above all Dr Osei!",
        ),
        0.75,
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
        0.25,
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

    As many learning rates and seeds as this machine's speed allows within the budget, two at the most; the verdict is
    labelled for what it rests on.

    Args:
        demo: which.
        output_dir: its folder is made below this one.
        budget: wall time of the whole demo, such as "12m".
        threads: threads of one operation.
        watcher: told what happens.

    Returns:
        The comparison, and the predictions for the unseen sentences by sentence.

    Raises:
        MissingExtra: the embedded encoder is not installed.
    """
    with resources.as_file(resources.files("unfreeze.data") / "demo" / "messages.jsonl") as corpus:
        size = _affordable(demo, corpus, Path(output_dir), budget=budget, threads=threads)
        if watcher is not None and not size["tuning"]:
            out = [name for name in demo.numbers if name not in size["strategies"]]
            named = f"; left out: {', '.join(out)}" if out else ""
            watcher.said(f"this machine is slow: one setting each, no search, so that it ends in time{named}")
        comparison = compare(
            corpus,
            task=demo.task,
            label_column=demo.label_column,
            strategies=size["strategies"],
            budget=None,
            seeds=size["seeds"],
            tuning=size["tuning"],
            race=False,  # the question is how all of them do
            threads=threads,
            output_dir=Path(output_dir) / demo.name,
            command="unfreeze demo",
            numbers={name: number for name, number in demo.numbers.items() if number},
            watcher=watcher,
        )
    return comparison, dict(zip(demo.unseen, comparison.best.predict(demo.unseen), strict=True))


SIZES = ((2, 2), (1, 2), (1, 1), (0, 1))
"""(learning rates tried, seeds), the richest first. Schedules are never shortened: a starved way shows nothing."""


def _affordable(demo: Demo, corpus: Path, output_dir: Path, *, budget: str, threads: int | None) -> dict[str, Any]:
    """The richest size of the demo that this machine's measured speed allows; remembered beside the results.

    Where even the smallest does not fit with all ways, the dearest ways are left out, but two always run.
    """
    remembered = output_dir / f"{demo.name}.json"
    if remembered.is_file():
        return dict(read_json(remembered))
    options = Options(
        task=demo.task,
        label_column=demo.label_column,
        strategies=tuple(demo.numbers),
        seeds=1,
        tuning=1,
        threads=threads,
    )
    from unfreeze.compare.material import Sources  # brings torch

    plan = plan_comparison(Sources(corpus), options)
    whole, prices = seconds_of(budget), {arm["name"]: arm["trial_seconds"] for arm in plan["arms"]}
    limit = None if whole is None else demo.share * whole
    chosen: dict[str, Any] = {"tuning": 0, "seeds": 1, "strategies": list(demo.numbers)}
    for tuning, seeds in SIZES:
        if limit is None or _price(plan, prices, tuning, seeds) <= limit:
            chosen |= {"tuning": tuning, "seeds": seeds}
            break
    else:
        while len(prices) > LEAST and limit is not None and _price(plan, prices, 0, 1) > limit:
            dearest = max((name for name in prices if name not in KEPT), key=lambda name: prices[name], default=None)
            if dearest is None:
                break
            del prices[dearest]
        chosen["strategies"] = [name for name in demo.numbers if name in prices]
    write_json(remembered, chosen)
    return chosen


KEPT, LEAST = ("full", "head-only", "untouched"), 3


def _price(plan: Mapping[str, Any], prices: Mapping[str, float], tuning: int, seeds: int) -> float:
    """Seconds of the demo at a size: searches, further seeds, and the dearest way once more on all rows."""
    which = "trial_seconds" if tuning else "first_seconds"
    costs = {arm["name"]: arm[which] for arm in plan["arms"] if arm["name"] in prices}
    total: float = plan["prefix_seconds"] + 1.25 * max(costs.values())
    for arm in plan["arms"]:
        if arm["name"] in costs:
            trials = arm["tuning_trials"] + tuning - 1 if tuning else 1
            total += costs[arm["name"]] * (trials + seeds - 1)
    return total
