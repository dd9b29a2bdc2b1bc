"""What a trial's model holds before it is trained."""

from pathlib import Path

import pandas as pd
import torch

from rows import opinions
from runs import differing, weights_of
from unfreeze.compare.material import Sources, prepare
from unfreeze.compare.trials import Trial, planned
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import load_encoder
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.settings import TrainingSettings
from unfreeze.tasks import Columns


def test_only_the_floor_from_random_weights_does_not_begin_with_the_pretrained_ones(tiny_encoder_dir: Path) -> None:
    material = prepare(Sources(pd.DataFrame(opinions(60))), load_encoder(str(tiny_encoder_dir)), columns=Columns())
    matrices = {}
    for name in ("full", "last-k", "scratch"):
        trial = Trial(name, HeadSettings(), TrainingSettings(), 0)
        model, outline, _ = planned(material, trial, runtime=Runtime("cpu", 1, "fp32"))
        weights = {n: p for n, p in model.named_parameters() if n in outline.encoder and p.ndim > 1}
        matrices[name] = {n: p for n, p in weights.items() if not n.startswith("bert.pooler.")}  # the folder has none
    pretrained = matrices["full"]
    assert [n for n, p in matrices["last-k"].items() if not torch.equal(p, pretrained[n])] == []
    assert [n for n, p in matrices["scratch"].items() if torch.equal(p, pretrained[n])] == []
    assert len(pretrained) > 10


def test_what_a_plan_draws_anew_is_drawn_and_the_head_is_the_one_of_other_ways(tiny_encoder_dir: Path) -> None:
    material = prepare(Sources(pd.DataFrame(opinions(60))), load_encoder(str(tiny_encoder_dir)), columns=Columns())
    weights = {}
    for name, seed in (("full", 5), ("reinit", 5), ("again", 5), ("another seed", 6)):
        trial = Trial("full" if name == "full" else "reinit", HeadSettings(), TrainingSettings(seed=seed), 0)
        model, outline, plan = planned(material, trial, runtime=Runtime("cpu", 1, "fp32"))
        weights[name] = weights_of(model)
    assert differing(weights["full"], weights["reinit"]) == set(plan.reinitialised)
    assert differing(weights["reinit"], weights["again"]) == set()
    assert differing(weights["reinit"], weights["another seed"]) >= {outline.head[0], outline.layers[-1][0]}
