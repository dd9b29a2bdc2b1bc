"""Which examples belong together, so that they are resampled together: sentences of one document, rows of one group."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from unfreeze.data.example import Example


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Which examples belong together.

    Attributes:
        numbers: (examples,), int64; equal numbers belong together.
        noun: what one cluster is called, such as "document".
    """

    numbers: NDArray[np.int64]
    noun: str = "cluster"

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", np.asarray(self.numbers, dtype=np.int64))

    def of(self, kept: NDArray[np.bool_]) -> Self:
        """The same clusters of some of the examples."""
        return type(self)(self.numbers[kept], self.noun)

    @property
    def many(self) -> int:
        """Number of clusters."""
        return len(np.unique(self.numbers))


def clusters_of(examples: Sequence[Example]) -> Clusters | None:
    """Which of some examples belong together: those of one group where the user named groups, else of one document.

    Equal texts are not put together: where texts repeat in what was collected, they will repeat in what is to come.

    Args:
        examples: in the order in which they are scored.

    Returns:
        One cluster an example; None where each stands alone.
    """
    grouped = any(example.group is not None for example in examples)
    names = [example.group if grouped else example.document for example in examples]
    known: dict[str, int] = {}
    numbers = [len(names) + i if name is None else known.setdefault(name, len(known)) for i, name in enumerate(names)]
    if len(set(numbers)) == len(names):
        return None
    return Clusters(np.array(numbers), "group" if grouped else "document")
