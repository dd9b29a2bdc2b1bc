import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unfreeze.engine.dropout import POOL, Dropout, pooled_mask


def mask(number=200_000, *, key=(0, 0, 0, 0), p=0.1, dtype=torch.float32):
    return pooled_mask(number, key=key, p=p, dtype=dtype, device="cpu")


@settings(deadline=None)
@given(st.integers(1, 5000), st.tuples(*[st.integers(0, 2**40)] * 4))
def test_a_mask_is_a_pure_function_of_its_key(number, key):
    first = mask(number, key=key)
    mask(number, key=(9, 9, 9, 9))
    assert first.shape == (number,)
    assert torch.equal(first, mask(number, key=key))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.05, 0.1, 0.3, 0.5])
def test_a_mask_drops_the_share_asked_for_and_leaves_the_mean(p, dtype):
    values = mask(1_000_000, p=p, dtype=dtype).float()
    kept = values[values != 0]
    assert kept.unique().numel() == 1  # one scale
    assert float((values == 0).float().mean()) == pytest.approx(p, abs=0.004)
    assert float(values.mean()) == pytest.approx(1, abs=0.003)


def test_masks_of_other_steps_parts_modules_and_seeds_are_independent():
    number = 100_000
    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    values = np.stack([(mask(number, key=key, p=0.5) == 0).numpy() for key in keys]).astype(float)
    correlations = np.corrcoef(values) - np.eye(len(keys))
    assert np.abs(correlations).max() < 5 / np.sqrt(number)


def test_neighbours_in_a_mask_are_independent():
    values = (mask(500_000, p=0.5) == 0).float()
    for distance in (1, 2, 7, 64, 384, 1000):
        pairs = torch.stack((values[:-distance], values[distance:]))
        assert abs(float(torch.corrcoef(pairs)[0, 1])) < 5 / np.sqrt(500_000)


def test_a_mask_longer_than_the_pool_repeats_it():
    long = mask(2 * POOL + 77)
    assert len(long) == 2 * POOL + 77
    assert torch.equal(long[:77], long[POOL : POOL + 77])
    assert float((long == 0).float().mean()) == pytest.approx(0.1, abs=0.004)


def test_modules_drop_while_they_train_and_are_themselves_again_afterwards():
    model = nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5), nn.Dropout(0.5), nn.Dropout(0.0))
    states = torch.ones(40, 50)
    dropout = Dropout(model, seed=3)
    with dropout.installed():
        model.eval()
        assert torch.equal(model[1](states), states)
        model.train()
        first, other = model[1](states), model[2](states)
        assert torch.equal(first, model[1](states))  # the same place in training
        assert not torch.equal(first, other)  # another module
        assert torch.equal(model[3](states), states)
        dropout.step = 1
        assert not torch.equal(first, model[1](states))
        dropout.step, dropout.part = 0, 1
        assert not torch.equal(first, model[1](states))
    assert set(first.unique().tolist()) == {0.0, 2.0}
    torch.manual_seed(0)
    again = model[1](states)
    torch.manual_seed(0)
    assert torch.equal(again, nn.functional.dropout(states, 0.5))


def test_the_gradient_passes_where_the_value_did():
    model = nn.Sequential(nn.Dropout(0.25))
    states = torch.ones(1000, requires_grad=True)
    dropout = Dropout(model, seed=0)
    with dropout.installed():
        kept = model.train()(states)
    kept.sum().backward()
    assert torch.equal(states.grad, kept.detach())


def test_no_generator_moves():
    before = torch.random.get_rng_state()
    mask(1000, key=(4, 4, 4, 4), p=0.21)
    assert torch.equal(before, torch.random.get_rng_state())
