"""Heads that no family's own class has, on the mean, the first token or each token, of one or several layers.

They are saved under a model type of their own. Importing this module teaches transformers that type; without it,
transformers refuses such a folder aloud instead of loading it as something else with other logits.
"""

import inspect
from typing import Any

import torch
import transformers
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

from unfreeze.encoders.families import DROPOUT_NAMES
from unfreeze.encoders.head_networks import BiLstm, Hidden, LayerMix
from unfreeze.encoders.head_settings import HeadSettings

_NOT_THE_ENCODERS = ("architectures", "id2label", "label2id", "problem_type", "dtype", "torch_dtype", "_name_or_path")


_NETWORKS: dict[str, type[Hidden] | type[BiLstm]] = {"mlp": Hidden, "bilstm": BiLstm}


class PooledConfig(transformers.PretrainedConfig):
    """Configuration of an encoder under a pooled head.

    Attributes:
        encoder: the encoder's own configuration, as a dictionary with its ``model_type``.
        pooling: "first", "mean" or "tokens".
        layers: how many of the last layers the head reads.
        mixed: whether it reads a learned mix of them, not all side by side.
        network: between what is read and the classifier: "linear" for nothing, "mlp" or "bilstm".
        kind: "sequence" or "token".
        head_dropout: probability of dropout on what is read, and before the classifier.
        hidden_size: of the encoder, numbers a token and layer.
    """

    model_type = "unfreeze-encoder"

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        *,
        pooling: str = "mean",
        layers: int = 1,
        kind: str = "sequence",
        head_dropout: float = 0.1,
        **others: Any,
    ) -> None:
        self.mixed = bool(others.pop("mixed", False))
        self.network = str(others.pop("network", "linear"))
        super().__init__(**others)
        self.encoder = encoder or {"model_type": "bert"}
        self.pooling = pooling
        self.layers = layers
        self.kind = kind
        self.head_dropout = head_dropout
        self.hidden_size = encoder_config(self).hidden_size


def pooled_config(encoder: transformers.PretrainedConfig, head: HeadSettings, *, kind: str) -> PooledConfig:
    """The configuration of a pooled head over an encoder's configuration.

    Args:
        encoder: the encoder's configuration; its labels and its origin on disk are left out.
        head: a pooling other than "standard".
        kind: "sequence" or "token".
    """
    inner = {key: value for key, value in encoder.to_dict().items() if key not in _NOT_THE_ENCODERS}
    named = [getattr(encoder, name, None) for name in DROPOUT_NAMES]
    dropout = next((float(value) for value in named if isinstance(value, int | float)), 0.0)
    config = PooledConfig(
        {**inner, "model_type": encoder.model_type},
        pooling=head.pooling,
        layers=head.layers,
        mixed=head.mixed,
        network=head.network,
        kind=kind,
        head_dropout=dropout,
    )
    config.initializer_range = getattr(encoder, "initializer_range", 0.02)
    config.pad_token_id = encoder.pad_token_id
    return config


def encoder_config(config: PooledConfig) -> transformers.PretrainedConfig:
    """The encoder's own configuration, rebuilt from the dictionary inside."""
    inner = dict(config.encoder)
    return transformers.AutoConfig.for_model(inner.pop("model_type"), **inner)


class _Pooled(transformers.PreTrainedModel):
    """An encoder, its last hidden states side by side or mixed, dropout, perhaps a network, one linear classifier."""

    config_class = PooledConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True

    def __init__(self, config: PooledConfig) -> None:
        super().__init__(config)
        self.num_labels = int(config.num_labels or 0)
        self.encoder = _bare_encoder(encoder_config(config))
        self.mix = LayerMix(config.layers) if config.mixed else None
        self.dropout = nn.Dropout(config.head_dropout)
        width = config.hidden_size * (1 if config.mixed else config.layers)
        self.network: Hidden | BiLstm | None = None
        if config.network != "linear":
            self.network = _NETWORKS[config.network](width, hidden=config.hidden_size, dropout=config.head_dropout)
            width = self.network.width
        self.classifier = nn.Linear(width, self.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table of token embeddings."""
        return self.encoder.get_input_embeddings()

    def _states(self, inputs: dict[str, Any]) -> torch.Tensor:
        """The last ``layers`` hidden states side by side, the topmost first: (batch, tokens, layers · hidden).

        Mixed, they are one: (batch, tokens, hidden).
        """
        layers = self.config.layers
        outputs = self.encoder(**inputs, output_hidden_states=layers > 1, return_dict=True)
        below = () if layers == 1 else outputs.hidden_states[-layers:-1]
        states = (outputs.last_hidden_state, *reversed(below))
        return torch.cat(states, dim=-1) if self.mix is None else self.mix(states)

    def _scores(self, read: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Logits from what is read, (…, width) to (…, labels)."""
        read = self.dropout(read)
        return self.classifier(read if self.network is None else self.network(read, attention_mask))


class PooledForSequenceClassification(_Pooled):
    """One label a text, from the first token or from the mean over the real tokens."""

    def forward(
        self, input_ids: torch.Tensor | None = None, attention_mask: torch.Tensor | None = None, **inputs: Any
    ) -> SequenceClassifierOutput:
        """Score each label.

        Args:
            input_ids: token ids, (batch, tokens), integers.
            attention_mask: 1 for real tokens and 0 for padding, (batch, tokens); None where all are real.
            inputs: what else the tokenizer gave, for the encoder.

        Returns:
            ``logits``, (batch, labels), float.
        """
        states = self._states({"input_ids": input_ids, "attention_mask": attention_mask, **inputs})
        pooled = states[:, 0] if self.config.pooling == "first" else _mean(states, attention_mask)
        return SequenceClassifierOutput(logits=self._scores(pooled, attention_mask))


class PooledForTokenClassification(_Pooled):
    """One tag a token."""

    def forward(
        self, input_ids: torch.Tensor | None = None, attention_mask: torch.Tensor | None = None, **inputs: Any
    ) -> TokenClassifierOutput:
        """Score each tag for each token.

        Args:
            input_ids: token ids, (batch, tokens), integers.
            attention_mask: 1 for real tokens and 0 for padding, (batch, tokens); None where all are real.
            inputs: what else the tokenizer gave, for the encoder.

        Returns:
            ``logits``, (batch, tokens, tags), float.
        """
        states = self._states({"input_ids": input_ids, "attention_mask": attention_mask, **inputs})
        return TokenClassifierOutput(logits=self._scores(states, attention_mask))


def _mean(states: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    if attention_mask is None:
        return states.mean(dim=1)
    real = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)


def _bare_encoder(config: transformers.PretrainedConfig) -> transformers.PreTrainedModel:
    """The encoder without the pooler of its own, where its class lets it be left out: nothing would read it."""
    families: Any = transformers.AutoModel._model_mapping
    optional = "add_pooling_layer" in inspect.signature(families[type(config)]).parameters
    return transformers.AutoModel.from_config(config, **({"add_pooling_layer": False} if optional else {}))


transformers.AutoConfig.register(PooledConfig.model_type, PooledConfig, exist_ok=True)
transformers.AutoModelForSequenceClassification.register(PooledConfig, PooledForSequenceClassification, exist_ok=True)
transformers.AutoModelForTokenClassification.register(PooledConfig, PooledForTokenClassification, exist_ok=True)
