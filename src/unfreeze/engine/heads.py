"""Heads together: linear heads on the same frozen features, trained side by side in one computation.

A head-only trial is a linear model on numbers that never change, and most of its time would go into calling a model,
autograd and an optimizer a thousand times for next to no arithmetic. Here all learning rates, weight decays, seeds and
folds take their steps together: what is read is gathered once for the runs that see the same batches, the gradient of
the cross entropy is written down instead of being recorded, and one optimizer steps all of them.

Who trains beside a run changes none of its bits: each product is the one that the run would make alone, and what is
done to all runs at once is one correctly rounded operation an element. So a comparison that was interrupted, and goes
on with fewer trials together, ends as it would have.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch

from unfreeze.engine.batches import order_of
from unfreeze.engine.dropout import pooled_mask
from unfreeze.engine.head_features import LINE, HeadTable
from unfreeze.engine.head_steps import HeadSteps
from unfreeze.engine.loss import loss_for
from unfreeze.engine.prediction import summed_loss
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.settings import TrainingSettings
from unfreeze.engine.stopping import is_better, is_given_up
from unfreeze.engine.training import Epoch, State, Watch
from unfreeze.errors import Interrupted
from unfreeze.tasks import IGNORED, Feature


@dataclass(frozen=True, slots=True)
class HeadRun:
    """One head to be trained.

    Attributes:
        settings: how, the seed among them.
        weight: first weights, (classes, width).
        bias: first biases, (classes,).
        train: places of the training features in the table.
        validation: places of the validation features; empty to train for ``stop_after`` epochs without looking.
        score: the primary metric of the validation features' logits, higher is better.
    """

    settings: TrainingSettings
    weight: torch.Tensor
    bias: torch.Tensor
    train: Sequence[int]
    validation: Sequence[int]
    score: Callable[[list[np.ndarray]], float]


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """What training one head gave: where its run stands, and its best weights."""

    state: State
    weight: torch.Tensor
    bias: torch.Tensor


def train_heads(
    table: HeadTable, runs: Sequence[HeadRun], *, runtime: Runtime, watch: Watch | None = None
) -> list[TrainedHead]:
    """Train heads side by side; each comes out as if it had been trained alone.

    The steps are those of ``Run``: the same batches, loss, optimizer, clipping, schedule, choice of the best epoch and
    early stopping, in float32 whatever the runtime's precision. Dropout is drawn for a run's seed and step alone.

    Args:
        table: what the heads read.
        runs: which heads, how.
        runtime: how to compute.
        watch: how the runs report; its checkpoints are not used, because a run takes seconds.

    Returns:
        In the order of the runs.

    Raises:
        Interrupted: ``watch.stop`` said so; nothing is kept.
    """
    told = _Told(watch or Watch(), runs)
    orders: dict[tuple[Any, ...], _Order] = {}
    heads = []
    for run in runs:
        settings = run.settings
        loss = (settings.label_smoothing_factor, settings.class_weights)
        key = (settings.seed, settings.per_device_train_batch_size, tuple(run.train), *loss)
        if key not in orders:
            orders[key] = _Order(table, run)
        heads.append(_Head(run, orders[key], table.packed(run.weight, run.bias)))
    blocks: dict[tuple[int, int, str], list[_Head]] = {}
    for order in orders.values():  # runs of one order stand side by side
        for head in (head for head in heads if head.order is order):
            blocks.setdefault((order.size, order.steps, head.run.settings.optim), []).append(head)
    with torch.no_grad(), Runtime(runtime.device, runtime.threads, "fp32").computing():
        for members in blocks.values():
            _Block(table, members, told).train()
    return [TrainedHead(head.state, *table.unpacked(head.best)) for head in heads]


class _Told:
    """What a watch is told of many runs at once: the share of all their steps."""

    def __init__(self, watch: Watch, runs: Sequence[HeadRun]) -> None:
        self.watch = watch
        self._done, self._all = 0, sum(_last_epoch(r.settings) * _steps(r) for r in runs)

    def stepped(self, steps: int) -> None:
        self._done += steps
        self.watch.progress(self._done / self._all)


def _last_epoch(settings: TrainingSettings) -> int:
    return min(settings.num_train_epochs, settings.stop_after or settings.num_train_epochs)


def _steps(run: HeadRun) -> int:
    return run.settings.steps_per_epoch(len(run.train))


class _Order:
    """The batches and the loss of one seed on one list of training features; runs that share it read the same numbers.

    Attributes:
        rows: of each batch of the epoch, the numbers of the rows that have a target.
        targets: of each batch, the targets of these rows.
        numbers: of each batch, what its summed loss is divided by; 0 where it has no target.
        expected: see ``Loss.expected``.
    """

    def __init__(self, table: HeadTable, run: HeadRun) -> None:
        self.seed, self.size, self.steps = run.settings.seed, run.settings.per_device_train_batch_size, _steps(run)
        self.rows: tuple[torch.Tensor, ...] = ()
        self.targets: tuple[torch.Tensor, ...] = ()
        self.numbers: tuple[float, ...] = ()
        classes = len(run.weight)
        self._loss = loss_for(run.settings, targets=table.targets[table.rows_of(run.train)], classes=classes)
        self.expected = self._loss.expected(classes, like=table.rows)
        self._table, self._train, self._epoch = table, np.asarray(run.train, dtype=np.int64), -1

    def begin(self, epoch: int) -> None:
        """Lay out the batches of an epoch, if they are not."""
        if epoch == self._epoch:
            return
        places = self._train[order_of(len(self._train), seed=self.seed, epoch=epoch)]
        rows = [self._table.rows_of(places[i : i + self.size]) for i in range(0, self.steps * self.size, self.size)]
        self.rows = tuple(some[self._table.targets[some] != IGNORED] for some in rows)
        self.targets = tuple(self._table.targets[some] for some in self.rows)
        self.numbers = tuple(self._loss.number(some) for some in self.targets)
        self._epoch = epoch


@dataclass(slots=True, eq=False)
class _Head:
    """A run under way.

    Attributes:
        run: which.
        order: its batches.
        best: its best weights so far, as the table packs them; its first ones before it is validated.
        state: where it stands.
    """

    run: HeadRun
    order: _Order
    best: torch.Tensor
    state: State = field(default_factory=State)

    @property
    def total(self) -> int:
        """Steps of the whole schedule."""
        return self.run.settings.num_train_epochs * self.order.steps

    def rates(self, epoch: int) -> list[float]:
        """The learning rates of an epoch's steps; past the end of the schedule 0."""
        settings, first = self.run.settings, epoch * self.order.steps
        return [settings.learning_rate * settings.rate_share(first + i, self.total) for i in range(self.order.steps)]

    def is_done(self) -> bool:
        """Whether to train no further."""
        state, settings = self.state, self.run.settings
        if state.diverged or state.epoch >= _last_epoch(settings):
            return True
        warm = settings.warm_epochs(self.order.steps)
        return is_given_up(state.epoch, state.best_epoch, patience=settings.patience, opened=warm)


@dataclass(frozen=True, slots=True)
class _Group:
    """The runs of one order: what each of them reads is gathered once. Views of the block's weights and gradients."""

    order: _Order
    weights: tuple[torch.Tensor, ...]
    gradients: tuple[torch.Tensor, ...]


class _Block:
    """Runs of one optimizer whose epochs have the same number of steps, so that they take them together.

    Args:
        table: what they read.
        heads: the runs; those of one order side by side.
        told: who hears of it.
    """

    def __init__(self, table: HeadTable, heads: list[_Head], told: _Told) -> None:
        self._table, self._heads, self._told = table, heads, told
        self._epoch, self._steps = 0, heads[0].order.steps
        self._weights = torch.stack([head.best for head in heads])
        self._optimizer = HeadSteps(heads[0].run.settings.optim, weights=self._weights, width=table.width)
        self._gradient = torch.zeros_like(self._weights)
        self._minus = self._weights.new_full((1, 1, 1), -1.0)
        self._seen: dict[tuple[int, ...], tuple[torch.Tensor, tuple[int, ...]]] = {}
        self._since = time.perf_counter()

    def train(self) -> None:
        """Until every run has ended."""
        while self._heads:
            self._arrange()
            for batch in range(self._steps):
                if self._told.watch.stop():
                    raise Interrupted("stopped; the same command goes on from here")
                self._step(batch)
                if not self._heads:  # all have diverged
                    return
            self._end_epoch()

    def _arrange(self) -> None:
        """What follows from the epoch and from which runs are left."""
        settings, like = [head.run.settings for head in self._heads], self._weights
        self._groups, begin = [], 0
        for order, some in groupby(self._heads, lambda head: head.order):
            order.begin(self._epoch)
            end = begin + len(list(some))
            self._groups.append(_Group(order, like[begin:end].unbind(), self._gradient[begin:end].unbind()))
            begin = end
        self._most = like.new_tensor([s.max_grad_norm for s in settings])
        self._optimizer.arrange(settings)
        self._rates = like.new_tensor([head.rates(self._epoch) for head in self._heads]).t()[:, :, None, None]
        self._numbers = like.new_tensor([[number or 1 for number in h.order.numbers] for h in self._heads]).t()

    def _step(self, batch: int) -> None:
        """One optimizer step of every run; a run whose loss or gradient is not finite ends before its step."""
        losses = [loss for group in self._groups for loss in self._differentiate(group, batch)]
        norms = torch.linalg.vector_norm(torch.linalg.vector_norm(self._gradient, dim=2), dim=1) / self._numbers[batch]
        left = []
        for i, (head, loss, norm) in enumerate(zip(self._heads, losses, norms.tolist(), strict=True)):
            if math.isfinite(loss + norm):
                left.append(i)
                head.state.batch += 1
                head.state.loss_sum += loss
                continue
            what = f"the gradient became {norm}" if math.isfinite(loss) else f"the loss became {loss}"
            head.state.diverged = f"{what} at step {self._epoch * self._steps + batch + 1} of {head.total}"
        if not left:
            self._keep(left)
            return
        if len(left) < len(self._heads):
            norms = norms[left]
            self._keep(left)
            self._arrange()
        share = (self._most / (norms + 1e-6)).clamp_(max=1.0) / self._numbers[batch]
        self._gradient.mul_(share[:, None, None])
        number = self._epoch * self._steps + batch + 1
        self._optimizer.step(self._weights, self._gradient, rates=self._rates[batch], number=number)
        self._told.stepped(len(left))

    def _differentiate(self, group: _Group, batch: int) -> list[float]:
        """Write the gradients of the summed loss of an order's runs; gives these losses.

        The gradient of the summed cross entropy by the logits is probability minus one at the target. Where the targets
        are smoothed or weighted, it is probability times the sum of what is expected, minus what is expected.
        """
        table, rows = self._table, group.order.rows[batch]
        read = torch.index_select(table.rows, 0, rows)
        if table.dropout:
            shape = (rows.shape[0], table.width)
            key, device = (group.order.seed, self._epoch * self._steps + batch), read.device.type
            mask = pooled_mask(math.prod(shape), key=key, p=table.dropout, dtype=read.dtype, device=device)
            read[:, : table.width].mul_(mask.view(shape))
        turned = read.t()
        logits = _aligned(len(group.weights), group.weights[0].shape[0], rows.shape[0], like=read)
        every = logits.unbind()
        for own, weights in zip(every, group.weights, strict=True):
            torch.log_softmax(torch.mm(weights, turned), 0, out=own)
        if group.order.expected is None:
            losses = self._turn_plain(logits, group.order.targets[batch])
        else:
            losses = _turn(every, torch.index_select(group.order.expected, 1, group.order.targets[batch]))
        for own, gradient in zip(every, group.gradients, strict=True):
            torch.mm(own, read, out=gradient)
        return [-loss for loss in losses]

    def _turn_plain(self, logits: torch.Tensor, targets: torch.Tensor) -> list[float]:
        """Make each run's log probabilities the gradient of its summed cross entropy; gives minus these losses."""
        every = logits.unbind()
        there = targets.expand(len(every), 1, -1)
        losses: list[float] = logits.gather(1, there).sum((1, 2)).tolist()
        for own in every:  # one by one: where an element stands in a tensor may change its exponential's last bit
            own.exp_()
        logits.scatter_add_(1, there, self._minus.expand_as(there))
        return losses

    def _keep(self, left: Sequence[int]) -> None:
        """Go on with some of the runs; the others end, with their best weights or, without validation, the last."""
        self._share_seconds()
        for i, head in enumerate(self._heads):
            if i in left:
                continue
            if not head.state.best_epoch:
                head.best = self._weights[i].clone()
            taken = head.state.epoch * self._steps + head.state.batch
            self._told.stepped(_last_epoch(head.run.settings) * self._steps - taken)
        self._heads = [self._heads[i] for i in left]
        self._weights, self._gradient = self._weights[left], self._gradient[left]
        self._optimizer.keep(left)

    def _share_seconds(self) -> None:
        """What has passed, divided evenly among the runs."""
        now = time.perf_counter()
        for head in self._heads:
            head.state.seconds += (now - self._since) / len(self._heads)
        self._since = now

    def _end_epoch(self) -> None:
        """Validate every run, and go on with those that are not done."""
        for weights, head in zip(self._weights, self._heads, strict=True):
            self._told.watch.scored(self._validate(weights, head))
        self._epoch += 1
        left = [i for i, head in enumerate(self._heads) if not head.is_done()]
        if len(left) < len(self._heads):
            self._keep(left)

    def _validate(self, weights: torch.Tensor, head: _Head) -> Epoch:
        """End a run's epoch: its row of the learning curve."""
        state, run = head.state, head.run
        trained = state.loss_sum / (sum(head.order.numbers) or 1)
        row = Epoch(state.epoch + 1, (state.epoch + 1) * self._steps, trained, None, None)
        if len(run.validation):
            read, expected = self._validated(tuple(run.validation))
            logits = self._table.logits(weights, read)
            row.score = run.score(self._table.by_feature(logits, run.validation))
            row.validation_loss = _mean_loss(logits, expected)
            best = state.curve[state.best_epoch - 1] if state.best_epoch else None
            if not math.isfinite(row.validation_loss):
                state.diverged = f"the validation loss became {row.validation_loss} after epoch {row.epoch}"
                row.validation_loss = None
            elif is_better(row.score, row.validation_loss, than=best):
                state.best_epoch = row.epoch
                head.best = weights.clone()
        state.curve.append(asdict(row))
        state.epoch, state.batch, state.loss_sum = state.epoch + 1, 0, 0.0
        return row

    def _validated(self, places: tuple[int, ...]) -> tuple[torch.Tensor, tuple[int, ...]]:
        """What is read of some features, and their targets; remembered until others are asked for."""
        if places not in self._seen:
            rows = self._table.rows_of(places)
            self._seen = {places: (self._table.rows[rows], tuple(self._table.targets[rows].tolist()))}
        return self._seen[places]


def _mean_loss(logits: np.ndarray, targets: tuple[int, ...]) -> float:
    """Cross entropy in nats, the mean over all rows that have a target, as if they were the tokens of one feature."""
    total, number = summed_loss([Feature(0, {}, targets, words=(0,))], [logits])
    return total / max(1, number)


def _turn(every: Sequence[torch.Tensor], expected: torch.Tensor) -> list[float]:
    """Make each run's log probabilities the gradient of a loss that expects this; gives minus the summed losses.

    Args:
        every: of each run, (classes, rows).
        expected: (classes, rows).
    """
    whole = expected.sum(0)
    losses = [float((own * expected).sum()) for own in every]
    for own in every:
        own.exp_().mul_(whole).sub_(expected)
    return losses


def _aligned(runs: int, classes: int, rows: int, *, like: torch.Tensor) -> torch.Tensor:
    """Room for logits, (runs, classes, rows), each run's at the beginning of a cache line."""
    size = classes * rows
    room = like.new_empty(runs, -(-size // LINE) * LINE)
    return room[:, :size].view(runs, classes, rows)
