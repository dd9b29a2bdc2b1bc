"""A masked-language-model head beside a model: what predicts hidden words while it is trained, and is taken off after.

The head is the family's own. Where the encoder's folder brings its weights they are taken; where it does not, they are
new, and only the output layer, which is tied to the word embeddings, knows anything. Such a head has to be warmed up
before its gradient says anything to the encoder.

Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1 (task 1); tied: Press & Wolf 2017, arXiv:1608.05859.
"""

from types import SimpleNamespace
from typing import Any

import torch
import transformers
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from unfreeze.encoders.building import loaded_as, seeded
from unfreeze.encoders.loading import Encoder
from unfreeze.encoders.outline import AUXILIARY
from unfreeze.encoders.silence import quiet
from unfreeze.errors import EncoderError, SettingsError


class MaskedHead(nn.Module):
    """Hidden states to logits over the vocabulary.

    Attributes:
        is_new: whether its weights, but for the tied ones, were made anew.
        mask_token_id: what stands for a hidden token.
        usable: token numbers that may stand in the place of a hidden one, special ones left out, (tokens,), int64.

    Args:
        model: a masked-language model of transformers; its encoder is thrown away.
        words: the word embeddings that the output layer is tied to.
        encoder: its tokenizer.
        is_new: as above.
    """

    def __init__(self, model: nn.Module, words: nn.Module, *, encoder: Encoder, is_new: bool) -> None:
        super().__init__()
        self._given = _Given(words)
        setattr(model, model.base_model_prefix, self._given)  # type: ignore[arg-type]
        self.language_model = model
        if is_new or getattr(model.config, "tie_word_embeddings", True):
            self.language_model.get_output_embeddings().weight = words.weight  # type: ignore[operator]
        tokenizer: Any = encoder.tokenizer
        special = {*tokenizer.all_special_ids}
        self.is_new, self.mask_token_id = is_new, int(tokenizer.mask_token_id)
        self.usable = torch.tensor([i for i in sorted(tokenizer.get_vocab().values()) if i not in special])

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Logits of some tokens.

        Args:
            states: what the encoder's last layer gave for them, (tokens, hidden).

        Returns:
            (tokens, vocabulary).
        """
        self._given.states = states.unsqueeze(0)
        try:
            logits: torch.Tensor = self.language_model(input_ids=None).logits
        finally:
            self._given.states = None
        return logits.squeeze(0)


class _Given(nn.Module):
    """Stands where the encoder was, and gives what it is given; some heads also look at its word embeddings."""

    def __init__(self, words: nn.Module) -> None:
        super().__init__()
        self.states: torch.Tensor | None = None
        # No submodule: a module at several paths would lose what is tied to it in torch's functional_call.
        self.embeddings = SimpleNamespace(word_embeddings=words)

    def forward(self, *_: Any, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.states)


def attach_masked_head(model: nn.Module, encoder: Encoder, *, seed: int) -> None:
    """Put a masked-language-model head beside a model's own, as its submodule ``masked_head``.

    Args:
        model: made from ``encoder``; its word embeddings become tied to the head.
        encoder: whose head is wanted.
        seed: of the new weights; the global random state is left as it was.

    Raises:
        SettingsError: the encoder's tokenizer has no mask token.
        EncoderError: transformers has no masked-language model for the family, or its weights do not load.
    """
    if encoder.tokenizer.mask_token_id is None:
        raise SettingsError(f"{encoder.name}: its tokenizer has no mask token, so nothing can be masked and predicted")
    families: Any = transformers.AutoModelForMaskedLM._model_mapping
    if type(encoder.config) not in families:
        raise EncoderError(f"{encoder.name}: transformers has no masked-language model for {encoder.family!r}.")
    with seeded(seed), quiet():
        found, lacking = _load(encoder)
    words = model.get_input_embeddings()  # type: ignore[operator]
    head = MaskedHead(found, words, encoder=encoder, is_new=lacking)
    setattr(model, AUXILIARY, head.train(model.training))


def _load(encoder: Encoder) -> tuple[nn.Module, bool]:
    """The family's masked-language model, and whether its head's weights were made anew."""
    model, report = loaded_as(transformers.AutoModelForMaskedLM, encoder)
    base = f"{model.base_model_prefix}."
    return model, any(not name.startswith(base) for name in report["missing_keys"])


def masked_head_of(model: nn.Module) -> MaskedHead | None:
    """The head that was attached, None where there is none."""
    head = getattr(model, AUXILIARY, None)
    return head if isinstance(head, MaskedHead) else None


def detach_masked_head(model: nn.Module) -> None:
    """Take the head off again; a model without one is left as it is."""
    if masked_head_of(model) is not None:
        delattr(model, AUXILIARY)
