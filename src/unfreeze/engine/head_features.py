"""What the last linear layer reads when all below it is frozen: computed once, all that a head-only trial needs.

A plan that trains one linear layer on top of a fixed function of the text makes every trial a linear model on the same
numbers; only dropout may stand between. Whether a model is of that kind is not read off its class: it is run, and what
enters and leaves the layer is looked at.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from unfreeze.encoders.outline import Outline
from unfreeze.engine.batches import canonical_batches, collate
from unfreeze.engine.prefix import Start
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.stages import enter_stage
from unfreeze.plan import TASK, Plan
from unfreeze.tasks import Feature

LINE = 16
"""Numbers of a cache line; rows are filled up to whole ones, so that products round alike wherever a row lies."""


@dataclass(frozen=True, slots=True)
class HeadTable:
    """What the linear layer reads, a row for each text or for each token.

    Attributes:
        rows: (rows, columns), float32: what is read, then a 1 that carries the bias, then zeros.
        width: how many numbers of a row are read.
        offsets: where each feature's rows begin, and the end, (features + 1,), int64.
        targets: class number of each row, ``IGNORED`` where nothing is to be learned, (rows,), int64.
        by_token: whether a feature has a row for each of its tokens, and not just one.
        dropout: probability of dropout on what is read, in [0, 1).
    """

    rows: torch.Tensor
    width: int
    offsets: np.ndarray
    targets: torch.Tensor
    by_token: bool
    dropout: float

    def packed(self, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """A layer's weight (classes, width) and bias (classes,) as one matrix for ``rows``, (classes, columns)."""
        weights = self.rows.new_zeros(len(weight), self.rows.shape[1])
        weights[:, : self.width] = weight
        weights[:, self.width] = bias
        return weights

    def unpacked(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The weight and the bias in such a matrix."""
        return weights[:, : self.width].clone(), weights[:, self.width].clone()

    def rows_of(self, places: Sequence[int] | np.ndarray) -> torch.Tensor:
        """Numbers of the features' rows, in the order of the features, int64."""
        chosen = np.asarray(places, dtype=np.int64)
        first = self.offsets[chosen]
        number = self.offsets[chosen + 1] - first
        before = np.cumsum(number) - number
        return torch.from_numpy(np.repeat(first - before, number) + np.arange(number.sum())).to(self.rows.device)

    def logits(self, weights: torch.Tensor, rows: torch.Tensor) -> np.ndarray:
        """Logits of rows taken from the table, (rows, classes), float32.

        Args:
            weights: as ``packed`` gives them.
            rows: some of ``self.rows``, (rows, columns).
        """
        return np.ascontiguousarray(torch.mm(weights, rows.t()).t().cpu().numpy())

    def by_feature(self, logits: np.ndarray, places: Sequence[int]) -> list[np.ndarray]:
        """Logits of the features' rows as tasks take them: (classes,) a text, or (tokens, classes) a feature."""
        if not self.by_token:
            return list(logits)
        ends = np.cumsum(np.diff(self.offsets)[np.asarray(places, dtype=np.int64)])
        return np.split(logits, ends[:-1])


def head_linear(model: nn.Module, plan: Plan) -> str | None:
    """The module path of the linear layer that a plan trains alone and at the full rate; None if it is another plan."""
    stage = plan.stages[0]
    if len(plan.stages) > 1 or stage.objective != TASK:
        return None
    if plan.encoder_weights != "pretrained" or plan.head_fit != "gradient" or plan.calibrated:
        return None
    path = next(iter(stage.trainable), "").rpartition(".")[0]
    alone = stage.lr_scales == {f"{path}.weight": 1.0, f"{path}.bias": 1.0}
    return path if alone and type(dict(model.named_modules()).get(path)) is nn.Linear else None


def features_of(
    model: nn.Module,
    outline: Outline,
    *,
    plan: Plan,
    features: Sequence[Feature],
    runtime: Runtime,
    start: Start | None = None,
    limit_bytes: int = 2 * 1024**3,
) -> HeadTable | None:
    """What the layer reads that a plan trains alone, for each feature.

    Args:
        model: left in evaluation mode.
        outline: its parts.
        plan: who learns.
        features: what to read; places in the table are their indices.
        runtime: how to compute.
        start: remembered hidden states to start from, instead of the text.
        limit_bytes: what the table may take.

    Returns:
        The table; None where the plan trains anything else, the layer does not give the logits, something that changes
        from call to call lies below it (but for dropout right before it), or the table would be too large: the loop
        trains such a head.
    """
    path = head_linear(model, plan)
    if path is None:
        return None
    linear: Any = model.get_submodule(path)
    table = _empty(linear, features, runtime)
    if table.rows.nbytes > limit_bytes:
        return None

    def call(indices: Sequence[int]) -> _Call:
        with start.at(model, indices) if start else nullcontext():
            return _call(model, linear, [features[i] for i in indices], runtime=runtime)

    batches = canonical_batches(features)
    dropout = _dropout_before(model, outline, plan, lambda: call(batches[-1][:4]), runtime)
    if dropout is None:
        return None
    for indices in batches:
        made = call(indices)
        if not made.gives_logits:
            return None
        for i, read in zip(indices, made.read, strict=True):
            begin, end = table.offsets[i], table.offsets[i + 1]
            table.rows[begin:end, : table.width] = read[: end - begin] if table.by_token else read
    return HeadTable(table.rows, table.width, table.offsets, table.targets, table.by_token, dropout)


def _empty(linear: nn.Linear, features: Sequence[Feature], runtime: Runtime) -> HeadTable:
    """The table before anything is read."""
    by_token, width = bool(features[0].words), linear.in_features
    offsets = np.concatenate([[0], np.cumsum([f.length if by_token else 1 for f in features])]).astype(np.int64)
    columns = -(-(width + 1) // LINE) * LINE
    rows = torch.zeros(int(offsets[-1]), columns, device=runtime.device)
    rows[:, width] = 1.0
    targets = torch.tensor([t for f in features for t in f.targets], dtype=torch.long, device=runtime.device)
    return HeadTable(rows, width, offsets, targets, by_token, 0.0)


@dataclass(frozen=True, slots=True)
class _Call:
    """What one call of a model showed: what the layer read, float32, and whether it gave the logits."""

    read: torch.Tensor
    gives_logits: bool


def _call(model: nn.Module, linear: nn.Linear, members: Sequence[Feature], *, runtime: Runtime) -> _Call:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    pad = int(model.config.pad_token_id or 0)  # type: ignore[union-attr,arg-type]
    with torch.no_grad(), runtime.computing(), _hooked([linear], lambda _, read, given: seen.append((read, given))):
        logits = model(**collate(members, pad_token_id=pad, device=runtime.device)).logits
    read, given = seen[-1] if seen else (logits, logits[..., :0])
    return _Call(read.float(), len(seen) == 1 and torch.equal(given, logits))


def _dropout_before(
    model: nn.Module, outline: Outline, plan: Plan, call: Callable[[], _Call], runtime: Runtime
) -> float | None:
    """The probability of dropout right before the layer; None where something else changes what it reads.

    The model is called in evaluation mode and in the mode that it is trained in. Where what the layer reads differs,
    one dropout must have made the one from the other.
    """
    model.eval()
    still = call().read
    enter_stage(model, outline, stage=plan.stages[0])
    active = [module for module in model.modules() if type(module) is nn.Dropout and module.training]
    seen: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}
    devices = [torch.cuda.current_device()] if runtime.device == "cuda" else []
    with torch.random.fork_rng(devices=devices), _hooked(active, lambda m, i, o: seen.update({m: (i, o)})):
        torch.manual_seed(0)
        moved = call().read
    model.eval()
    if _alike(still, moved):
        return 0.0
    made = [m for m in active if m in seen and _alike(seen[m][0], still) and _alike(seen[m][1], moved)]
    return made[0].p if made and made[0].p < 1 else None


def _alike(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.shape == second.shape and torch.allclose(first.float(), second.float(), rtol=1e-4, atol=1e-6)


@contextmanager
def _hooked(
    modules: Sequence[nn.Module], seeing: Callable[[nn.Module, torch.Tensor, torch.Tensor], None]
) -> Iterator[None]:
    """While it holds, ``seeing`` is told of each call of a module: which, what went in, what came out."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
        seeing(module, args[0], output)

    hooks: list[AbstractContextManager[Any]] = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()  # type: ignore[attr-defined]
