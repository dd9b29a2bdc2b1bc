"""One trial: an encoder, a strategy, its settings, a seed, a fold."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from unfreeze.compare.material import Material
from unfreeze.compare.recording import prediction_seconds, publish_trial, scored
from unfreeze.data.splitting import Fold
from unfreeze.encoders.building import build_model
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.masked_head import detach_masked_head
from unfreeze.encoders.outline import Outline
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.encoders.reinitialising import reinitialise
from unfreeze.engine.anchors import anchored_names
from unfreeze.engine.batches import MOST_TOKENS
from unfreeze.engine.calibration import Calibration, calibrate
from unfreeze.engine.checkpoints import Checkpoints
from unfreeze.engine.class_means import fit_class_means
from unfreeze.engine.prediction import logits_of
from unfreeze.engine.prefix import Start
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.settings import TrainingSettings
from unfreeze.engine.training import Run, State, TrainingData, Watch
from unfreeze.plan import Plan
from unfreeze.strategies import install, strategy_named


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial; equal trials give equal results.

    Attributes:
        strategy: as a user spells it.
        head: what the head reads.
        settings: how it is trained, the seed among them.
        fold: number of the fold, inner folds after all others; None for all rows that are not test, as for the model
            handed over.
    """

    strategy: str
    head: HeadSettings
    settings: TrainingSettings
    fold: int | None

    @property
    def key(self) -> str:
        """A folder name: readable, and unique among the trials of a comparison."""
        told = asdict(self)
        if self.head.is_linear:  # their names stay what they were before there were other heads
            del told["head"]["mixed"], told["head"]["network"]
        if self.settings.temperature is None:  # most have none; their names stay what they were before there was one
            del told["settings"]["temperature"]
        if self.settings.weight_decay_towards == "zero":  # likewise
            del told["settings"]["weight_decay_towards"]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]
        name = "".join(c if c.isalnum() or c == "-" else "-" for c in self.strategy)
        fold = "final" if self.fold is None else f"fold{self.fold}"
        return f"{name}-seed{self.settings.seed}-{fold}-{digest}"

    def again(self, *, seed: int, fold: int | None) -> "Trial":
        """The same settings with another seed, on another fold."""
        return replace(self, settings=replace(self.settings, seed=seed), fold=fold)

    def stopped_after(self, epochs: int, *, temperature: float | None = None) -> "Trial":
        """The same trial, ended after so many epochs of its schedule; a calibrated one with a temperature given."""
        return replace(self, settings=replace(self.settings, stop_after=epochs, temperature=temperature))


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model with what is known of its training, and of its calibration, if its plan asks for one."""

    model: nn.Module
    outline: Outline
    plan: Plan
    state: State
    calibration: Calibration | None = None


def train(material: Material, trial: Trial, *, runtime: Runtime, folder: Path | None, watch: Watch) -> Trained:
    """Build and train a trial's model.

    Args:
        material: what all trials share.
        trial: which one.
        runtime: how to compute.
        folder: where its checkpoints go; None to keep none.
        watch: how it reports.

    Raises:
        Interrupted: ``watch`` said so.
    """
    model, outline, plan = planned(material, trial, runtime=runtime)
    fold = learned_from(material, trial)
    started = time.perf_counter()
    if plan.head_fit == "class-means":
        places = material.places(fold.train)
        start = _start(material, model, outline, places, outline.depth, runtime)
        fit_class_means(model, outline, features=[material.features[p] for p in places], runtime=runtime, start=start)
        return Trained(model, outline, plan, State(seconds=time.perf_counter() - started))
    data = TrainingData(
        material.features,
        material.places(fold.train),
        material.places(fold.validation),
        lambda logits: _score(material, fold.validation, logits),
        material.memory,
        material.unlabelled,
    )
    run = Run(
        model,
        outline,
        plan=plan,
        settings=trial.settings,
        data=data,
        runtime=runtime,
        checkpoints=Checkpoints(folder, _fingerprint(material, trial, runtime)) if folder else None,
    )
    trained = Trained(model, outline, plan, run.run(watch))
    detach_masked_head(model)
    return _calibrated(material, trial, trained, runtime) if plan.calibrated else trained


def _calibrated(material: Material, trial: Trial, trained: Trained, runtime: Runtime) -> Trained:
    """A trained model with its logits calibrated; one that diverged, or has no temperature, stays as it is.

    The temperature is fitted on the rows that the best epoch was found on. Where a trial is given its last epoch, it is
    given its temperature too: its fold's validation rows, if it has any, then only say what that was worth.
    """
    settings, rows = trial.settings, material.fold(trial.fold).validation
    fits = settings.stop_after is None and len(rows) > 0
    if trained.state.diverged or not (fits or settings.temperature):
        return trained
    features = [material.features[place] for place in material.places(rows)]
    logits = predict(material, trained, examples=rows, runtime=runtime) if rows else []
    temperature = None if fits else settings.temperature
    made = calibrate(trained.model, trained.outline, features=features, logits=logits, temperature=temperature)
    return replace(trained, calibration=made)


def learned_from(material: Material, trial: Trial) -> Fold:
    """The rows that a trial learns from, and those it finds its best epoch on: none where its last epoch is given."""
    fold = material.fold(trial.fold)
    return fold if trial.settings.stop_after is None else Fold(fold.train, ())


def planned(material: Material, trial: Trial, *, runtime: Runtime) -> tuple[nn.Module, Outline, Plan]:
    """A trial's model before training, with what its strategy adds to it, its outline, and the plan for it."""
    strategy = strategy_named(trial.strategy)
    build = {"kind": material.task.kind, "labels": material.task.labels, "seed": trial.settings.seed}
    model = build_model(material.encoder, trial.head, weights="pretrained", **build)  # type: ignore[arg-type]
    added = install(strategy, model, encoder=material.encoder, seed=trial.settings.seed)
    outline = replace(read_outline(model), added=added)
    plan = strategy.plan(outline)
    if plan.encoder_weights == "random":
        model = build_model(material.encoder, trial.head, weights="random", **build)  # type: ignore[arg-type]
    reinitialise(model, plan.reinitialised, seed=trial.settings.seed)
    return model.to(runtime.device), outline, plan  # type: ignore[arg-type]  # transformers' stubs


def run_trial(
    material: Material,
    trial: Trial,
    *,
    runtime: Runtime,
    folder: Path,
    watch: Watch,
    kept: Callable[[Trial, Trained, dict[str, Any]], None] = lambda *_: None,
) -> dict[str, Any]:
    """Train and score a trial, and put its record into its folder, all of it at once.

    Args:
        material: what all trials share.
        trial: which one.
        runtime: how to compute.
        folder: of the trial; what is there is replaced, but for a checkpoint that can be gone on from.
        watch: how it reports.
        kept: called with what was trained and its record, once that is in its folder.

    Returns:
        The record: see ``record_of``. Its folder also holds, for each split, the counts that scores are summed from.

    Raises:
        Interrupted: ``watch`` said so; a checkpoint is in the folder.
        UserError: this strategy, head or encoder cannot be trained.
        StorageError: the folder cannot be written.
    """
    started, cpu = time.perf_counter(), time.process_time()
    trained = train(material, trial, runtime=runtime, folder=folder, watch=watch)
    scores, outputs = scored(
        material,
        trial.fold,
        logits=lambda examples: predict(material, trained, examples=examples, runtime=runtime),
    )
    record = record_of(trial, trained, scores=scores) | {
        "train_seconds": trained.state.seconds,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "predict_seconds_per_example": prediction_seconds(material, trained.model, runtime=runtime),
        "runtime": asdict(runtime),
    }
    publish_trial(folder, record=record, outputs=outputs)
    kept(trial, trained, record)
    return record


def record_of(
    trial: Trial, trained: Trained, *, scores: dict[str, Any], known: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What the ledger keeps of a trial, beside its timings: the same whenever the trial is run with enough memory.

    Args:
        trial: which one.
        trained: what it gave.
        scores: of each split.
        known: as ``weights_digest`` takes it.
    """
    outline, plan, state = trained.outline, trained.plan, trained.state
    ever = plan.touched_by(plan.stages[state.stage])
    kept = outline.size(ever - {*outline.auxiliary}) or outline.size(outline.head)
    return {
        "trial": asdict(trial),
        "state": "diverged" if state.diverged else "done",
        "diverged": state.diverged,
        "scores": scores,
        "best_epoch": state.best_epoch or state.epoch,  # without validation rows, the last
        "epochs": state.epoch,
        "steps": state.curve[-1]["step"] if state.curve else 0,
        "curve": state.curve,
        "calibration": None if trained.calibration is None else asdict(trained.calibration),
        "batches": state.way,
        "short_memory": state.most_tokens < MOST_TOKENS,
        "trainable_parameters": outline.size(ever),
        "parameters": outline.size((*outline.encoder, *outline.head)),
        "stored_bytes": 4 * kept,
        "gates": state.gates,
        "masked": state.masked,
        "pulled_back": outline.size(anchored_names(outline, plan, settings=trial.settings)),
        "weights_sha256": weights_digest(trained.model, known=known),
    }


def predict(material: Material, trained: Trained, *, examples: Sequence[int], runtime: Runtime) -> list[np.ndarray]:
    """Logits of the examples' features, in the order of ``places``; from remembered states where they serve."""
    places, start = material.places(examples), None
    depth = trained.outline.frozen_depth(trained.plan.ever_trainable)
    if trained.plan.encoder_weights == "pretrained":
        start = _start(material, trained.model, trained.outline, places, depth, runtime)
    return logits_of(trained.model, [material.features[place] for place in places], runtime=runtime, start=start)


def _start(
    material: Material, model: nn.Module, outline: Outline, places: Sequence[int], depth: int, runtime: Runtime
) -> Start | None:
    """Remembered states at a depth, where they serve."""
    serves = material.memory.serves(model, outline, depth=depth, runtime=runtime)
    return Start(material.memory, outline, depth, places) if serves else None


def weights_digest(model: nn.Module, *, known: Mapping[str, str] | None = None) -> str:
    """SHA-256 over all weights of a model: over a line for each, sorted, of its name and its own digest.

    Args:
        model: whose.
        known: digests of tensors, by name, that have not changed since ``tensor_digest`` gave them: where only a head
            learns, nearly all.
    """
    known = known or {}
    lines = (f"{name} {known.get(name) or tensor_digest(tensor)}\n" for name, tensor in model.state_dict().items())
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def tensor_digest(tensor: torch.Tensor) -> str:
    """SHA-256 over the bytes of a tensor."""
    return hashlib.sha256(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data).hexdigest()


def _score(material: Material, examples: Sequence[int], logits: list[np.ndarray]) -> float:
    return float(material.task.score(material.counts_of(examples, logits).sum(0)))


def _fingerprint(material: Material, trial: Trial, runtime: Runtime) -> dict[str, Any]:
    """All that must be equal for a checkpoint to be gone on from bit for bit."""
    import safetensors
    import transformers

    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
    }
    return {"trial": trial.key, "data": material.digest, "runtime": asdict(runtime), "versions": versions, "format": 2}
