"""Enter a stage of a plan: the only place where ``requires_grad`` is written.

Frozen means frozen: a unit none of whose parameters learn runs in evaluation mode, so that it is the same function at
every step (a frozen encoder left in training mode gives other hidden states each time: dropout moves them by half their
norm). Units are the embeddings, each layer, the shared parts, the top and the head.
"""

from torch import nn

from unfreeze.encoders.outline import Outline
from unfreeze.errors import SettingsError
from unfreeze.plan import Stage


def enter_stage(model: nn.Module, outline: Outline, *, stage: Stage) -> None:
    """Make exactly the parameters of a stage trainable; doing it twice changes nothing.

    Args:
        model: the one that the outline was read from.
        outline: its parts.
        stage: what learns from now on.

    Raises:
        SettingsError: the stage names a parameter that the model does not have.
    """
    trainable = stage.trainable
    unknown = sorted(trainable - set(outline.names))
    if unknown:
        raise SettingsError(
            f"the plan trains {unknown[0]!r}, which {type(model).__name__} does not have ({len(unknown)} such names); "
            "a strategy takes its names from the outline that it is given"
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
        if name not in trainable:
            parameter.grad = None
    learning = {outline.part_of(name) for name in trainable}
    units = units_of(model, outline)
    for name, module in model.named_modules():
        module.training = units[name] in learning


def units_of(model: nn.Module, outline: Outline) -> dict[str, str | None]:
    """The unit that each module belongs to, by module name; None for those that hold several units.

    A module without parameters (dropout) belongs where its nearest parent does; outside the pretrained model, to the
    head.
    """
    units: dict[str, str | None] = {}
    parts = {name: outline.part_of(name) for name, _ in model.named_parameters()}
    for name, module in model.named_modules():
        paths = (f"{name}.{n}" if name else n for n, _ in module.named_parameters())
        own = {parts[path] for path in paths if path in parts}  # a tied parameter goes by its first path alone
        if len(own) == 1:
            units[name] = own.pop()
        elif own:
            units[name] = None
        else:
            above = units[name.rpartition(".")[0]]
            outside = not (name + ".").startswith(outline.base + ".")
            units[name] = above or ("head" if outside else None)
    return units
