"""What the head reads from the encoder, and what it is made of: a setting that every arm chooses on validation."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from unfreeze.errors import SettingsError, UnknownName

Pooling = Literal["standard", "first", "mean", "tokens"]
Network = Literal["linear", "mlp", "bilstm"]

MOST_WIDE = 1024
"""Numbers of a hidden layer at the most, however much it reads."""


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """What the head reads from the encoder, and what it is made of.

    Attributes:
        pooling: "standard" is the head of the family's own class; the others read the hidden state of the first token,
            the mean over the real tokens, or each token ("tokens").
        layers: how many of the last layers it reads; the standard head reads the last one.
        mixed: whether it reads a learned mix of these layers (ELMo's), and not all of them side by side.
        network: what scores the labels from what is read: one "linear" layer, an "mlp" with one hidden layer, or, for
            tokens, a "bilstm" of two layers.

    Raises:
        UnknownName: there is no such pooling, or no such network.
        SettingsError: the number of layers is below 1, one layer is to be mixed, only tokens have a BiLSTM, or the
            standard head is asked for anything of its own.
    """

    pooling: Pooling = "standard"
    layers: int = 1
    mixed: bool = False
    network: Network = "linear"

    def __post_init__(self) -> None:
        for what, value, known in (("pooling", self.pooling, Pooling), ("network", self.network, Network)):
            if value not in get_args(known):
                raise UnknownName(what, value, get_args(known))
        if self.layers < 1:
            raise SettingsError(f"a head reads at least one layer; got layers={self.layers}")
        if self.pooling == "standard" and (self.layers != 1 or self.mixed or self.network != "linear"):
            raise SettingsError(
                f"the standard head is one of the family's own that reads the last layer; got {self}. "
                "Choose the pooling 'first', 'mean' or 'tokens' to read several layers, or for another network."
            )
        if self.mixed and self.layers == 1:
            raise SettingsError("a mix is of several layers; got layers=1, mixed=True")
        if self.network == "bilstm" and self.pooling != "tokens":
            raise SettingsError(
                f"a BiLSTM reads token after token; it takes the pooling 'tokens', not {self.pooling!r}"
            )

    @property
    def is_linear(self) -> bool:
        """Whether it is one linear layer on what a frozen encoder gives: such heads are trained together."""
        return self.network == "linear" and not self.mixed

    def network_weights(self, hidden: int) -> int:
        """How many weights stand between what is read and the last linear layer.

        Args:
            hidden: of the encoder, numbers a token and layer.
        """
        read, half = hidden * (1 if self.mixed else self.layers), -(-hidden // 2)
        if self.network == "mlp":
            return (read + 1) * min(read, MOST_WIDE)
        if self.network == "bilstm":  # two layers, two directions, four gates: what comes in, what was, two biases
            return 8 * half * (read + half + 2) + 8 * half * (3 * half + 2)
        return 0

    def __str__(self) -> str:
        return ",".join(f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default)
