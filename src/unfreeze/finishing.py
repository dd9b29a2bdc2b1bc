"""The end of a comparison: the model handed over; and before the end, the best model so far."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from unfreeze.compare.arms import Arm
from unfreeze.compare.best_so_far import best_so_far, forget_best, load_kept
from unfreeze.compare.budget import THREADED
from unfreeze.compare.clusters import clusters_of
from unfreeze.compare.comparing import epochs_for_all_rows, temperature_for_all_rows
from unfreeze.compare.head_trials import HeadTrials
from unfreeze.compare.intervals import bootstrap_interval
from unfreeze.compare.jobs import watch_for
from unfreeze.compare.ledger import Ledger
from unfreeze.compare.material import Material
from unfreeze.compare.numerals import points
from unfreeze.compare.outcomes import ArmOutcome
from unfreeze.compare.pricing import REFIT
from unfreeze.compare.summary import seconds_of_a_run
from unfreeze.compare.trials import Trained, Trial, train, weights_digest
from unfreeze.compare.watching import Watcher
from unfreeze.engine.calibration import calibration_error, scored_targets
from unfreeze.engine.prediction import logits_of
from unfreeze.engine.runtime import Runtime
from unfreeze.errors import Interrupted, StorageError
from unfreeze.export.handing_over import CARD, check_reload, loads_with, save_card, save_model
from unfreeze.files import MANIFEST, is_whole, read_json
from unfreeze.report.card import provisional_card, render_card
from unfreeze.strategies import merged, save_part, strategy_named
from unfreeze.tasks import Feature

PROVISIONAL, HANDED_OVER = "best so far", "handed over"
PART = "adapter"
"""The folder, inside the model's, of what a strategy added, where that can be stored apart."""

OVERRUN = 0.05
"""Share of what the last training takes that may lie beyond the budget."""


class Finisher:
    """Hands models over.

    Args:
        material: what all trials share.
        ledger: of the comparison.
        folder: of the comparison; the model goes into ``model`` there.
        runtime: how to compute.
        watcher: told what happens.
    """

    def __init__(self, material: Material, ledger: Ledger, *, folder: Path, runtime: Runtime, watcher: Watcher) -> None:
        self._material, self._ledger, self._target = material, ledger, folder / "model"
        self._runtime, self._watcher = runtime, watcher

    def keep_best(self, trials: Sequence[Trial]) -> None:
        """Make the best trial so far the model in the folder, unless it is there already or a final one is.

        Args:
            trials: those that have just ended.
        """
        kept = best_so_far(self._ledger.trials)
        if kept is None or self._ledger.decision(HANDED_OVER) is not None:
            return
        path, key, score = kept
        stored = self._ledger.decision(PROVISIONAL)
        trial = next((trial for trial in trials if trial.key == key), None)
        if (stored is not None and stored["key"] == key) or trial is None:
            return
        try:
            trained = load_kept(path, trial, material=self._material, runtime=self._runtime)
        except FileNotFoundError:  # a process beside this one has just found a better one, and will tell
            return
        trained = replace(trained, model=merged(strategy_named(trial.strategy), trained.model))
        metric = self._material.task.metric
        line = loads_with(trained.model, kind=self._material.task.kind, folder="model")
        card = provisional_card(trial.strategy, metric=metric, score=score, loads_with=line)
        save_model(trained, self._material, folder=self._target, card=card)
        self._ledger.decide(PROVISIONAL, {"key": key, "name": trial.strategy, "score": score})

    def told_of_the_best(self) -> str:
        """Where the best model so far is, as the end of a sentence; empty where there is none."""
        stored = self._ledger.decision(PROVISIONAL)
        if stored is None or not is_whole(self._target):
            return ""
        said = f"{stored['name']}, {points(stored['score'])} points on validation"
        return f"\nthe best model so far ({said}) is in {self._target}"

    def hand_over(self, outcome: ArmOutcome, record: dict[str, Any], *, seed: int, left: float) -> None:
        """Train the chosen arm once more on all rows that are not test, save it, open the test split once.

        Args:
            outcome: of the chosen arm.
            record: of the comparison; what is handed over is written into it.
            seed: of that training.
            left: seconds left of the budget; where they are too few the best model so far is handed over as it is.

        Raises:
            StorageError: the saved model is not the one that was trained, or could not be written.
            Interrupted: the watcher said so.
        """
        arm, records = outcome.arm, outcome.records_of_chosen()
        epochs = epochs_for_all_rows(records)
        again = outcome.chosen.again(seed=seed, fold=None)  # type: ignore[union-attr]
        trial = again.stopped_after(epochs, temperature=temperature_for_all_rows(records))
        stored = self._ledger.decision(HANDED_OVER)
        too_late = self._too_late(records, left)
        if stored is not None and self._is_it(stored, trial, as_it_is=arm.name if too_late else None):
            record["handed_over"] = stored["about"]
            save_card(self._target, render_card(record))
            return
        if too_late and self._hand_over_as_is(outcome, record):
            return
        self._watcher.began(arm.name, "on all rows that are not test")
        watch, folder = watch_for(self._watcher, arm.name), self._ledger.folder_of(trial)
        trained = HeadTrials(self._material, runtime=self._runtime).train(trial, watch=watch)
        if trained is None:
            trained = train(self._material, trial, runtime=self._runtime, folder=folder, watch=watch)
        if trained.state.diverged:
            record["not_handed_over"] = f"{arm.name}, trained on all rows that are not test: {trained.state.diverged}"
            self._watcher.said(f"no model is handed over: {record['not_handed_over']}")
            return
        rows, given = len(self._material.splits.not_test), trial.settings.temperature
        temperature = given if trained.calibration is not None else None
        self._save(trained, arm, record, rows=rows, epochs=epochs, temperature=temperature)
        self._decide(trial.key, record)
        self._ledger.forget(trial)

    def _is_it(self, stored: Mapping[str, Any], trial: Trial, *, as_it_is: str | None) -> bool:
        """Whether what was handed over before is what would be handed over now, and is still there.

        Args:
            stored: what was handed over before.
            trial: what would be trained now.
            as_it_is: the arm whose best trial would do, because it is too late for training; None where it is not.
        """
        about = stored["about"]
        same = stored["key"] == trial.key or (about["as_it_is"] and about["name"] == as_it_is)
        return bool(same and is_whole(self._target) and stored["files"] == _files_of(self._target))

    def _too_late(self, records: Sequence[Mapping[str, Any]], left: float) -> bool:
        """Whether the budget does not hold the last training any more."""
        threads = records[0].get("runtime", {}).get("threads", self._runtime.threads)
        faster = THREADED if self._runtime.threads > threads else 1.0
        expected = REFIT * faster * seconds_of_a_run(records)
        return left != inf and left < expected * (1 - OVERRUN)

    def _hand_over_as_is(self, outcome: ArmOutcome, record: dict[str, Any]) -> bool:
        """Hand over the best of an arm's trials without training it again; False where its weights are not kept."""
        kept, by_key = best_so_far(self._ledger.trials), {trial.key: trial for trial in outcome.tried}
        if kept is None or kept[1] not in by_key:
            return False
        trial = by_key[kept[1]]
        self._watcher.said("the budget is spent: the best model so far is handed over as it is")
        trained = load_kept(kept[0], trial, material=self._material, runtime=self._runtime)
        rows, epochs = len(self._material.fold(trial.fold).train), outcome.tried[trial]["best_epoch"]
        temperature = (outcome.tried[trial].get("calibration") or {}).get("temperature")  # the kept weights have it
        self._save(trained, outcome.arm, record, rows=rows, epochs=epochs, temperature=temperature)
        self._decide(f"{trial.key} as it is", record)
        return True

    def _save(
        self,
        trained: Trained,
        arm: Arm,
        record: dict[str, Any],
        *,
        rows: int,
        epochs: int,
        temperature: float | None,
    ) -> None:
        base = self._material.encoder.hub_id or self._material.encoder.name
        whole = replace(trained, model=merged(arm.strategy, trained.model))
        with TemporaryDirectory(prefix="unfreeze-") as temporary:
            about = self._about(whole, arm, rows=rows, epochs=epochs, temperature=temperature)
            beside = Path(temporary) / about["folder"]  # the line that loads a part names it, as that of the model does
            beside.mkdir()
            about["part_loads_with"] = save_part(arm.strategy, trained.model, folder=beside / PART, base=base)
            record["handed_over"] = about
            save_model(whole, self._material, folder=self._target, card=render_card(record), beside=beside)
        about["reload_check"] = self._reloaded(whole)

    def _decide(self, key: str, record: Mapping[str, Any]) -> None:
        made = {"key": key, "about": record["handed_over"], "files": _files_of(self._target)}
        self._ledger.decide(HANDED_OVER, made)
        forget_best(self._ledger.trials)

    def _reloaded(self, trained: Trained) -> dict[str, Any]:
        """The reload check; a model that fails it does not stay."""
        try:
            return check_reload(trained.model, self._material, folder=self._target, runtime=self._runtime)
        except StorageError as error:
            shutil.rmtree(self._target, ignore_errors=True)
            if self._watcher.stop():  # Ctrl-C reaches the other process, too
                raise Interrupted("stopped; the same command goes on from here") from error
            raise

    def _about(
        self, trained: Trained, arm: Arm, *, rows: int, epochs: int, temperature: float | None
    ) -> dict[str, Any]:
        task, test = self._material.task, self._material.splits.test
        about: dict[str, Any] = {
            "name": arm.name,
            "folder": "model",
            "loads_with": loads_with(trained.model, kind=task.kind, folder="model"),
            "epochs": epochs,
            "rows": rows,
            "as_it_is": rows < len(self._material.splits.not_test),
            "weights_sha256": weights_digest(trained.model),
            "calibration": None if temperature is None else {"temperature": temperature, **_NO_ERRORS},
            "test": None,
            "test_interval": None,
            "test_interval_basis": None,
            "reload_check": None,
        }
        if test:
            # Run whole, as its user will run it: remembered states may differ in the last bits.
            features = [self._material.features[place] for place in self._material.places(test)]
            logits = logits_of(trained.model, features, runtime=self._runtime)
            counts = self._material.counts_of(test, logits)
            if temperature is not None:
                about["calibration"] |= _errors(features, logits, temperature)
            together = clusters_of([self._material.examples[i] for i in test])
            interval = bootstrap_interval(counts, task.score, clusters=together)
            about["test_interval_basis"] = interval.basis
            about |= {"test": task.details(counts.sum(0)), "test_interval": [interval.low, interval.high]}
        return about


_NO_ERRORS = {"error_before": None, "error_after": None}


def _errors(features: Sequence[Feature], logits: Sequence[np.ndarray], temperature: float) -> dict[str, float]:
    """Calibration errors before and after, of a model whose logits are divided by the temperature already."""
    rows, targets = scored_targets(features, logits)
    before, after = (calibration_error(rows * by, targets) for by in (temperature, 1.0))
    return {"error_before": before, "error_after": after}


def _files_of(model: Path) -> dict[str, str]:
    """SHA-256 of a saved model's files, but of its card: that one is written anew when a comparison is judged again."""
    return {name: digest for name, digest in read_json(model / MANIFEST)["files"].items() if name != CARD}
