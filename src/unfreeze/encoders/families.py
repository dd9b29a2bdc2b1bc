"""What is peculiar to single families and cannot be read from a model's structure; each row with its reason.

Everything else is derived: positions lost to padding (``tokenizing.py``), layers, shared parts and tops
(``reading_outline.py``).
"""

from collections.abc import Mapping

PRETRAINED_HEAD: Mapping[str, tuple[str, ...]] = {
    # ModernBERT's classifiers begin with the transformation that its pretraining head ends with, under the same names;
    # its own from_pretrained loads it, and starting it anew would be a weaker ModernBERT than everybody else's.
    "modernbert": ("head.",),
}
"""Prefixes of head parameters that a checkpoint brings along, by ``config.model_type``."""

DROPOUT_NAMES = (
    "classifier_dropout",  # BERT, RoBERTa, ELECTRA, ModernBERT: None where the encoder's own is meant
    "seq_classif_dropout",  # DistilBERT
    "cls_dropout",  # DeBERTa
    "hidden_dropout_prob",
    "dropout",
)
"""Names under which families keep the dropout before a classifier; the first that holds a number counts."""
