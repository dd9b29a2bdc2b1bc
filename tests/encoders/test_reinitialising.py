import pytest
import torch

from runs import differing, make_model, weights_of
from tiny import FAMILIES
from unfreeze.encoders.reinitialising import reinitialise
from unfreeze.errors import SettingsError
from unfreeze.plan import Plan, Stage
from unfreeze.strategies import strategy_named


def drawn(encoder, *, k=1, seed=0):
    """The weights of a model whose last k layers and top were drawn anew, those before, and the outline."""
    model, outline = make_model(encoder)
    before = weights_of(model)
    names = strategy_named(f"reinit:k={k}").plan(outline).reinitialised
    reinitialise(model, names, seed=seed)
    return weights_of(model), before, outline, set(names)


@pytest.mark.parametrize("family", FAMILIES)
def test_just_the_named_weights_are_drawn_anew_and_as_the_family_draws_them(family, encoder_of):
    after, before, outline, names = drawn(encoder_of(family))
    fresh, _ = make_model(encoder_of(family), weights="random", seed=3)
    assert names == {*outline.layers[-1], *outline.top}
    assert differing(before, after) == names
    for name, parameter in weights_of(fresh).items():
        if name not in names:
            continue
        if float(parameter.std()) == 0:  # norms begin at 1, biases at 0
            assert torch.equal(after[name], parameter), name
        else:
            assert float(after[name].std()) == pytest.approx(float(parameter.std()), rel=0.15), name
            assert not torch.equal(after[name], parameter), name


def test_the_draw_follows_from_the_seed_alone_and_leaves_the_random_state(encoder_of):
    state = torch.random.get_rng_state()
    once, again, other = (drawn(encoder_of("bert"), seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert differing(once, again) == set()
    assert differing(once, other)


def test_more_layers_are_drawn_where_more_are_asked_for(encoder_of):
    after, before, outline, _ = drawn(encoder_of("bert"), k=2)
    assert differing(before, after) == {*outline.layers[-1], *outline.layers[-2], *outline.top}


def test_half_a_module_is_not_drawn(encoder_of):
    model, outline = make_model(encoder_of("bert"))
    weight = next(name for name in outline.layers[0] if name.endswith("query.weight"))
    with pytest.raises(SettingsError, match="cannot be drawn anew without its neighbours"):
        reinitialise(model, [weight], seed=0)


def test_what_is_drawn_anew_must_learn():
    with pytest.raises(SettingsError, match=r"drawn anew must learn, and these never do: \['a'\]"):
        Plan((Stage(0.0, ()),), reinitialised=("a",))


@pytest.mark.parametrize("k", [0, 4])
def test_reinit_refuses_a_number_of_layers_that_is_not_there(k, encoder_of):
    _, outline = make_model(encoder_of("bert"))
    with pytest.raises(SettingsError, match=f"reinit: k must lie between 1 and the encoder's 3 layers; got {k}"):
        strategy_named(f"reinit:k={k}").plan(outline)
