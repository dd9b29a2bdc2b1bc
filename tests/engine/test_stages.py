import pytest
from torch import nn

from runs import make_model
from tiny import FAMILIES
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.engine.stages import units_of


@pytest.mark.parametrize("head", [HeadSettings(), HeadSettings("mean", 2)], ids=["standard", "pooled"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_module_that_acts_belongs_to_the_unit_of_its_place(family, head, encoder_of):
    model, outline = make_model(encoder_of(family), head=head)
    units = units_of(model, outline)
    for name, module in model.named_modules():
        if name.startswith(outline.stack + "."):
            assert units[name] == f"layer {name.removeprefix(outline.stack + '.').split('.')[0]}"
        elif name and not (name + ".").startswith(outline.base + "."):
            assert units[name] == "head"
        elif isinstance(module, nn.Dropout):  # embeddings, or what feeds several layers
            assert units[name] in {"embeddings", "shared"}, name
    assert {unit for unit in units.values() if unit} >= {"embeddings", "head", *(f"layer {i}" for i in range(3))}
