"""All cases, by id; P5 and P9 stand here."""

from pathlib import Path

from cases_comparing import (
    comparison_figures,
    comparison_sides,
    frozen_figures,
    frozen_sides,
    growth_figures,
    growth_sides,
)
from cases_training import (
    P1,
    P1B,
    P2,
    P4,
    gpu_figures,
    gpu_sides,
    memory_figures,
    memory_sides,
    precision_figures,
    precision_sides,
)
from figures import Figure
from inputs import SENTENCES
from measuring import Side
from sides import Case, Setting, Sides


def predict_sides(setting: Setting) -> list[Side]:
    """P5. A model is fine-tuned first, so that the labels are those of a real one."""
    rows = 96 if setting.size == "small" else 1066
    model, test = (setting.work or Path()) / f"model-{setting.size}", setting.rows(SENTENCES, "test", rows)
    train = setting.rows(SENTENCES, "train", 64 if setting.size == "small" else 960)
    both = ("--model", model, "--file", test)
    made = [setting.ours("model", "save", "--train", train, "--test", test, "--rate", 2e-4, "--model", model)]
    return [
        *(made if not model.exists() else []),
        setting.ours("ours", "predict", *both),
        setting.rival("pipeline, batch 32", "pipeline", *both),
        setting.rival("sorted by length, fp32", "sorted", *both),
    ]


def predict_tidied(sides: Sides) -> Sides:
    """The share of labels equal to those of float32 instead of the labels."""
    exact = sides["sorted by length, fp32"]["labels"]
    for side in sides.values():
        labels = side.pop("labels", None)
        if labels is not None:
            side["same_labels"] = sum(a == b for a, b in zip(labels, exact, strict=True)) / len(exact)
    return sides


def predict_figures(sides: Sides) -> list[Figure]:
    """Seconds of predicting, the model loaded; and how many labels are those of float32."""
    ours, targets = sides["ours"], {"pipeline, batch 32": (6.0, 10.0), "sorted by length, fp32": (3.0, None)}
    found = [
        Figure(name, ours["cpu_s"], sides[name]["cpu_s"], "CPU s", at_least, dream)
        for name, (at_least, dream) in targets.items()
    ]
    found.append(Figure("labels as in fp32", 100 * ours["same_labels"], None, "%", at_least=99.5))
    return [*found, Figure("the whole command on the file", ours["file_cpu_s"], None, "CPU s")]


def start_sides(setting: Setting) -> list[Side]:
    """P9."""
    return [setting.ours("ours", "start", "--times", 2 if setting.size == "small" else 10)]


def start_figures(sides: Sides) -> list[Figure]:
    """Median of several."""
    times, fastest = sides["ours"]["times"], sides["ours"]["fastest_s"]
    detail = f"median of {times}; the fastest took {fastest:.2f} s"
    return [Figure("unfreeze --help", sides["ours"]["wall_s"], None, "wall s", at_most=0.3, detail=detail)]


ON_GPU = frozenset({"peers", "data", "gpu"})
CASES: dict[str, Case] = {
    "P1": Case("full fine-tune of MiniLM, sentences", P1.sides, P1.figures),
    "P1b": Case("full fine-tune of MiniLM, long-tailed lengths", P1B.sides, P1B.figures),
    "P2": Case("full fine-tune of BERT-base's shape", P2.sides, P2.figures),
    "P3": Case("frozen encoder, 9 settings × 10 epochs", frozen_sides, frozen_figures),
    "P4": Case("top two layers, 3 epochs, the prefix cached", P4.sides, P4.figures),
    "P5": Case("predict", predict_sides, predict_figures, tidied=predict_tidied),
    "P6": Case("a whole comparison: arms × rates × seeds, evaluation", comparison_sides, comparison_figures, pairs=1),
    "P7": Case("full fine-tune of BERT-base's shape on a GPU", gpu_sides, gpu_figures, ON_GPU),
    "P8": Case("largest memory at the same batch", memory_sides, memory_figures),
    "P9": Case("start of the command", start_sides, start_figures, frozenset(), 1),
    "bf16": Case("what bfloat16 costs in score", precision_sides, precision_figures, frozenset({"data"})),
    "growth": Case("how our seconds grow", growth_sides, growth_figures, frozenset({"data"}), 1),
}
