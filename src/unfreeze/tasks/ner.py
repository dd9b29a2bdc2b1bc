"""Named entities: which words are a person, a place, an organisation … scored by strict entity F1.

Source: strict matching (span and type) over IOB2 tags as in the CoNLL-2003 shared task (Tjong Kim Sang & De Meulder
2003, arXiv:cs/0306050); equal to ``seqeval``'s strict mode. Predictions are the most
probable valid IOB2 tags of a sentence, so they have no stray I- tag.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, ClassVar, Literal, Self

import numpy as np

from unfreeze.data.example import Example
from unfreeze.data.table import Table
from unfreeze.data.tags import repair_iob2, spans_of
from unfreeze.data.words import spans_from_tags
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import Encoder
from unfreeze.errors import DataError, Problem
from unfreeze.tasks._base import Columns, Encoded, Feature, Prediction, Reading, ratio, softmax, task
from unfreeze.tasks._decoding import most_probable_tags
from unfreeze.tasks._entity_tables import entity_columns, holds_entities, read_entities
from unfreeze.tasks._floors import token_linear
from unfreeze.tasks._windows import encode_words


@task
@dataclass(frozen=True, slots=True)
class NamedEntities:
    """Named entity recognition with one IOB2 tag a word.

    Attributes:
        labels: "O", then B- and I- of each type in alphabetical order, which is the order of the logits.
    """

    name: ClassVar[str] = "ner"
    kind: ClassVar[Literal["sequence", "token"]] = "token"
    metric: ClassVar[str] = "strict entity F1"
    labels: tuple[str, ...] = ()

    @property
    def types(self) -> tuple[str, ...]:
        """Entity types in alphabetical order."""
        return tuple(label[2:] for label in self.labels if label.startswith("B-"))

    @classmethod
    def recognises(cls, table: Table, columns: Columns) -> bool:
        """Whether there are words with tags, or a text with character spans."""
        return holds_entities(table, columns)

    @classmethod
    def label_candidates(cls, table: Table) -> tuple[str, ...]:
        """Columns with a usual name: of tags where there are words, and of character spans."""
        return entity_columns(table)

    @classmethod
    def read(cls, tables: Sequence[Table], columns: Columns, *, labelled: bool = True) -> Reading:
        """Sentences as examples; tags of any scheme become IOB2, character spans become tags."""
        return read_entities(tables, columns, labelled=labelled)

    @classmethod
    def learned_from(cls, examples: Sequence[Example]) -> Self:
        """The task with the entity types of these examples.

        Raises:
            DataError: there is no entity at all.
        """
        tags = set(chain.from_iterable(example.target or () for example in examples))
        types = sorted({tag[2:] for tag in tags if tag != "O"})
        if not types:
            file = examples[0].file if examples else "the training rows"
            problem = Problem(file, None, "found no entity; at least one is needed")
            raise DataError(problem, "Check the tags, or the spans.")
        return cls(("O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI")))

    def unseen(self, example: Example) -> str | None:
        """An entity type of the example that training has never shown, if there is one."""
        known = set(self.types)
        return next((tag[2:] for tag in example.target or () if tag != "O" and tag[2:] not in known), None)

    def stratum(self, example: Example) -> str:
        """The entity types of the sentence."""
        return "+".join(sorted({tag[2:] for tag in example.target or () if tag != "O"})) or "none"

    def heads(self, *, reads_layers: bool) -> tuple[HeadSettings, ...]:
        """The family's own linear head; for a frozen encoder also two on its last four layers.

        One is linear on all four side by side, the other a BiLSTM on a learned mix of them. With 300 sentences of
        wikigold, all-MiniLM-L6-v2 and no GPU that one was as good as training everything, and took as long (61 of 100
        on validation; 46 side by side, 48 for a hidden layer on the mix, 27 on the last layer): left out, a frozen
        encoder would lose for want of a head.
        """
        usual = (HeadSettings("standard"),)
        four = (HeadSettings("tokens", layers=4), HeadSettings("tokens", layers=4, mixed=True, network="bilstm"))
        return (*usual, *four) if reads_layers else usual

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> Encoded:
        """Features of at most the encoder's window; a longer sentence becomes several, and no word is lost."""
        return encode_words(examples, encoder, number={tag: i for i, tag in enumerate(self.labels)})

    def decode(
        self, examples: Sequence[Example], features: Sequence[Feature], *, logits: Sequence[np.ndarray]
    ) -> list[Prediction]:
        """The most probable valid IOB2 tags of all words together.

        A word that gave no token is "O", unless the words beside it say that an entity goes on through it.
        """
        unheard = np.array([0.5, *[0.5 / (len(self.labels) - 1)] * (len(self.labels) - 1)])
        said = [np.tile(unheard, (len(example.words), 1)) for example in examples]
        for feature, values in zip(features, logits, strict=True):
            places = [(place, word) for place, word in enumerate(feature.words) if word >= 0]
            if places:
                found = softmax(values[[place for place, _ in places]].astype(np.float64))
                said[feature.example][[word for _, word in places]] = found
        return [self._decoded(rows) for rows in said]

    def _decoded(self, probabilities: np.ndarray) -> Prediction:
        """One sentence's tags, and their mean probability."""
        path = most_probable_tags(probabilities, self.labels)
        sure = float(probabilities[np.arange(len(path)), path].mean()) if path else 1.0
        return Prediction(tuple(self.labels[number] for number in path), sure)

    def counts(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> np.ndarray:
        """True positives, predicted, gold entities; then the same for each type."""
        place = {kind: 3 + 3 * i for i, kind in enumerate(self.types)}
        out = np.zeros((len(examples), 3 + 3 * len(place)))
        for row, example, prediction in zip(out, examples, predictions, strict=True):
            gold, guess = _entities(example.target or ()), _entities(prediction.value)
            for column, entities in enumerate((gold & guess, guess, gold)):
                row[column] = len(entities)
                for kind, number in Counter(entity[2] for entity in entities).items():
                    if kind in place:
                        row[place[kind] + column] = number
        return out

    def score(self, sums: np.ndarray) -> np.ndarray:
        """Strict entity F1, micro-averaged."""
        return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])

    def details(self, sums: np.ndarray) -> dict[str, float]:
        """Strict entity F1, precision, recall, and F1 of each type."""
        hits, guessed, gold = sums[:3]
        out = {
            "strict entity F1": float(self.score(sums)),
            "precision": float(ratio(hits[None], guessed[None])[0]),
            "recall": float(ratio(hits[None], gold[None])[0]),
        }
        return out | {f"F1 {kind}": float(self.score(sums[3 + 3 * i : 6 + 3 * i])) for i, kind in enumerate(self.types)}

    def floors(
        self, train: Sequence[Example], examples: Sequence[Example], *, seed: int
    ) -> dict[str, list[Prediction]]:
        """No entity anywhere, and a linear model on the words themselves."""
        words = [example.words for example in examples]
        linear = token_linear(
            [e.words for e in train], [tuple(e.target or ()) for e in train], sentences=words, seed=seed
        )
        nothing = [Prediction(("O",) * len(sentence), 1.0) for sentence in words]
        return {"majority class": nothing, "words + linear": [Prediction(repair_iob2(tags), 1.0) for tags in linear]}

    def shown(self, example: Example, prediction: Prediction) -> dict[str, Any]:
        """Column ``entities``: start and end in characters, label, text."""
        found: Iterable[tuple[int, int, str]] = spans_from_tags(example.offsets, prediction.value)
        entities = [{"start": s, "end": e, "label": kind, "text": example.text[s:e]} for s, e, kind in found]
        return {"entities": entities, "probability": round(prediction.probability, 6)}


@lru_cache(maxsize=1 << 16)
def _entities(tags: tuple[str, ...]) -> frozenset[tuple[int, int, str]]:
    """Entities of one sentence; remembered, because the same tags come back epoch after epoch."""
    return frozenset(spans_of(tags))
