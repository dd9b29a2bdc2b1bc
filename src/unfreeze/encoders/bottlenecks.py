"""Adapters: small bottlenecks behind the projections of an encoder's layers, and a class that can hold them.

Where they stand is found by running a few tokens through the model and noting in which order the linear layers of each
layer act; where that is not understood the encoder is refused. A model with adapters is no model of its family's class,
so it is saved under a model type of our own. Importing this module teaches transformers that type; without it,
transformers refuses such a folder aloud.

Source: Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP", arXiv:1902.00751, section 2.1 and figure
2; Pfeiffer et al. 2021, "AdapterFusion", arXiv:2005.00247, which keeps the one behind the feed-forward.
"""

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from torch import nn

from unfreeze.encoders import pooled  # noqa: F401  # the model inside may have a head of ours
from unfreeze.encoders.outline import Outline
from unfreeze.encoders.reading_outline import PROBE_TOKENS, layer_modules, read_outline
from unfreeze.encoders.silence import quiet
from unfreeze.errors import SettingsError

FAMILY = "unfreeze-adapted"
NEAR_IDENTITY = 1e-2
"""Standard deviation of new weights, cut at twice that (Houlsby et al. 2019, section 3.6 and figure 6)."""

_AUTO: dict[str, Any] = {
    "sequence": transformers.AutoModelForSequenceClassification,
    "token": transformers.AutoModelForTokenClassification,
}


class Adapted(nn.Module):
    """A linear layer and the bottleneck behind it: what the layer gives, plus a small correction of it.

    Args:
        projection: the layer; kept as it is.
        size: of the bottleneck, between a down- and an up-projection with a GELU.
    """

    def __init__(self, projection: nn.Linear, size: int) -> None:
        super().__init__()
        width, device = projection.out_features, projection.weight.device
        self.projection = projection
        self.adapter_down = nn.Linear(width, size, device=device)
        self.adapter_up = nn.Linear(size, width, device=device)
        for linear in (self.adapter_down, self.adapter_up):
            nn.init.trunc_normal_(linear.weight, std=NEAR_IDENTITY, a=-2 * NEAR_IDENTITY, b=2 * NEAR_IDENTITY)
            nn.init.zeros_(linear.bias)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(…, read) to (…, width)."""
        projected = self.projection(states)
        return projected + self.adapter_up(nn.functional.gelu(self.adapter_down(projected)))


def add_adapters(model: nn.Module, *, size: int, after_attention: bool, seed: int) -> None:
    """Put adapters into every layer of a model's encoder, in place; at first they change next to nothing.

    Args:
        model: as it was built.
        size: of the bottlenecks.
        after_attention: whether one stands behind attention's projection, too, and not only behind the feed-forward's.
        seed: of the new weights.

    Raises:
        SettingsError: the size is below 1, or it is not understood where this encoder's projections are.
    """
    if size < 1:
        raise SettingsError(f"adapters: a bottleneck is at least 1 wide; got size={size}")
    places = _places(model, read_outline(model))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        _adapt(model, [path for pair in places for path in (pair if after_attention else pair[1:])], size)


def _adapt(model: nn.Module, paths: Sequence[str], size: int) -> None:
    for path in paths:
        parent, _, name = path.rpartition(".")
        projection: Any = model.get_submodule(path)
        setattr(model.get_submodule(parent), name, Adapted(projection, size))


def _places(model: nn.Module, outline: Outline) -> list[tuple[str, str]]:
    """Of each layer, the paths of attention's projection and of the feed-forward's.

    The feed-forward's is the layer's last linear layer to act, and reads something wider or narrower than hidden
    states. Attention's is the last to act, hidden states to hidden states, before the one that the feed-forward begins
    with, which gives something else than hidden states from hidden states.
    """
    layers = layer_modules(model, outline)
    hidden = int(model.config.hidden_size)  # type: ignore[union-attr,arg-type]
    found = []
    for layer, calls in zip(layers, _calls(model, layers), strict=True):
        shapes = [(linear.in_features, linear.out_features) for _, linear in calls]
        begins = [i for i, (read, given) in enumerate(shapes) if read == hidden != given]
        before = [i for i, shape in enumerate(shapes[: begins[-1]]) if shape == (hidden, hidden)] if begins else []
        ends = bool(shapes) and shapes[-1][1] == hidden != shapes[-1][0]
        known = before and ends and begins[-1] == len(shapes) - 2 and before[-1] == begins[-1] - 1
        pair = (calls[before[-1]][0], calls[-1][0]) if known else ()
        if len(pair) != 2 or any(sum(path == other for other, _ in calls) != 1 for path in pair):
            raise SettingsError(
                f"adapters: in {type(layer).__name__} it is not understood which linear layers end attention and the "
                "feed-forward. Choose lora, last-k or full"
            )
        found.append(pair)
    if len({tuple(path.split(".", outline.stack.count(".") + 2)[-1] for path in pair) for pair in found}) > 1:
        raise SettingsError("adapters: the layers of this encoder are not alike. Choose lora, last-k or full")
    return found


def _calls(model: nn.Module, layers: nn.ModuleList) -> list[list[tuple[str, nn.Linear]]]:
    """The linear layers of each layer in the order in which they act, with their paths; the model is left as it was."""
    calls: list[list[tuple[str, nn.Linear]]] = [[] for _ in layers]
    paths = {module: path for path, module in model.named_modules()}
    hooks = []
    for layer, seen in zip(layers, calls, strict=True):
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                hooks.append(module.register_forward_hook(lambda m, *_, seen=seen: seen.append((paths[m], m))))
    modes = {module: module.training for module in model.modules()}
    words: Any = model.get_input_embeddings()  # type: ignore[operator]
    ids = torch.arange(PROBE_TOKENS, device=words.weight.device).remainder(words.num_embeddings).unsqueeze(0)
    try:
        with torch.no_grad():
            model.eval()(input_ids=ids)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return calls


class AdaptedConfig(transformers.PretrainedConfig):
    """Configuration of a model with adapters.

    Attributes:
        model: the configuration of the model without them, as a dictionary with its ``model_type``.
        kind: "sequence" or "token".
        size: of the bottlenecks.
        places: paths of the linear layers that have one behind them.
    """

    model_type = FAMILY

    def __init__(
        self,
        model: dict[str, Any] | None = None,
        *,
        kind: str = "sequence",
        size: int = 64,
        places: Sequence[str] = (),
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.model = model or {"model_type": "bert"}
        self.kind, self.size, self.places = kind, size, list(places)


class _AdaptedModel(transformers.PreTrainedModel):
    """A model of any family's class, or of ours, with adapters in its encoder."""

    config_class = AdaptedConfig
    base_model_prefix = "model"
    _supports_sdpa = True

    def __init__(self, config: AdaptedConfig) -> None:
        super().__init__(config)
        inner = dict(config.model)
        of_family = transformers.AutoConfig.for_model(inner.pop("model_type"), **inner)
        self.model = _AUTO[config.kind].from_config(of_family)
        _adapt(self.model, config.places, config.size)
        self.num_labels = int(config.num_labels or 0)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table of token embeddings."""
        return self.model.get_input_embeddings()

    def forward(
        self, input_ids: torch.Tensor | None = None, attention_mask: torch.Tensor | None = None, **inputs: Any
    ) -> Any:
        """What the model inside gives.

        Args:
            input_ids: token ids, (batch, tokens), integers.
            attention_mask: 1 for real tokens and 0 for padding, (batch, tokens); None where all are real.
            inputs: what else the tokenizer gave.
        """
        return self.model(input_ids=input_ids, attention_mask=attention_mask, **inputs)


class AdaptedForSequenceClassification(_AdaptedModel):
    """One label a text."""


class AdaptedForTokenClassification(_AdaptedModel):
    """One tag a token."""


def as_adapted(model: nn.Module) -> nn.Module:
    """A model with adapters in a class that can be saved and loaded.

    Args:
        model: with adapters; left as it is.
    """
    places = [path for path, module in model.named_modules() if isinstance(module, Adapted)]
    inner: Any = model.config
    told = {name: value for name, value in inner.to_dict().items() if name not in ("architectures", "_name_or_path")}
    tokens = type(model).__name__.endswith("ForTokenClassification")
    config = AdaptedConfig(
        {**told, "model_type": inner.model_type},
        kind="token" if tokens else "sequence",
        size=model.get_submodule(places[0]).adapter_down.out_features,  # type: ignore[union-attr,arg-type]
        places=places,
        id2label=inner.id2label,
        label2id=inner.label2id,
        problem_type=inner.problem_type,
        pad_token_id=inner.pad_token_id,
    )
    made = AdaptedForTokenClassification if tokens else AdaptedForSequenceClassification
    with torch.random.fork_rng(devices=[]), quiet():
        adapted = made(config)
    adapted.model.load_state_dict(model.state_dict())
    return adapted.eval()


transformers.AutoConfig.register(FAMILY, AdaptedConfig, exist_ok=True)
transformers.AutoModelForSequenceClassification.register(AdaptedConfig, AdaptedForSequenceClassification, exist_ok=True)
transformers.AutoModelForTokenClassification.register(AdaptedConfig, AdaptedForTokenClassification, exist_ok=True)
