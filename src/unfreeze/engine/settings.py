"""How one model is trained: what a search may choose, under the names of transformers' ``TrainingArguments``."""

from dataclasses import dataclass
from math import ceil

from unfreeze.errors import SettingsError


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How one model is trained.

    Attributes:
        learning_rate: the highest rate, reached after warm-up.
        num_train_epochs: passes over the training features; the rate falls linearly to 0 at their end.
        per_device_train_batch_size: features an optimizer step.
        weight_decay: of matrices; biases and norms never decay.
        warmup_steps: steps of linear warm-up; a value below 1 is a share of all steps.
        max_grad_norm: gradients are scaled down to this norm.
        adam_epsilon: AdamW's epsilon.
        patience: epochs without a better validation score after which training stops.
        stop_after: epochs after which training stops though the schedule is longer; None for the whole schedule.
        seed: of the head's first weights, the order of the data and dropout.
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
    seed: int = 0

    def __post_init__(self) -> None:
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
                ("seed", "at least 0", self.seed >= 0),
            )
            if not right
        ]
        if wrong:
            raise SettingsError("; ".join(wrong))

    def steps_per_epoch(self, features: int) -> int:
        """Optimizer steps in one pass over so many features."""
        return max(1, ceil(features / self.per_device_train_batch_size))

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
