"""Low-rank updates of linear layers (LoRA), through peft: put into a model, and folded into its weights again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from unfreeze.encoders.outline import Outline
from unfreeze.encoders.reading_outline import layer_modules, read_outline
from unfreeze.encoders.silence import quiet
from unfreeze.errors import MissingExtra, SettingsError

ALL_LINEAR = "all-linear"
"""peft's word for every linear layer of the encoder's layers; never the head's."""

PART = "adapter_model.safetensors"
"""The file in which peft looks for the updates."""

QUERY_AND_VALUE = (
    ("query", "value"),  # BERT, RoBERTa, ELECTRA
    ("query_proj", "value_proj"),  # DeBERTa-v2 and -v3
    ("q_lin", "v_lin"),  # DistilBERT
    ("q", "v"),  # MPNet
    ("q_proj", "v_proj"),
    ("Wqkv",),  # ModernBERT: query, key and value in one
    ("in_proj",),  # DeBERTa: likewise
)
"""What families call the linear layers that give queries and values; peft keeps a like list, without some of these."""


def add_low_rank(
    model: nn.Module, *, r: int, lora_alpha: int, lora_dropout: float, target_modules: str, seed: int
) -> None:
    """Add a low-rank update to linear layers of a model, in place; at first it changes nothing.

    Args:
        model: as it was built.
        r: rank.
        lora_alpha: the update counts ``lora_alpha / r`` times.
        lora_dropout: on what the update reads.
        target_modules: last names of linear layers joined by "+", such as "query+value"; "all-linear"; empty for
            queries and values.
        seed: of the new weights.

    Raises:
        MissingExtra: peft is not installed.
        SettingsError: the encoder has no such linear layers, or a value makes no sense.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtra("peft", "for the strategy 'lora'") from error
    outline = read_outline(model)
    targets = _targets(model, outline, target_modules)
    try:
        config = peft.LoraConfig(
            r=r, lora_alpha=lora_alpha, lora_dropout=lora_dropout, target_modules=targets, bias="none"
        )
        with torch.random.fork_rng(devices=[]), quiet():
            torch.default_generator.manual_seed(seed)
            peft.inject_adapter_in_model(config, model)
    except ValueError as error:
        raise SettingsError(f"lora: {error}") from None


def merge_low_rank(model: nn.Module) -> nn.Module:
    """Fold the updates into the weights they update: what is left is a plain model of the family's class.

    Args:
        model: a copy that nobody trains any more; folding in and out again would move frozen weights. Changed in place.

    Raises:
        ValueError: a merged weight is not finite.
    """
    from peft.tuners.lora import LoraLayer

    for path, module in [(path, module) for path, module in model.named_modules() if isinstance(module, LoraLayer)]:
        updated: Any = module
        updated.merge(safe_merge=True)
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, updated.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    return model


def save_low_rank(model: nn.Module, folder: Path, *, base: str) -> None:
    """Write the updates and the head alone, as ``peft.PeftModel.from_pretrained`` reads them.

    Args:
        model: trained, and not merged.
        folder: an empty one.
        base: what the updates belong to: the encoder's name or folder.

    Source: peft's checkpoint format. A head is a module "to save", or it would be made anew where it is loaded
    (peft issues 577 and 1070).
    """
    outline = read_outline(model)
    own: Any = model.peft_config["default"]  # type: ignore[index]
    config = replace(own, inference_mode=True, base_model_name_or_path=base, modules_to_save=_heads(model, outline))
    stored = {name: tensor for name, tensor in model.state_dict().items() if ".lora_" in name or name in outline.head}
    named = {f"base_model.model.{name.replace('.default.', '.')}": tensor for name, tensor in stored.items()}
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    save_file({name: t.detach().cpu().contiguous() for name, t in named.items()}, folder / PART)


def _heads(model: nn.Module, outline: Outline) -> list[str]:
    """The modules that hold the head, by the names that peft finds them by."""
    inside = f"{model.base_model_prefix}."  # a pooler that is new belongs to the head, and to the encoder's module
    return sorted({name.removeprefix(inside).split(".")[0] for name in outline.head})


def _targets(model: nn.Module, outline: Outline, wanted: str) -> list[str]:
    """The paths of the linear layers to update: in every layer of the encoder, nowhere else."""
    layers = layer_modules(model, outline)
    linear = [{p for p, module in layer.named_modules() if isinstance(module, nn.Linear)} for layer in layers]
    known = sorted({path.rpartition(".")[2] for paths in linear for path in paths})
    names = known if wanted == ALL_LINEAR else [name for name in wanted.split("+") if name]
    if not names:
        names = next((list(pair) for pair in QUERY_AND_VALUE if {*pair} <= {*known}), [])
    chosen = [[path for path in sorted(paths) if path.rpartition(".")[2] in names] for paths in linear]
    missing = sorted({*names} - {*known})
    if missing or not all(chosen):
        found = f"there is none named {missing[0]!r}" if missing else "it is not known which give queries and values"
        raise SettingsError(
            f"lora: of the linear layers in this encoder's layers {found}; choose among them, as in "
            f"lora:target_modules={'+'.join(known[:2])}. They are: {', '.join(known)}."
        )
    return [f"{outline.stack}.{i}.{path}" for i, paths in enumerate(chosen) for path in paths]
