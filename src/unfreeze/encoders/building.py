"""From an encoder to a model that can learn: pretrained weights below, a new head above, all in float32."""

import copy
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import transformers
from safetensors import SafetensorError, safe_open
from torch import nn

from unfreeze.encoders.checking import weights_files
from unfreeze.encoders.families import PRETRAINED_HEAD
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import Encoder
from unfreeze.encoders.locating import Located
from unfreeze.encoders.pooled import PooledForSequenceClassification, PooledForTokenClassification, pooled_config
from unfreeze.encoders.silence import quiet
from unfreeze.errors import EncoderError, SettingsError

Kind = Literal["sequence", "token"]
_NUMBER = re.compile(r"\.\d+\.")
_STANDARD = {
    "sequence": transformers.AutoModelForSequenceClassification,
    "token": transformers.AutoModelForTokenClassification,
}
_POOLED = {"sequence": PooledForSequenceClassification, "token": PooledForTokenClassification}
_POOLINGS = {"sequence": ("standard", "first", "mean"), "token": ("standard", "tokens")}


def build_model(
    encoder: Encoder,
    head: HeadSettings,
    *,
    kind: Kind,
    labels: tuple[str, ...],
    weights: Literal["pretrained", "random"],
    seed: int,
) -> transformers.PreTrainedModel:
    """A model in float32 and evaluation mode whose new parameters are a function of the seed alone.

    The head is always new, even where the folder holds a classifier of the same shape: that one's labels meant
    something else. The global random state is left as it was.

    Args:
        encoder: to start from.
        head: what the head reads.
        kind: "sequence" for one label a text, "token" for one tag a token.
        labels: names of the outputs, in their order.
        weights: "pretrained" loads the encoder's, "random" makes all of them anew.
        seed: of the new parameters.

    Returns:
        The model; ``model(**batch).logits`` is (batch, labels) or (batch, tokens, labels).

    Raises:
        SettingsError: the head does not suit the kind, reads more layers than there are, or the labels repeat.
        EncoderError: the weights do not fit the configuration, or some are missing or not finite.
    """
    _check(encoder, head, kind, labels)
    with seeded(seed), quiet():
        model = _new_model(encoder, head, kind, labels)
        if weights == "pretrained":
            _load_encoder_weights(model, encoder)
    return model.eval()


def _check(encoder: Encoder, head: HeadSettings, kind: Kind, labels: tuple[str, ...]) -> None:
    if head.pooling not in _POOLINGS[kind]:
        raise SettingsError(
            f"the pooling {head.pooling!r} gives nothing for one label a {kind}; choose one of: "
            f"{', '.join(_POOLINGS[kind])}."
        )
    depth = getattr(encoder.config, "num_hidden_layers", head.layers)
    if head.layers > depth:
        raise SettingsError(f"the head shall read {head.layers} layers, but {encoder.name} has {depth}.")
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise SettingsError(f"a model tells at least two different labels apart; got {list(labels)}")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's generator within and restore it afterwards; generators of other devices are not touched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _new_model(
    encoder: Encoder, head: HeadSettings, kind: Kind, labels: tuple[str, ...]
) -> transformers.PreTrainedModel:
    if head.pooling == "standard":
        config = copy.deepcopy(encoder.config)
        _name_labels(config, kind, labels)
        families: Any = _STANDARD[kind]._model_mapping
        if type(config) not in families:
            raise EncoderError(
                f"{encoder.name}: transformers has no standard {kind} classifier for the family {encoder.family!r}. "
                "Choose another pooling, or an encoder like BERT."
            )
        return _STANDARD[kind].from_config(config, dtype=torch.float32, trust_remote_code=False)
    config = pooled_config(encoder.config, head, kind=kind)
    _name_labels(config, kind, labels)
    return _POOLED[kind]._from_config(config, dtype=torch.float32)


def _name_labels(config: transformers.PretrainedConfig, kind: Kind, labels: tuple[str, ...]) -> None:
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.problem_type = "single_label_classification" if kind == "sequence" else None
    config._name_or_path = ""  # a model that is handed over shall not tell folders of this machine
    config.architectures = None


def _load_encoder_weights(model: transformers.PreTrainedModel, encoder: Encoder) -> None:
    """Copy the folder's weights into the encoder inside; a pooler that the folder lacks keeps its new values."""
    base = model.base_model
    source = _pretrained(encoder)
    wanted = base.state_dict()
    lacking = sorted(name for name in wanted.keys() - source.keys() if not name.startswith("pooler."))
    if lacking:
        raise EncoderError(
            f"{encoder.name}: the weights lack {len(lacking)} parameters of {type(base).__name__}, such as "
            f"{lacking[0]!r}. The folder's config.json and weights do not belong together: fetch both again."
        )
    base.load_state_dict({name: source.get(name, own) for name, own in wanted.items()})
    _load_pretrained_head(model, encoder)
    broken = [name for name, parameter in model.named_parameters() if not torch.isfinite(parameter).all()]
    if broken:
        raise EncoderError(f"{encoder.name}: {broken[0]!r} holds values that are not finite numbers. Fetch it again.")


def loaded_as(kind: Any, encoder: Encoder) -> tuple[Any, dict[str, Any]]:
    """An encoder's folder as one of transformers' model classes, in float32, and what its loading reports.

    Args:
        kind: the class, such as ``transformers.AutoModel``.
        encoder: whose folder.

    Raises:
        EncoderError: the weights do not fit the configuration, or a file is damaged.
    """
    try:
        loaded, report = kind.from_pretrained(
            encoder.folder,
            config=copy.deepcopy(encoder.config),
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        raise EncoderError(
            f"{encoder.name}: the weights do not fit config.json ({type(error).__name__}). "
            "The two do not belong together, or a file is damaged: fetch both again."
        ) from error
    return loaded, report


def _pretrained(encoder: Encoder) -> dict[str, torch.Tensor]:
    """What the folder really holds of the encoder's weights, under the names of the bare encoder."""
    loaded, report = loaded_as(transformers.AutoModel, encoder)
    _refuse_left_over_layers(encoder, loaded, report["unexpected_keys"])
    return {name: value for name, value in loaded.state_dict().items() if name not in report["missing_keys"]}


def _refuse_left_over_layers(encoder: Encoder, loaded: nn.Module, unexpected: Iterable[str]) -> None:
    """Weights of layers that the configuration does not know would be dropped without a word."""
    shapes_of_names = {_NUMBER.sub(".#.", name) for name in loaded.state_dict()}
    prefix = f"{loaded.base_model_prefix}."
    numbered = (name for name in sorted(unexpected) if _NUMBER.search(name))
    left_over = [name for name in numbered if _NUMBER.sub(".#.", name.removeprefix(prefix)) in shapes_of_names]
    if left_over:
        raise EncoderError(
            f"{encoder.name}: the weights hold layers that config.json does not count, such as {left_over[0]!r}. "
            "The two do not belong together: fetch both again."
        )


def _load_pretrained_head(model: transformers.PreTrainedModel, encoder: Encoder) -> None:
    prefixes = PRETRAINED_HEAD.get(model.config.model_type, ())
    if not prefixes:
        return
    own = {name: value for name, value in model.state_dict().items() if name.startswith(prefixes)}
    for path in weights_files(Located(encoder.name, encoder.folder)):
        with safe_open(path, framework="pt") as stored:
            for name in own.keys() & set(stored.keys()):
                value = stored.get_tensor(name)
                if value.shape == own[name].shape:
                    own[name].copy_(value)
