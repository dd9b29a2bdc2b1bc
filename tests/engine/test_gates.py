"""Gates of stages: what is decided, from what, and that a run that was interrupted decides nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from runs import RUNTIME, SETTINGS, differing, make_data, make_features, make_model, weights_of
from unfreeze.encoders.outline import Outline
from unfreeze.engine.checkpoints import Checkpoints
from unfreeze.engine.gates import constant_logits, decided, shut
from unfreeze.engine.prefix import PrefixMemory
from unfreeze.engine.training import Run, Watch
from unfreeze.errors import Interrupted, SettingsError
from unfreeze.plan import Gate, Group, Plan, Stage
from unfreeze.strategies import strategy_named

GATE = Gate(good=0.1, target=0.9, examples=20)
OUTLINE = Outline(("e",), (("a",), ("b",)), (), ("head",), (), dict.fromkeys("eab", 1) | {"head": 1}, "x", "y")
PLAN = Plan((Stage(0.0, (Group(("head",)),)), Stage(0.5, (Group(("b", "head")),), gate=GATE)))


@pytest.mark.parametrize(
    ("score", "examples", "opened", "why"),
    [
        (0.8, 20, True, "80.0 points are good (at least 55.0) and below the target of 90.0, and 20 training examples"),
        (0.55, 20, True, "55.0 points are good"),
        (0.549, 20, False, "54.9 points are not good (at least 55.0): too little was learned on what is frozen"),
        (0.9, 20, False, "90.0 points reach the target of 90.0: nothing needs opening"),
        (0.8, 19, False, "19 training examples are too few to open more (at least 20)"),
        (None, 0, True, "nothing was validated before"),
    ],
)
def test_a_stage_opens_where_the_score_is_good_below_the_target_and_the_examples_enough(score, examples, opened, why):
    found = decided(PLAN, 1, outline=OUTLINE, score=score, floor=0.5, examples=examples)
    assert found["opened"] == opened
    assert found["why"].startswith(why)
    assert (found["opens"], found["start"], found["stage"]) == ("layer 1", 0.5, 1)
    assert (found["score"], found["floor"], found["examples"]) == (score, 0.5, examples)
    assert not any(character.isdigit() for character in found["because"]), "the same words for all runs"
    assert shut([found]) == (None if opened else 1)


def test_what_a_gate_and_a_plan_with_gates_cannot_be():
    for wrong in ({"good": 1.0}, {"target": -0.1}, {"examples": -1}):
        with pytest.raises(SettingsError):
            replace(GATE, **wrong)
    with pytest.raises(SettingsError, match="the first stage has no gate"):
        Plan((Stage(0.0, (Group(("head",)),), gate=GATE),))


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_the_most_frequent_class_is_what_is_given_everywhere(kind):
    features = make_features(12, kind)
    shown = [replace(f, targets=tuple(2 if t >= 0 else t for t in f.targets)) for f in features[:7]]
    given = constant_logits(shown, features[7:], classes=3)
    for feature, logits in zip(features[7:], given, strict=True):
        assert logits.shape == ((len(feature.targets), 3) if kind == "token" else (3,))
        assert set(np.ravel(logits.argmax(-1))) == {2}


def gated(outline, *gates):
    """A plan of three stages whose last two have these gates."""
    parts = (outline.head, (*outline.layers[-1], *outline.head), outline.names)
    some = (None, *gates)
    return Plan(tuple(Stage(i / 3, (Group(names),), gate=some[i]) for i, names in enumerate(parts)))


OPEN, SHUT = Gate(-99.0, 99.0, 0), Gate(-99.0, 0.0, 0)


class Gated:
    """A run of six epochs of four steps under a plan with gates."""

    def __init__(self, encoder, gates, *, folder=None, validation=True, patience=9, scores=None):
        self.model, self.outline = make_model(encoder)
        features = make_features(32)
        data = make_data(features, PrefixMemory(features))
        if scores is not None:
            given = iter(scores)
            floor = constant_logits(features[:24], features[24:], classes=3)
            data = replace(data, score=lambda logits: 0.2 if np.array_equal(logits, floor) else next(given))
        data = data if validation else replace(data, validation=())
        settings = replace(SETTINGS, num_train_epochs=6, patience=patience)
        self.plan = gated(self.outline, *gates)
        self.run = Run(
            self.model, self.outline, plan=self.plan, settings=settings, data=data, runtime=RUNTIME,
            checkpoints=Checkpoints(folder, {"gates": repr(gates)}) if folder else None,
        )  # fmt: skip

    def finish(self):
        self.before = weights_of(self.model)
        self.state = self.run.run()
        return self


def test_a_shut_gate_ends_training_there_with_the_best_epoch_and_nothing_of_the_stage_has_moved(encoder_of):
    for gates, epochs, moving in (((SHUT, OPEN), 2, 0), ((OPEN, SHUT), 4, 1)):
        made = Gated(encoder_of("bert"), gates).finish()
        assert made.state.epoch == epochs
        assert 0 < made.state.best_epoch <= epochs
        assert [gate["opened"] for gate in made.state.gates] == [True] * moving + [False]
        best = made.state.curve[:epochs][made.state.best_epoch - 1]["score"]
        assert made.state.gates[-1]["score"] == max(row["score"] for row in made.state.curve) == best
        assert differing(made.before, weights_of(made.model)) <= made.plan.stages[moving].trainable
    whole = Gated(encoder_of("bert"), (OPEN, OPEN)).finish()
    assert (whole.state.epoch, [gate["opened"] for gate in whole.state.gates]) == (6, [True, True])


def test_gates_are_asked_for_the_best_score_so_far_and_the_floor_of_the_same_rows(encoder_of):
    scores = [0.3, 0.5, 0.4, 0.6, 0.1, 0.1]
    gates = Gated(encoder_of("bert"), (Gate(0.1, 0.9, 24), Gate(0.1, 0.55, 24)), scores=scores).finish().state.gates
    assert [(gate["score"], gate["opened"], gate["floor"]) for gate in gates] == [(0.5, True, 0.2), (0.6, False, 0.2)]
    assert gates[0]["examples"] == 24
    assert Gated(encoder_of("bert"), (Gate(0.1, 0.9, 25), OPEN), scores=scores).finish().state.epoch == 2


def test_without_validation_rows_no_gate_is_asked(encoder_of):
    made = Gated(encoder_of("bert"), (SHUT, SHUT), validation=False).finish()
    assert (made.state.epoch, made.state.gates) == (6, [])


def test_no_run_is_given_up_before_its_last_gate_was_asked(encoder_of):
    scores = [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
    made = Gated(encoder_of("bert"), (OPEN, OPEN), patience=1, scores=scores).finish()
    assert len(made.state.gates) == 2
    assert made.state.epoch == 5


@pytest.mark.parametrize("gates", [(OPEN, SHUT), (OPEN, OPEN)], ids=["second shut", "both open"])
@pytest.mark.parametrize("step", [7, 8, 9, 15])
def test_a_run_interrupted_at_a_gate_goes_on_bit_for_bit(gates, step, encoder_of, tmp_path):
    whole = Gated(encoder_of("bert"), gates).finish()
    first = Gated(encoder_of("bert"), gates, folder=tmp_path)
    asked = iter(range(100))
    with pytest.raises(Interrupted):
        first.run.run(Watch(stop=lambda: next(asked) == step))
    resumed = Gated(encoder_of("bert"), gates, folder=tmp_path).finish()
    assert resumed.state.gates == whole.state.gates
    assert resumed.state.curve == whole.state.curve
    assert differing(weights_of(whole.model), weights_of(resumed.model)) == set()


def parts(depth):
    layers = tuple((f"layer.{i}",) for i in range(depth))
    return Outline(("embed",), layers, ("pooler",), ("head",), (), {}, "layer", "base")


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6, 12, 24])
def test_staged_opens_a_quarter_and_then_half_of_the_layers(depth):
    plan = strategy_named("staged").plan(parts(depth))
    frozen = [parts(depth).frozen_depth(stage.trainable) for stage in plan.stages]
    expected = [depth, depth - -(-depth // 4), depth - -(-depth // 2)]
    assert frozen == list(dict.fromkeys(expected)), "what would open nothing is no stage"
    assert [stage.gate is None for stage in plan.stages] == [True] + [False] * (len(frozen) - 1)
    assert plan.stages[1].gate == Gate(0.1, 0.95, 100)


def test_staged_opens_as_much_as_it_is_told_and_refuses_what_cannot_be():
    plan = strategy_named("staged:most=1,target=0.8,good=0.2,examples=7").plan(parts(4))
    assert plan.stages[-1].trainable == set(parts(4).names)
    assert plan.stages[-1].gate == Gate(0.2, 0.8, 7)
    narrow = strategy_named("staged:most=0.1").plan(parts(12))
    assert [parts(12).frozen_depth(stage.trainable) for stage in narrow.stages] == [12, 10]
    for wrong in ("probe=0", "probe=0.7", "until=1", "most=0", "most=1.1", "head_rate=0", "good=1"):
        with pytest.raises(SettingsError):
            strategy_named(f"staged:{wrong}").plan(parts(4))
