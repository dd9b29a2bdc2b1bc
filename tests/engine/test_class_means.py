from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid

from runs import RUNTIME, make_features, make_model, weights_of
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.class_means import fit_class_means
from unfreeze.engine.prediction import logits_of
from unfreeze.engine.prefix import PrefixMemory, Start
from unfreeze.errors import EncoderError


def read_by_the_head(model, features):
    """What the last linear layer reads, by plain means."""
    last, seen = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1], []
    hook = last.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        for feature in features:
            model(**{key: torch.tensor([values]) for key, values in feature.inputs.items()})
    hook.remove()
    return [states[0].numpy() for states in seen]


@pytest.mark.parametrize("remembered", [False, True], ids=["whole", "from memory"])
@pytest.mark.parametrize(
    ("family", "kind", "head"),
    [
        ("bert", "sequence", HeadSettings()),
        ("roberta", "sequence", HeadSettings()),
        ("bert", "sequence", HeadSettings("mean", 3)),
        ("distilbert", "token", HeadSettings()),
    ],
    ids=str,
)
def test_predictions_are_those_of_the_nearest_class_mean(family, kind, head, remembered, encoder_of):
    features = make_features(40, kind)
    model, outline = make_model(encoder_of(family), kind, head=head)
    before = weights_of(model)
    start, memory = None, PrefixMemory(features)
    if remembered:
        assert memory.serves(model, outline, depth=3, runtime=RUNTIME)
        start = Start(memory, outline, 3, range(24))
    fit_class_means(model, outline, features=features[:24], runtime=RUNTIME, start=start)
    states = read_by_the_head(model, features)
    logits = logits_of(model, features, runtime=RUNTIME)
    targets = [np.asarray(f.targets) for f in features]
    if kind == "token":
        kept = [t >= 0 for t in targets]
        states, logits, targets = ([x[k] for x, k in zip(xs, kept, strict=True)] for xs in (states, logits, targets))
    else:
        states, logits = [x[None] for x in states], [x[None] for x in logits]
    train, every = np.concatenate(states[:24]), np.concatenate(states)
    expected = NearestCentroid().fit(train, np.concatenate(targets[:24])).predict(every)
    assert np.array_equal(np.concatenate(logits).argmax(1), expected)
    after = weights_of(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == 2
    assert changed <= set(outline.head)


def test_a_class_without_examples_is_never_the_nearest(encoder_of):
    features = [feature for feature in make_features(40) if feature.targets[0] != 1]
    model, outline = make_model(encoder_of("bert"), head=HeadSettings("mean"))
    with torch.no_grad():  # means so far from 0 that a modest bias would be nearer
        model.encoder.encoder.layer[2].output.LayerNorm.weight.mul_(1000)
    fit_class_means(model, outline, features=features, runtime=RUNTIME)
    logits = np.stack(logits_of(model, make_features(30, seed=3), runtime=RUNTIME))
    assert np.isfinite(logits).all()
    assert np.abs(logits[:, [0, 2]]).max() > 1e5
    assert 1 not in logits.argmax(1)


def test_targets_that_are_ignored_are_left_out(encoder_of):
    features = make_features(12)
    ignored = [replace(feature, targets=(-100,)) for feature in make_features(6, seed=8)]
    models = [make_model(encoder_of("bert")) for _ in range(2)]
    for (model, outline), rows in zip(models, (features, [*features, *ignored]), strict=True):
        fit_class_means(model, outline, features=rows, runtime=RUNTIME)
    first, second = (weights_of(model)["classifier.weight"] for model, _ in models)
    assert torch.allclose(first, second, atol=1e-5)


def test_a_model_without_a_linear_head_is_refused(encoder_of):
    model, outline = make_model(encoder_of("bert"))
    model.classifier.bias = None
    with pytest.raises(EncoderError, match="no linear head with a bias"):
        fit_class_means(model, outline, features=make_features(3), runtime=RUNTIME)


def test_nothing_stays_hooked_after_an_error(encoder_of):
    model, outline = make_model(encoder_of("bert"))
    broken = [replace(make_features(1)[0], inputs={"input_ids": [10**6]})]
    with pytest.raises(IndexError):
        fit_class_means(model, outline, features=broken, runtime=RUNTIME)
    assert not model.classifier._forward_pre_hooks
