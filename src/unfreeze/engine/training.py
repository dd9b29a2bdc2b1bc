"""THE loop: every strategy and every task is trained here."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from unfreeze.encoders.outline import Outline
from unfreeze.engine.anchors import Anchors, anchored_names
from unfreeze.engine.batches import MOST_TOKENS, in_turn, order_of
from unfreeze.engine.checkpoints import Checkpoints
from unfreeze.engine.contrastive import Contrastive
from unfreeze.engine.dropout import Dropout
from unfreeze.engine.embedding_rows import EmbeddingRows
from unfreeze.engine.gates import constant_logits, decided, shut
from unfreeze.engine.gradients import BatchGradients, token_ids
from unfreeze.engine.loss import loss_for
from unfreeze.engine.masked_language import MaskedLanguage
from unfreeze.engine.optimizer import build_optimizer, set_rates
from unfreeze.engine.prediction import logits_of, summed_loss
from unfreeze.engine.prefix import PrefixMemory, Start
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.settings import TrainingSettings
from unfreeze.engine.stages import enter_stage
from unfreeze.engine.stopping import is_better, is_given_up
from unfreeze.errors import Interrupted
from unfreeze.plan import Plan, Stage
from unfreeze.tasks import Feature


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What one run learns from.

    Attributes:
        features: all features of the comparison.
        train: places of the training features in that list.
        validation: places of the validation features; empty to train for ``stop_after`` epochs without looking.
        score: the primary metric of the validation features' logits, higher is better.
        memory: hidden states of these features that frozen prefixes share; None to run the model whole.
        unlabelled: further features, which stages that hide words learn from, too: as many a step as training features.
    """

    features: Sequence[Feature]
    train: Sequence[int]
    validation: Sequence[int]
    score: Callable[[list[np.ndarray]], float]
    memory: PrefixMemory | None = None
    unlabelled: Sequence[Feature] = ()


@dataclass(slots=True)
class Epoch:
    """What one epoch gave: a row of the learning curve.

    The training loss is the one that is trained on, in training mode; the validation loss is plain cross entropy
    whatever the settings, so that it can be compared between them.
    """

    epoch: int
    step: int
    train_loss: float
    validation_loss: float | None
    score: float | None


@dataclass(slots=True)
class State:
    """Where a run stands; all of it goes into a checkpoint.

    Attributes:
        epoch: passes completed.
        batch: steps completed in the pass under way.
        loss_sum: of the pass under way, over its targets so far.
        targets: their number, or the sum of their weights.
        best_epoch: the number of epochs after which the weights were best, 0 before the first validation.
        curve: a row for each completed epoch.
        seconds: wall time spent training and validating so far.
        diverged: why the run was stopped, if it was.
        way: how its batches are computed, see ``way_of_batching``.
        most_tokens: of one part of a batch; less than ``MOST_TOKENS`` where memory was short.
        stage: the one that the run came to, counted from 0.
        gates: what was decided where a stage has a gate, see ``decided``.
        masked: where something is masked, how well that was predicted on the validation features "before" training and
            "after" the last stage that masks, see ``MaskedLanguage.measured``.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    targets: float = 0
    best_epoch: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    diverged: str | None = None
    way: str = ""
    most_tokens: int = MOST_TOKENS
    stage: int = 0
    gates: list[dict[str, Any]] = field(default_factory=list)
    masked: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Watch:
    """How a run reports, and how it is told to stop.

    Attributes:
        progress: called after each step with the fraction of the schedule done, in [0, 1].
        scored: called after each epoch with its row.
        stop: asked before each step; True stops the run with a checkpoint.
        checkpoint_seconds: a checkpoint is written at the first step boundary after so many seconds.
    """

    progress: Callable[[float], None] = lambda _: None
    scored: Callable[[Epoch], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    checkpoint_seconds: float = 60.0

    def share(self, number: int, *, of: int) -> "Watch":
        """The watch of one of several things that are done one after another, numbered from 0."""
        return replace(self, progress=lambda fraction: self.progress((number + fraction) / of))


class Run:
    """One training run of one model under one plan.

    Args:
        model: in float32, on the runtime's device.
        outline: its parts.
        plan: who learns, and when.
        settings: how.
        data: from what.
        runtime: how to compute.
        checkpoints: where to keep the run; None to keep nothing.
    """

    def __init__(
        self,
        model: nn.Module,
        outline: Outline,
        *,
        plan: Plan,
        settings: TrainingSettings,
        data: TrainingData,
        runtime: Runtime,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self._model, self._outline, self._plan, self._settings = model, outline, plan, settings
        self._data, self._runtime, self._checkpoints = data, runtime, checkpoints
        self._memory = data.memory if plan.encoder_weights == "pretrained" else None
        self._dropout = Dropout(model, seed=settings.seed)
        shown = [data.features[place] for place in data.train]
        self._classes = int(model.config.num_labels)  # type: ignore[union-attr,arg-type]
        self._loss = loss_for(settings, targets=_targets_of(shown).to(runtime.device), classes=self._classes)
        rows = EmbeddingRows(None)  # to a masked-language-model head the whole table is tied
        if plan.masking is None:
            pad = int(model.config.pad_token_id or 0)  # type: ignore[union-attr,arg-type]
            rows = EmbeddingRows(model, shown=token_ids(shown, pad=pad, device=runtime.device))
        usual: Any = {"runtime": runtime, "dropout": self._dropout}
        self._gradients = BatchGradients(model, outline, **usual, rows=rows, loss=self._loss)
        self._masked = plan.masking and MaskedLanguage(
            model, outline, masking=plan.masking, seed=settings.seed, **usual
        )
        self._contrastive = Contrastive(model, outline, rows=self._gradients.rows, **usual)
        self._batched = [self._gradients, *(one.gradients for one in (self._masked, self._contrastive) if one)]
        anchored = anchored_names(outline, plan, settings=settings)
        self._optimizer = build_optimizer(
            model, plan, settings=settings, instead=self._gradients.rows.instead, anchored=anchored
        )
        self._anchors = Anchors(self._optimizer)
        self._state, self._best = State(), dict[str, torch.Tensor]()
        self._stage: Stage | None = None
        self._depth = 0
        self._steps = settings.steps_per_epoch(len(data.train))
        self._total = self._steps * settings.num_train_epochs
        self._last = min(settings.num_train_epochs, settings.stop_after or settings.num_train_epochs)

    def run(self, watch: Watch | None = None) -> State:
        """Train to the end, or to the early stop, and leave the best weights in the model.

        Raises:
            Interrupted: ``watch.stop`` said so; a checkpoint is written first.
        """
        cuda = [torch.cuda.current_device()] if self._runtime.device == "cuda" else []
        # Every step seeds for itself, and the caller's random numbers go on where they were.
        with torch.random.fork_rng(devices=cuda), self._dropout.installed():
            return self._run(watch or Watch())

    def _run(self, watch: Watch) -> State:
        self._resume()
        self._state.way = self._gradients.way
        self._limit_batches()
        since = last = time.perf_counter()
        self._measure_masked("before")
        while not self._done():
            if watch.stop():
                self._save(time.perf_counter() - since)
                raise Interrupted("stopped; the same command goes on from here")
            self._enter_stage()
            if self._step():
                watch.progress(self._progress())
            if self._state.batch == self._steps:
                watch.scored(self._end_epoch())
            now = time.perf_counter()
            if now - last > watch.checkpoint_seconds and not self._state.diverged:
                self._save(now - since)
                since = last = time.perf_counter()
        self._restore_best()
        self._measure_masked("after")
        self._state.seconds += time.perf_counter() - since
        return self._state

    def _measure_masked(self, when: str) -> None:
        if self._masked and self._data.validation and when not in self._state.masked:
            known, features = (
                [self._data.features[p] for p in some] for some in (self._data.train, self._data.validation)
            )
            found = self._masked.measured([*known, *self._data.unlabelled], features)
            further = len(self._data.unlabelled) if self._plan.masking.reads_unlabelled else 0  # type: ignore[union-attr]
            read = (self._state.epoch * self._steps + self._state.batch) * self._settings.per_device_train_batch_size
            self._state.masked[when] = found | {"unlabelled": min(read, further)}

    def _done(self) -> bool:
        state = self._state
        if state.diverged or state.epoch >= self._last or self._is_shut():
            return True
        opened = math.ceil(self._plan.stages[-1].start * self._settings.num_train_epochs)
        opened = max(opened, self._settings.warm_epochs(self._steps))
        return is_given_up(state.epoch, state.best_epoch, patience=self._settings.patience, opened=opened)

    def _progress(self) -> float:
        """The fraction of the schedule that is done."""
        return (self._state.epoch * self._steps + self._state.batch) / self._total

    def _is_shut(self) -> bool:
        """Whether a gate that training has reached stays shut; each is asked once, and what it says is kept.

        Without validation rows none is asked: how long to train was decided where there were some.
        """
        asked, gates = {gate["stage"] for gate in self._state.gates}, self._state.gates
        for index, stage in enumerate(self._plan.stages if self._data.validation else ()):
            if stage.gate is None or stage.start > self._progress() or index in asked or shut(gates):
                continue
            best = self._state.best_epoch
            score = self._state.curve[best - 1]["score"] if best else None
            shown = [self._data.features[place] for place in self._data.train]
            validated = [self._data.features[place] for place in self._data.validation]
            floor = self._data.score(constant_logits(shown, validated, classes=self._classes))
            rows = len({feature.example for feature in shown})
            gates.append(decided(self._plan, index, outline=self._outline, score=score, floor=floor, examples=rows))
        return shut(gates) is not None

    def _enter_stage(self) -> None:
        """Enter the stage that progress asks for; between steps only."""
        stage = self._plan.at(self._progress())
        if stage is self._stage:
            return
        if not any(later.objective.masked for later in self._plan.stages if later.start >= stage.start):
            self._measure_masked("after")  # what follows learns something else, and unlearns this
        self._stage, self._state.stage = stage, self._plan.stages.index(stage)
        enter_stage(self._model, self._outline, stage=stage)
        # A layer that has learned and is frozen again no longer gives what other trials remember of it.
        depth, *later = (
            self._outline.frozen_depth(self._plan.touched_by(s)) for s in self._plan.stages[self._state.stage :]
        )
        serves = self._memory is not None and self._memory.serves(
            self._model, self._outline, depth=depth, runtime=self._runtime, also=frozenset(later)
        )
        self._depth = depth if serves else 0

    def _start(self, places: Sequence[int]) -> Start | None:
        if self._memory is None or not self._depth:
            return None
        return Start(self._memory, self._outline, self._depth, places)

    def _step(self) -> bool:
        """One optimizer step over one batch; False, without a step, where the loss is not finite."""
        state, settings = self._state, self._settings
        order = order_of(len(self._data.train), seed=settings.seed, epoch=state.epoch)
        size = settings.per_device_train_batch_size
        places = [self._data.train[i] for i in order[state.batch * size : (state.batch + 1) * size]]
        features = [self._data.features[place] for place in places]
        step = state.epoch * self._steps + state.batch
        rate = settings.learning_rate * settings.rate_share(step, self._total)
        set_rates(self._optimizer, rate=rate, stage_index=self._state.stage)
        torch.manual_seed(int(np.random.SeedSequence([settings.seed, step]).generate_state(1)[0]))
        self._dropout.step = step
        loss = self._add_gradients(features, places, step)
        if not math.isfinite(loss):
            state.diverged = f"the loss became {loss} at step {step + 1} of {self._total}"
            return False
        learning = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        norm = float(nn.utils.clip_grad_norm_([p for p in learning if p.grad is not None], settings.max_grad_norm))
        if not math.isfinite(norm):
            state.diverged = f"the gradient became {norm} at step {step + 1} of {self._total}"
            return False
        self._anchors.pull()
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._gradients.rows.learn:
            self._gradients.rows.put_back()
        state.batch += 1
        return True

    def _add_gradients(self, features: Sequence[Feature], places: Sequence[int], step: int) -> float:
        """Add the gradients of what the stage minimises; the loss, of which only the task's is summed for the curve."""
        state = self._state
        while True:
            loss, summed, number = self._passes(features, places, step)
            short, state.most_tokens = state.most_tokens, min(one.most_tokens for one in self._batched)
            self._limit_batches()
            if state.most_tokens == short or self._stage.objective.passes == 1:  # type: ignore[union-attr]
                break
            self._optimizer.zero_grad()  # the pass that ran short of memory has thrown away what came before it
        state.loss_sum, state.targets = state.loss_sum + summed, state.targets + number
        return loss

    def _limit_batches(self) -> None:
        for one in self._batched:
            one.most_tokens = self._state.most_tokens

    def _passes(self, features: Sequence[Feature], places: Sequence[int], step: int) -> tuple[float, float, float]:
        """Every pass of a step: the loss, the part of it that is the task's, and the number of the task's targets."""
        objective, loss, summed, number = self._stage.objective, 0.0, 0.0, 0.0  # type: ignore[union-attr]
        if objective.task:
            number = self._loss.number(_targets_of(features))
            loss = summed = self._gradients.add(features, start=self._start(places), number=number / objective.task)
        if self._masked and objective.masking:
            size, masking = self._settings.per_device_train_batch_size, objective.masking
            further = self._data.unlabelled if masking.reads_unlabelled else ()
            beside = [further[i] for i in in_turn(len(further), step=step, size=size, seed=self._settings.seed)]
            texts = [*features, *beside]
            loss += self._masked.add(texts, step=step, weight=objective.masked, masking=masking)
        if objective.contrastive:
            loss += self._contrastive.add(features, start=self._start(places), weight=objective.contrastive)
        return loss, summed, number

    def _end_epoch(self) -> Epoch:
        """Validate, once the task has been taught at all, remember the best weights, begin the next pass."""
        state, places = self._state, self._data.validation
        trained = state.loss_sum / (state.targets or 1)
        row = Epoch(state.epoch + 1, (state.epoch + 1) * self._steps, trained, None, None)
        if places and self._plan.teaches_by(self._stage):  # type: ignore[arg-type]
            features = [self._data.features[place] for place in places]
            logits = logits_of(self._model, features, runtime=self._runtime, start=self._start(places))
            enter_stage(self._model, self._outline, stage=self._stage)  # type: ignore[arg-type]
            total, number = summed_loss(features, logits)
            row.score, row.validation_loss = self._data.score(logits), total / max(1, number)
            if not math.isfinite(row.validation_loss):
                state.diverged = f"the validation loss became {row.validation_loss} after epoch {row.epoch}"
                row.validation_loss = None
            elif self._is_best(row):
                state.best_epoch = row.epoch
                self._best = {n: p.detach().clone() for n, p in self._trained()}
        state.curve.append(asdict(row))
        state.epoch, state.batch, state.loss_sum, state.targets = state.epoch + 1, 0, 0.0, 0
        return row

    def _is_best(self, row: Epoch) -> bool:
        best = self._state.best_epoch
        than = self._state.curve[best - 1] if best else None
        return is_better(row.score or 0.0, row.validation_loss or 0.0, than=than)

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        ever = self._plan.ever_trainable
        return [(name, parameter) for name, parameter in self._model.named_parameters() if name in ever]

    def _restore_best(self) -> None:
        with torch.no_grad():
            for name, parameter in self._trained():
                if name in self._best:
                    parameter.copy_(self._best[name])

    def _save(self, seconds: float) -> None:
        self._state.seconds += seconds
        if self._checkpoints is not None:
            self._checkpoints.save(self._optimizer, state=asdict(self._state), best=self._best)

    def _resume(self) -> None:
        loaded = self._checkpoints.load(self._optimizer) if self._checkpoints else None
        if loaded is not None:
            self._state, self._best = State(**loaded[0]), loaded[1]
            self._gradients.rows.put_back()


def _targets_of(features: Sequence[Feature]) -> torch.Tensor:
    """The targets of some features, one after another, int64."""
    return torch.tensor([target for feature in features for target in feature.targets], dtype=torch.long)
