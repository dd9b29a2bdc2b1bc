"""How one model is trained: what a search may choose, under the names of transformers' ``TrainingArguments``."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from unfreeze.errors import SettingsError

CHOICES: Mapping[str, tuple[str, ...]] = {
    "optim": ("adamw", "adam", "sgd"),
    "class_weights": ("none", "balanced"),
    "weight_decay_towards": ("zero", "pretrained"),
}
"""The settings that are words, each with the words it may be."""

SGD_RATES = 300.0
"""SGD's honest learning rates are so many times AdamW's.

AdamW moves each of n elements by about the rate, so all of them by rate * sqrt(n), whatever the gradient; SGD moves
them by rate * 10 (its momentum's) times a gradient whose norm is clipped at 1. The ratio that this gives lies between 5
for a head and 500 for MiniLM. Found on 240 messages of the demo corpus with the embedded encoder: `full` was best at
0.1 (of 0.001 to 0.3) where AdamW was best at 3e-4, `last-k` at 0.1, and a head did well from 0.03 to 3.
"""


def range_for(optim: str, rates: tuple[float, float] | None) -> tuple[float, float] | None:
    """The learning rates worth trying with an optimizer, where those with AdamW are known; at most 1.

    Args:
        optim: the optimizer.
        rates: lowest and highest with AdamW; None where nothing learns by gradient.
    """
    return (SGD_RATES * rates[0], min(1.0, SGD_RATES * rates[1])) if rates and optim == "sgd" else rates


def allowed(name: str) -> str:
    """The words that a setting may be, as a sentence lists them: "adamw, adam or sgd"."""
    *others, last = CHOICES[name]
    return f"{', '.join(others)} or {last}"


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How one model is trained.

    Attributes:
        learning_rate: the highest rate, reached after warm-up.
        num_train_epochs: passes over the training features; the rate falls linearly to 0 at their end.
        per_device_train_batch_size: features an optimizer step.
        weight_decay: of matrices; biases and norms never decay. With "adam" and "sgd" it is added to the gradient.
        warmup_steps: steps of linear warm-up; a value below 1 is a share of all steps.
        max_grad_norm: gradients are scaled down to this norm.
        adam_epsilon: of "adamw" and "adam".
        patience: epochs without a better validation score after which training stops.
        stop_after: epochs after which training stops though the schedule is longer; None for the whole schedule.
        temperature: what a calibrated plan divides the logits by where no validation rows are left to fit it on; None
            for nothing.
        seed: of the head's first weights, the order of the data and dropout.
        optim: the optimizer: "adamw", "adam", or "sgd" (with momentum 0.9, not Nesterov's).
        label_smoothing_factor: share of a target that is spread evenly over all classes, in [0, 1).
        class_weights: "none", or "balanced": the loss of a target counts in inverse proportion to its class's number of
            training targets.
        weight_decay_towards: where weights decay to: "zero", or "pretrained": the encoder's to where they started; the
            head, and what else was not pretrained, to zero either way.
    """

    learning_rate: float = 1e-4
    num_train_epochs: int = 8
    per_device_train_batch_size: int = 16
    weight_decay: float = 0.01
    warmup_steps: float = 0.1
    max_grad_norm: float = 1.0
    adam_epsilon: float = 1e-8
    patience: int = 3
    stop_after: int | None = None
    temperature: float | None = None
    seed: int = 0
    optim: str = "adamw"
    label_smoothing_factor: float = 0.0
    class_weights: str = "none"
    weight_decay_towards: str = "zero"

    def __post_init__(self) -> None:
        words = ((name, allowed(name), getattr(self, name) in known) for name, known in CHOICES.items())
        wrong = [
            f"{name} must be {expected}; got {getattr(self, name)}"
            for name, expected, right in (
                ("learning_rate", "above 0 and at most 1", 0 < self.learning_rate <= 1),
                ("num_train_epochs", "at least 1", self.num_train_epochs >= 1),
                ("per_device_train_batch_size", "at least 1", self.per_device_train_batch_size >= 1),
                ("weight_decay", "at least 0", self.weight_decay >= 0),
                ("warmup_steps", "at least 0", self.warmup_steps >= 0),
                ("max_grad_norm", "above 0", self.max_grad_norm > 0),
                ("adam_epsilon", "above 0", self.adam_epsilon > 0),
                ("patience", "at least 1", self.patience >= 1),
                ("stop_after", "at least 1, or None", self.stop_after is None or self.stop_after >= 1),
                ("temperature", "above 0, or None", self.temperature is None or self.temperature > 0),
                ("seed", "at least 0", self.seed >= 0),
                ("label_smoothing_factor", "at least 0 and below 1", 0 <= self.label_smoothing_factor < 1),
                *words,
            )
            if not right
        ]
        if wrong:
            raise SettingsError("; ".join(wrong))

    def steps_per_epoch(self, features: int) -> int:
        """Optimizer steps in one pass over so many features."""
        return max(1, ceil(features / self.per_device_train_batch_size))

    def warm_epochs(self, steps: int) -> int:
        """Epochs after which warm-up is over, of so many steps each."""
        warm = self.warmup_steps if self.warmup_steps >= 1 else self.warmup_steps * steps * self.num_train_epochs
        return ceil(warm / steps)

    def rate_share(self, step: int, total: int) -> float:
        """Share of the learning rate at a step, in [0, 1]: linear warm-up, then linear decay to 0.

        Args:
            step: steps already done.
            total: steps of the whole schedule.
        """
        warm = self.warmup_steps if self.warmup_steps >= 1 else self.warmup_steps * total
        if step < warm:
            return (step + 1) / (warm + 1)
        return max(0.0, (total - step) / max(1.0, total - warm))
