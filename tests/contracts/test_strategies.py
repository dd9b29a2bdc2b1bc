"""What holds for every strategy: a new one is covered without an edit."""

import copy
import itertools
import re
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from runs import LABELS, RUNTIME, SETTINGS, differing, make_data, make_features, make_model, weights_of
from tiny import FAMILIES
from unfreeze.encoders.masked_head import detach_masked_head
from unfreeze.encoders.outline import AUXILIARY
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.encoders.reinitialising import reinitialise
from unfreeze.engine.batches import collate
from unfreeze.engine.checkpoints import Checkpoints
from unfreeze.engine.class_means import fit_class_means
from unfreeze.engine.prefix import PrefixMemory
from unfreeze.engine.settings import CHOICES, TrainingSettings
from unfreeze.engine.stages import enter_stage
from unfreeze.engine.training import Run, State, Watch
from unfreeze.errors import Interrupted, SettingsError
from unfreeze.plan import Gate
from unfreeze.strategies import STRATEGIES, adds_modules, install, merged, spelling_of, strategy_named

FEATURES = {kind: make_features(32, kind, longest=12) for kind in ("sequence", "token")}
EVERY = sorted(STRATEGIES)
LEARNING = sorted(name for name, cls in STRATEGIES.items() if cls.search.learning_rate is not None)


def kind_of(spelling):
    """The kind of task that a strategy is tried on."""
    return strategy_named(spelling).search.kind or "sequence"


def opened(plan):
    """The plan with gates that are asked, and open whatever the scores: so that all of its stages are seen."""
    gates = [stage.gate and Gate(good=-99.0, target=99.0, examples=0) for stage in plan.stages]
    return replace(plan, stages=tuple(replace(s, gate=gate) for s, gate in zip(plan.stages, gates, strict=True)))


def prepared(encoder, spelling):
    """A model as a trial of the strategy begins with it, its outline, and the plan."""
    strategy = strategy_named(spelling)
    model, _ = make_model(encoder, kind_of(spelling))
    added = install(strategy, model, encoder=encoder, seed=0)
    outline = replace(read_outline(model), added=added)
    plan = opened(strategy.plan(outline))
    if plan.encoder_weights == "random":
        model, outline = make_model(encoder, weights="random")
    reinitialise(model, plan.reinitialised, seed=0)
    return model, outline, plan


class Training:
    """One run of a strategy with its model, plan and optimizer at hand."""

    def __init__(self, encoder, spelling, *, folder=None, settings=SETTINGS, memory=True):
        self.model, self.outline, self.plan = prepared(encoder, spelling)
        features = FEATURES[kind_of(spelling)]
        data = make_data(features, PrefixMemory(features) if memory else None)
        checkpoints = Checkpoints(folder, {"strategy": spelling}) if folder else None
        self.run = Run(
            self.model, self.outline, plan=self.plan, settings=settings, data=data, runtime=RUNTIME,
            checkpoints=checkpoints,
        )  # fmt: skip
        self.steps = settings.steps_per_epoch(len(data.train))
        self.total = self.steps * settings.num_train_epochs
        self.optimizer = self.run._optimizer

    def finish(self, watch=None):
        self.state = self.run.run(watch)
        return self

    def stop_before(self, step):
        """Run as far as ``step`` steps, then be interrupted."""
        asked = iter(range(10_000))
        with pytest.raises(Interrupted):
            self.run.run(Watch(stop=lambda: next(asked) == step))

    def optimizer_state(self):
        return {
            f"{name}/{key}": value
            for group in self.optimizer.param_groups
            for name, parameter in zip(group["param_names"], group["params"], strict=True)
            for key, value in self.optimizer.state.get(parameter, {}).items()
        }


def learned(encoder, spelling):
    """A model that a strategy has taught, by gradient or not, with its outline and plan."""
    if strategy_named(spelling).search.learning_rate is None:
        model, outline, plan = prepared(encoder, spelling)
        fit_class_means(model, outline, features=FEATURES["sequence"][:24], runtime=RUNTIME)
        return model, outline, plan
    training = Training(encoder, spelling).finish()
    detach_masked_head(training.model)
    return training.model, training.outline, training.plan


def outlines(encoder):
    """The outline that each strategy finds on an encoder, with what it adds to the model."""
    found = {}
    for name, cls in STRATEGIES.items():
        model, found[name] = make_model(encoder)
        if adds_modules(cls()):
            install(cls(), model, encoder=encoder, seed=0)
            found[name] = read_outline(model)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plan_is_pure_and_names_each_known_parameter_once_a_stage(family, encoder_of):
    plans, refused = {}, []
    for name, first in outlines(encoder_of(family)).items():
        strategy, before, again = STRATEGIES[name](), asdict(first), copy.deepcopy(first)
        try:
            plans[name] = plan = strategy.plan(first)
        except SettingsError:  # of what the encoder does not have
            refused.append(name)
            continue
        assert plan == strategy.plan(first) == STRATEGIES[name]().plan(again), name
        assert hash(plan) == hash(strategy.plan(again)), name
        assert asdict(first) == before, name
        for stage in plan.stages:
            listed = [parameter for group in stage.groups for parameter in group.names]
            assert len(listed) == len(set(listed)), name
            assert set(listed) <= set(first.names), name
        learns = strategy.search.learning_rate is not None
        assert bool(plan.ever_trainable) == (plan.head_fit == "gradient") == learns, name
        teaching = next(stage for stage in plan.stages if stage.objective.task)
        assert first.head[-1] in teaching.trainable or not learns, f"{name} gives the head no chance"
    assert len(set(plans.values())) == len(plans), "two strategies have the same plan"
    assert family == "modernbert" or not refused, "it alone has no biases"


@pytest.mark.parametrize("name", EVERY)
def test_the_spelling_of_a_strategy_names_it(name):
    assert spelling_of(STRATEGIES[name]()) == name
    assert strategy_named(name) == STRATEGIES[name]()


@pytest.mark.parametrize("name", EVERY)
def test_the_search_range_is_sane_and_begins_in_its_middle(name):
    search = STRATEGIES[name].search
    for number in range(1, 6):
        rates = search.rates(number)
        if search.learning_rate is None:
            assert rates == ()
            continue
        low, high = search.learning_rate
        assert 0 < low < high <= 1
        assert len(set(rates)) == number
        assert all(low <= rate <= high for rate in rates)
        middle = (low * high) ** 0.5
        assert all(abs(np.log(rates[0] / middle)) <= abs(np.log(rate / middle)) + 0.1 for rate in rates)
        assert number < 3 or {low, high} <= set(rates)
        assert number % 2 == 0 or rates[0] == pytest.approx(middle, rel=0.06)
    assert search.num_train_epochs >= (search.learning_rate is not None)
    assert search.min_steps >= 0


@pytest.mark.parametrize("name", EVERY)
def test_what_is_drawn_begins_with_the_usual_settings(name):
    search, usual = STRATEGIES[name].search, TrainingSettings()
    choices = (search.batch_sizes, search.weight_decays, search.warmup_shares, search.epoch_shares)
    own = (usual.per_device_train_batch_size, usual.weight_decay, usual.warmup_steps, 1.0)
    assert tuple(values[0] for values in choices) == own
    assert all(len(set(values)) == len(values) for values in choices)
    assert all(0 < share <= 1 for share in search.epoch_shares)
    assert all(0 <= share < 1 for share in search.warmup_shares)
    for size, decay in itertools.product(search.batch_sizes, search.weight_decays):
        TrainingSettings(per_device_train_batch_size=size, weight_decay=decay)


@pytest.mark.parametrize("name", EVERY)
def test_the_docstrings_say_what_it_does_and_from_which_source(name):
    cls = STRATEGIES[name]
    assert "Source: " in sys.modules[cls.__module__].__doc__
    assert "arXiv:" in sys.modules[cls.__module__].__doc__
    sentences = re.split(r"(?:(?<=[.!?])|\n\n)\s+", sys.modules[cls.__module__].__doc__)
    assert any(sentence.startswith("Use it ") for sentence in sentences), "when to use it"
    assert any(sentence.startswith("Do not use it ") for sentence in sentences), "when not to use it"
    ranged = any(sentence.startswith("Range: ") for sentence in sentences)
    assert ranged == (cls.search.learning_rate is not None), "why these learning rates"
    assert cls.__doc__
    assert not cls.__doc__.startswith(cls.__name__ + "(")


def check_modes(model, outline, trainable):
    """Each unit is in training mode if something in it learns, else in evaluation mode, dropout or none."""
    layers = model.get_submodule(outline.stack)
    for layer, names in zip(layers, outline.layers, strict=True):
        assert {module.training for module in layer.modules()} == {bool(trainable & set(names))}
    for name, module in model.named_modules():
        if name and not (name + ".").startswith(outline.base + "."):
            beside = (name + ".").startswith(f"{AUXILIARY}.")
            assert module.training == bool(trainable & set(outline.auxiliary if beside else outline.head)), name
        own = {f"{name}.{n}" for n, _ in module.named_parameters()}
        if own and own <= set(outline.embeddings):
            assert {inner.training for inner in module.modules()} == {bool(trainable & set(outline.embeddings))}, name


class Looker:
    """Looks at a run at every step: what is frozen is untouched, what learns may move."""

    def __init__(self, training):
        self.training, self.step, self.seen = training, 0, set()

    def before(self):
        self.weights = weights_of(self.training.model)
        return False

    def after(self, _):
        training = self.training
        stage = training.plan.at(self.step / training.total)
        self.step += 1
        self.seen.add(stage)
        assert differing(self.weights, weights_of(training.model)) <= stage.trainable
        for name, parameter in training.model.named_parameters():
            assert parameter.requires_grad == (name in stage.trainable)
            assert parameter.grad is None
        touched = training.plan.touched_by(stage)
        assert {key.split("/")[0] for key in training.optimizer_state()} <= touched
        check_modes(training.model, training.outline, stage.trainable)


@pytest.mark.parametrize("name", LEARNING)
def test_at_every_step_frozen_means_frozen_and_what_should_move_moves(name, encoder_of):
    training = Training(encoder_of("bert"), name)
    before, looker = weights_of(training.model), Looker(training)
    training.finish(Watch(stop=looker.before, progress=looker.after))
    assert looker.step == training.total
    assert looker.seen == set(training.plan.stages)
    learning = training.plan.ever_trainable
    assert {key.split("/")[0] for key in training.optimizer_state()} == learning
    known = [name for group in training.optimizer.param_groups for name in group["param_names"]]
    assert sorted(known) == sorted(learning)
    assert differing(before, weights_of(training.model)) <= learning
    assert training.state.best_epoch > 0


@pytest.mark.parametrize("name", LEARNING)
def test_every_parameter_that_learns_has_moved_at_the_end(name, encoder_of):
    training = Training(encoder_of("bert"), name)
    training.run._is_best = lambda row: True  # so that the last weights are kept
    before = weights_of(training.model)
    training.finish()
    assert differing(before, weights_of(training.model)) == training.plan.ever_trainable


@pytest.mark.parametrize("name", EVERY)
def test_entering_a_stage_depends_on_nothing_but_the_stage(name, encoder_of):
    model, outline, plan = prepared(encoder_of("bert"), name)

    def condition():
        return (
            {n: p.requires_grad for n, p in model.named_parameters()},
            {n: m.training for n, m in model.named_modules()},
        )

    once = []
    for stage in plan.stages:
        enter_stage(model, outline, stage=stage)
        once.append(condition())
        enter_stage(model, outline, stage=stage)
        assert condition() == once[-1]
    for stage, expected in reversed(list(zip(plan.stages, once, strict=True))):
        model.train()
        enter_stage(model, outline, stage=stage)
        assert condition() == expected


@pytest.mark.parametrize("optim", CHOICES["optim"])
@pytest.mark.parametrize("name", LEARNING)
def test_an_interrupted_run_goes_on_bit_for_bit_inside_every_stage(name, optim, encoder_of, tmp_path):
    settings = replace(SETTINGS, optim=optim, class_weights="balanced" if optim == "sgd" else "none")
    whole = Training(encoder_of("bert"), name, settings=settings).finish()
    generator = np.random.default_rng(7)
    starts = [round(stage.start * whole.total) for stage in whole.plan.stages] + [whole.total]
    spans = list(itertools.pairwise(starts))
    # What an optimizer keeps does not depend on the stage: beside AdamW, one stage is enough.
    chosen = spans if optim == "adamw" else [spans[int(generator.integers(len(spans)))]]
    for number, (first, end) in enumerate(chosen):
        step = int(generator.integers(first, end))
        folder = tmp_path / str(number)
        Training(encoder_of("bert"), name, folder=folder, settings=settings).stop_before(step)
        resumed = Training(encoder_of("bert"), name, folder=folder, settings=settings).finish()
        assert differing(weights_of(whole.model), weights_of(resumed.model)) == set(), step
        assert differing(whole.optimizer_state(), resumed.optimizer_state()) == set(), step
        assert resumed.state.curve == whole.state.curve
        assert resumed.state.best_epoch == whole.state.best_epoch


@pytest.mark.parametrize("name", LEARNING)
def test_a_run_interrupted_again_and_again_goes_on_bit_for_bit(name, encoder_of, tmp_path):
    whole = Training(encoder_of("bert"), name).finish()
    done = 0
    for more in (0, 3, 1, 5):  # mid-epoch, at once, at an epoch's end
        training = Training(encoder_of("bert"), name, folder=tmp_path)
        training.stop_before(more)
        done += more
        assert training.run._state.epoch * training.steps + training.run._state.batch == done
    resumed = Training(encoder_of("bert"), name, folder=tmp_path).finish()
    assert differing(weights_of(whole.model), weights_of(resumed.model)) == set()
    assert resumed.state.curve == whole.state.curve


RELOADING = """
import sys
from pathlib import Path
import numpy as np
import torch, transformers
torch.set_num_threads(1)
folder = Path(sys.argv[1])
inputs = np.load(folder / "inputs.npz")
batch = {name: torch.from_numpy(inputs[name]) for name in inputs}
logits = {}
def load(path):
    model = transformers.AutoModelForSequenceClassification
    if "ForToken" in path.read_text():
        model = transformers.AutoModelForTokenClassification
    with torch.inference_mode():
        logits[path.parent.name] = model.from_pretrained(path.parent).eval()(**batch).logits.numpy()
paths = sorted(folder.glob("*/config.json"))
own = [path for path in paths if '"model_type": "unfreeze' in path.read_text()]
for path in paths:
    if path not in own:
        load(path)
assert "unfreeze" not in sys.modules
import unfreeze.encoders.bottlenecks
for path in own:
    load(path)
np.savez(folder / "logits.npz", **logits)
"""
"""What a stranger runs, once for the models of all strategies: importing transformers takes longer than they do."""


@pytest.fixture(scope="module")
def reloaded(encoder_of, tmp_path_factory):
    """For each strategy the model that it taught, its plan, its logits here, and those of a fresh process."""
    folder, here = tmp_path_factory.mktemp("reloaded"), {}
    batch = collate(FEATURES["token"][:8], pad_token_id=0, device="cpu")
    np.savez(folder / "inputs.npz", **{name: tensor.numpy() for name, tensor in batch.items()})
    for name in EVERY:
        model, _, plan = learned(encoder_of("bert"), name)
        whole = merged(strategy_named(name), model.eval())
        whole.save_pretrained(folder / name)
        with torch.inference_mode():
            here[name] = model, plan, whole(**batch).logits.numpy()
            np.testing.assert_allclose(model(**batch).logits, here[name][-1], rtol=1e-4, atol=1e-5)
    subprocess.run([sys.executable, "-c", RELOADING, folder], check=True, capture_output=True, timeout=120)
    there = np.load(folder / "logits.npz")
    return {name: (*found, there[name]) for name, found in here.items()}


@pytest.mark.parametrize("name", EVERY)
def test_saved_and_reloaded_in_a_fresh_process_gives_the_same_logits(name, reloaded, encoder_of):
    trained, plan, here, there = reloaded[name]
    assert np.array_equal(here, there)
    assert (len(there), there.shape[-1]) == (8, len(LABELS))
    pretrained, outline, _ = prepared(encoder_of("bert"), name)
    detach_masked_head(pretrained)
    if plan.encoder_weights == "pretrained":
        frozen = set(outline.names) - plan.ever_trainable - set(outline.head)
        assert not differing(weights_of(pretrained), weights_of(trained)) & frozen


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_mechanisms_hold_for_every_family(family, name, encoder_of, monkeypatch):
    try:
        training = Training(encoder_of(family), name, settings=replace(SETTINGS, num_train_epochs=2))
    except SettingsError as error:
        pytest.skip(f"refused: {error}")
    assert isinstance(training.run._state, State)
    monkeypatch.setattr(training.run, "_is_best", lambda row: True)
    before, looker = weights_of(training.model), Looker(training)
    training.finish(Watch(stop=looker.before, progress=looker.after))
    assert looker.seen == set(training.plan.stages)
    moved = differing(before, weights_of(training.model))
    outline, learning = training.outline, training.plan.ever_trainable
    assert moved <= learning
    assert {key.split("/")[0] for key in training.optimizer_state()} == learning
    for unit in (outline.embeddings, *outline.layers, outline.head, outline.shared):
        assert not unit or bool(moved & set(unit)) == bool(learning & set(unit)), unit
    assert all(torch.isfinite(parameter).all() for parameter in training.model.parameters())
