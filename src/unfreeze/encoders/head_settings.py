"""What the head reads from the encoder: a setting that every arm chooses on validation."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from unfreeze.errors import SettingsError, UnknownName

Pooling = Literal["standard", "first", "mean", "tokens"]


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """What the head reads from the encoder.

    Attributes:
        pooling: "standard" is the head of the family's own class; the others are one linear layer on the hidden state
            of the first token, on the mean over the real tokens, or on each token ("tokens").
        layers: how many of the last layers it reads, side by side; the standard head reads the last one.

    Raises:
        UnknownName: there is no such pooling.
        SettingsError: the number of layers is below 1, or the standard head is asked to read several.
    """

    pooling: Pooling = "standard"
    layers: int = 1

    def __post_init__(self) -> None:
        if self.pooling not in get_args(Pooling):
            raise UnknownName("pooling", self.pooling, get_args(Pooling))
        if self.layers < 1:
            raise SettingsError(f"a head reads at least one layer; got layers={self.layers}")
        if self.pooling == "standard" and self.layers != 1:
            raise SettingsError(
                f"the standard head reads the last layer only; got layers={self.layers}. "
                "Choose the pooling 'first', 'mean' or 'tokens' to read several layers."
            )

    def __str__(self) -> str:
        usual = HeadSettings()
        return ",".join(
            f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != getattr(usual, f.name)
        )
