"""How many parameters learn is what each source's description comes to, counted by hand from BERT's shapes."""

import pytest

from runs import LABELS, make_model
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.strategies import STRATEGIES, install

LAYERS = 3


def shapes(config):
    hidden, inner = config.hidden_size, config.intermediate_size
    tables = config.vocab_size + config.max_position_embeddings + config.type_vocab_size
    norm = 2 * hidden
    attention = 4 * (hidden * hidden + hidden) + norm
    feed_forward = (hidden * inner + inner) + (inner * hidden + hidden) + norm
    return {
        "hidden": hidden,
        "biases": LAYERS * (7 * hidden + inner) + 2 * hidden,
        "embeddings": tables * hidden + norm,
        "layer": attention + feed_forward,
        "norm": norm,
        "pooler": hidden * hidden + hidden,
        "head": hidden * len(LABELS) + len(LABELS),
        "masked": (hidden * hidden + hidden) + norm + config.vocab_size,
    }


def everything(s):
    return s["embeddings"] + LAYERS * s["layer"] + s["pooler"] + s["head"]


FORMULAS = {
    "full": lambda s: [everything(s)],
    "scratch": lambda s: [everything(s)],
    "layer-decay": lambda s: [everything(s)],
    "reinit": lambda s: [everything(s)],
    "staged": lambda s: [s["head"], *(s["pooler"] + s["head"] + k * s["layer"] for k in (1, 2))],
    "untouched": lambda s: [0],
    "head-only": lambda s: [s["head"]],
    "top": lambda s: [s["norm"] + s["pooler"] + s["head"]],
    "last-k": lambda s: [2 * s["layer"] + s["pooler"] + s["head"]],
    "lp-ft": lambda s: [s["head"], everything(s)],
    "contrastive": lambda s: [everything(s) - s["head"], s["head"]],
    "gradual": lambda s: [s["pooler"] + s["head"] + k * s["layer"] for k in range(LAYERS + 1)] + [everything(s)],
    "bitfit": lambda s: [s["biases"] + s["head"]],
    "lora": lambda s: [LAYERS * 2 * 8 * 2 * s["hidden"] + s["head"]],
    "adapters": lambda s: [LAYERS * 2 * (2 * 64 * s["hidden"] + 64 + s["hidden"]) + LAYERS * 2 * s["norm"] + s["head"]],
    "entity-mask": lambda s: [s["masked"], everything(s) - s["pooler"] + s["masked"]],  # token models have no pooler
    "tapt": lambda s: [s["masked"], everything(s) - s["pooler"] - s["head"] + s["masked"], everything(s)],
}
"""For each strategy with its usual settings the number of parameters that learn, stage by stage."""


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_as_many_parameters_learn_as_the_formula_says(name, encoder_of):
    if name not in FORMULAS:
        pytest.fail(f"{name!r} has no formula: add to FORMULAS how many parameters learn in each of its stages")
    encoder = encoder_of("bert")
    strategy = STRATEGIES[name]()
    model, _ = make_model(encoder, strategy.search.kind or "sequence")
    install(strategy, model, encoder=encoder, seed=0)
    outline = read_outline(model)
    counted = [outline.size(stage.trainable) for stage in strategy.plan(outline).stages]
    assert counted == FORMULAS[name](shapes(encoder.config))
