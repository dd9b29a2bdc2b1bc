"""Head-only trials together: all that read the same numbers are trained in one computation and recorded like others."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from unfreeze.compare.material import Material
from unfreeze.compare.recording import prediction_seconds, publish_trial, scored
from unfreeze.compare.trials import Trained, Trial, learned_from, planned, record_of, tensor_digest
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.outline import Outline
from unfreeze.engine.gradients import is_out_of_memory
from unfreeze.engine.head_features import HeadTable, features_of, head_linear
from unfreeze.engine.heads import HeadRun, TrainedHead, train_heads
from unfreeze.engine.prefix import Start
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.training import Watch
from unfreeze.errors import UserError
from unfreeze.plan import Plan

KINDS = 3
"""Tables, each with its model, that are kept at a time: a strategy chooses among so many heads."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What trials of one head share.

    Attributes:
        model: the head's layer in it holds the trial's weights that was recorded last.
        outline: its parts.
        plan: who learns.
        linear: the layer.
        table: what the layer reads.
        prediction_seconds: to predict one example with the whole model.
        frozen: the digest of each tensor but the layer's, which are hashed once and not for every trial.
    """

    model: nn.Module
    outline: Outline
    plan: Plan
    linear: nn.Linear
    table: HeadTable
    prediction_seconds: float
    frozen: Mapping[str, str]

    def holding(self, head: TrainedHead) -> Trained:
        """The model with a trained head in it."""
        with torch.no_grad():
            self.linear.weight.copy_(head.weight)
            self.linear.bias.copy_(head.bias)
        return Trained(self.model, self.outline, self.plan, head.state)


@dataclass(frozen=True, slots=True)
class _Beginning:
    """Where a trial begins: its kind, and the first weights that its seed gives."""

    kind: _Kind
    weight: torch.Tensor
    bias: torch.Tensor


class HeadTrials:
    """The head-only trials of one comparison. What their layers read is remembered from call to call.

    Args:
        material: what all trials share.
        runtime: how to compute.
        limit_bytes: what one table may take; trials that would need a larger one are left to the loop.
            None for the material's.
    """

    def __init__(self, material: Material, *, runtime: Runtime, limit_bytes: int | None = None) -> None:
        self._material, self._runtime, self._limit = material, runtime, limit_bytes or material.limit_bytes
        self._kinds: dict[tuple[str, HeadSettings, Hashable], _Kind] = {}
        self._beginnings: dict[tuple[str, HeadSettings, int], _Beginning] = {}
        self._refused: set[tuple[str, HeadSettings]] = set()

    def run(
        self,
        trials: Sequence[Trial],
        *,
        folder_of: Callable[[Trial], Path],
        watch: Watch,
        kept: Callable[[Trial, Trained, dict[str, Any]], None] = lambda *_: None,
    ) -> dict[Trial, dict[str, Any]]:
        """Train and score those of some trials that only train a linear layer on frozen features.

        Args:
            trials: of any strategies.
            folder_of: where a trial's record goes; what is there is replaced.
            watch: how they report.
            kept: called with each one's model and its record, once that is in its folder.

        Returns:
            The records of these trials, as ``run_trial`` gives them, all of them published. The others are left out:
            the loop trains those, or says why it cannot.

        Raises:
            Interrupted: ``watch`` said so; trials that were under way together are lost together.
            StorageError: a folder cannot be written.
        """
        clock = _Clock()
        groups: dict[int, list[tuple[Trial, _Beginning]]] = {}
        for trial in trials:
            beginning = self._beginning(trial)
            if beginning is not None:
                groups.setdefault(id(beginning.kind), []).append((trial, beginning))
        records: dict[Trial, dict[str, Any]] = {}
        prepared = clock.lap(sum(map(len, groups.values())))
        for number, group in enumerate(groups.values()):
            heads = self._train([*group], watch.share(number, of=len(groups)))
            trained = clock.lap(len(group))
            for (trial, beginning), head in zip(group, heads, strict=True):
                head.state.seconds += prepared[0]
                record, outputs = self._record(trial, beginning.kind, head)
                recorded = clock.lap(1)
                record["seconds"], record["cpu_seconds"] = map(sum, zip(prepared, trained, recorded, strict=True))
                publish_trial(folder_of(trial), record=record, outputs=outputs)
                kept(
                    trial,
                    Trained(beginning.kind.model, beginning.kind.outline, beginning.kind.plan, head.state),
                    record,
                )
                records[trial] = record
        return records

    def train(self, trial: Trial, *, watch: Watch) -> Trained | None:
        """Train one trial, as ``run`` does, for a model to keep.

        Returns:
            The trained model, the next trial's from the next call on; None where the loop has to train it.

        Raises:
            Interrupted: ``watch`` said so.
        """
        beginning = self._beginning(trial)
        return None if beginning is None else beginning.kind.holding(self._train([(trial, beginning)], watch)[0])

    def _beginning(self, trial: Trial) -> _Beginning | None:
        """Where a trial begins; None where it trains more than a layer on fixed features, or cannot be trained."""
        name = (trial.strategy, trial.head, trial.settings.seed)
        if name[:2] in self._refused:  # whatever the seed
            return None
        if name not in self._beginnings:
            beginning = self._begin(trial)
            if beginning is None:
                self._refused.add(name[:2])
                return None
            self._beginnings[name] = beginning
        return self._beginnings[name]

    def _begin(self, trial: Trial) -> _Beginning | None:
        """Build the trial's model, unless it is known to be the same as another's but for the layer itself."""
        try:
            model, outline, plan = planned(self._material, trial, runtime=self._runtime)
        except UserError:
            return None
        path = head_linear(model, plan)
        if path is None:
            return None
        linear: Any = model.get_submodule(path)
        first = (linear.weight.detach().clone(), linear.bias.detach().clone())
        # A pooler that the encoder's folder lacks is new with every seed, and so is what the layer reads.
        own = {f"{path}.weight", f"{path}.bias"}
        frozen = {name: tensor_digest(tensor) for name, tensor in model.state_dict().items() if name not in own}
        key = (trial.strategy, trial.head, tuple(frozen.items()))
        if key not in self._kinds:
            table = self._table(model, outline, plan)
            if table is None:
                return None
            self._make_room()
            seconds = prediction_seconds(self._material, model, runtime=self._runtime)
            self._kinds[key] = _Kind(model, outline, plan, linear, table, seconds, frozen)
        return _Beginning(self._kinds[key], *first)

    def _make_room(self) -> None:
        """Forget the kind that came first, if there are as many as are kept."""
        if len(self._kinds) < KINDS:
            return
        oldest = self._kinds.pop(next(iter(self._kinds)))
        self._beginnings = {name: b for name, b in self._beginnings.items() if b.kind is not oldest}

    def _table(self, model: nn.Module, outline: Outline, plan: Plan) -> HeadTable | None:
        """What the layer reads of all features, from remembered hidden states where they serve."""
        memory, features, start = self._material.memory, self._material.features, None
        try:
            if memory.serves(model, outline, depth=outline.depth, runtime=self._runtime):
                start = Start(memory, outline, outline.depth, range(len(features)))
            return features_of(
                model,
                outline,
                plan=plan,
                features=features,
                runtime=self._runtime,
                start=start,
                limit_bytes=self._limit,
            )
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            return None  # the loop needs less

    def _train(self, group: Sequence[tuple[Trial, _Beginning]], watch: Watch) -> list[TrainedHead]:
        """Train trials of one kind."""
        runs = []
        for trial, beginning in group:
            fold = learned_from(self._material, trial)
            train, validation = (self._material.places(rows) for rows in (fold.train, fold.validation))
            score = self._scoring(fold.validation)
            runs.append(HeadRun(trial.settings, beginning.weight, beginning.bias, train, validation, score))
        return train_heads(group[0][1].kind.table, runs, runtime=self._runtime, watch=watch)

    def _scoring(self, examples: Sequence[int]) -> Callable[[list[np.ndarray]], float]:
        """The primary metric of some examples, from the logits of their features."""
        material = self._material
        return lambda logits: float(material.task.score(material.counts_of(examples, logits).sum(0)))

    def _record(self, trial: Trial, kind: _Kind, head: TrainedHead) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """A trained head's record but for the time it took, and its outputs."""
        table, weights = kind.table, kind.table.packed(head.weight, head.bias)

        def logits(examples: Sequence[int]) -> list[np.ndarray]:
            places = self._material.places(examples)
            return table.by_feature(table.logits(weights, table.rows[table.rows_of(places)]), places)

        scores, outputs = scored(self._material, trial.fold, logits=logits)
        record = record_of(trial, kind.holding(head), scores=scores, known=kind.frozen)
        return record | {
            "train_seconds": head.state.seconds,
            "predict_seconds_per_example": kind.prediction_seconds,
            "runtime": asdict(self._runtime),
        }, outputs


class _Clock:
    """Wall and processor seconds from lap to lap."""

    def __init__(self) -> None:
        self._last = (time.perf_counter(), time.process_time())

    def lap(self, among: int) -> tuple[float, float]:
        """What has passed since the last lap, divided evenly."""
        now, last = (time.perf_counter(), time.process_time()), self._last
        self._last = now
        return (now[0] - last[0]) / max(1, among), (now[1] - last[1]) / max(1, among)
