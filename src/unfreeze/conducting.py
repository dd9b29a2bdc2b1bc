"""From the user's file to a verdict, a report and a model: the steps of a comparison, in order."""

import platform
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from unfreeze.compare.arms import Arm, make_arms
from unfreeze.compare.comparing import ArmOutcome, Comparing, Floor, epochs_for_all_rows
from unfreeze.compare.head_trials import HeadTrials
from unfreeze.compare.intervals import bootstrap_interval
from unfreeze.compare.jobs import Executor, InProcess, watch_for
from unfreeze.compare.ledger import Ledger, opened, stored_identity
from unfreeze.compare.material import Sources, prepare
from unfreeze.compare.options import Options
from unfreeze.compare.planning import Planner, in_order
from unfreeze.compare.pricing import Shape, outline_of
from unfreeze.compare.summary import absent_row, arm_row, floor_row, seconds_of_a_run
from unfreeze.compare.trials import Trained, train, weights_digest
from unfreeze.compare.watching import Watcher
from unfreeze.compare.worker import Payload
from unfreeze.compare.workers import Workers
from unfreeze.encoders.loading import EMBEDDED_NAME, Encoder, load_encoder
from unfreeze.engine.prediction import logits_of
from unfreeze.engine.prefix_store import PrefixStore, default_folder
from unfreeze.engine.runtime import Runtime, prepare_process
from unfreeze.errors import Interrupted, SettingsError, StorageError
from unfreeze.export.handing_over import CARD, check_reload, loads_with, save_card, save_model
from unfreeze.files import MANIFEST, is_whole, read_json, write_json, write_text
from unfreeze.recommend import Arm as Candidate
from unfreeze.recommend import as_dict, recommend
from unfreeze.report.card import render_card
from unfreeze.report.page import render_page
from unfreeze.tasks import Columns

_DECIDING = ("unfreeze", "torch", "transformers")
"""Packages another version of which gives other numbers; what they gave together is not mixed in one comparison."""

EMBEDDED_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
"""Where the embedded encoder comes from."""

_TOLD_ELSEWHERE = {"output_dir", "command", "settings", "numbers", "cache_bytes", "cache_dir"}
"""Options that the record tells in other places, or that change no result and name folders of this machine."""

_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "scikit-learn")


class Conductor:
    """One comparison from the user's file to the files handed over.

    Args:
        sources: where the rows are.
        options: what the user chose.
        watcher: told what happens.
    """

    def __init__(self, sources: Sources, options: Options, *, watcher: Watcher | None = None) -> None:
        self._options, self._watcher = options, watcher or Watcher()
        self.folder = options.output_dir or Path(f"unfreeze-{sources.stem}")
        self._runtime = self._settled_runtime()
        encoder = load_encoder(options.model)
        columns = Columns(options.text_column, options.label_column, options.group_column)
        self._watcher.said(f"encoder: {encoder.name}")
        folder, said = options.cache_dir or default_folder(), self._watcher.said
        cache = PrefixStore(folder, limit_bytes=options.cache_bytes, said=said)
        chosen: dict[str, Any] = {"task": options.task, "max_dropped": options.max_dropped}
        self.material = prepare(sources, encoder, columns=columns, cache=cache, **chosen)
        for sentence in (*self.material.says, *(f"{count}" for count in self.material.counts)):
            self._watcher.said(sentence)
        self._say_folds(len(self.material.splits.folds))
        searched: dict[str, Any] = {"tuning": options.tuning, "search": options.search, "trials": options.trials}
        arms = make_arms(options.strategies, self.material, **searched, overrides=options.settings, seed=options.seed)
        self._outline = outline_of(self.material, arms[0], runtime=self._runtime)
        self.arms = [arm for arm in arms if self._fits(arm)]
        layers = max((head.layers for arm in self.arms for head in arm.heads), default=1)
        self.material.expect((a.strategy.plan(self._outline) for a in self.arms), self._outline, layers=layers)

        self._planner = Planner(
            self.material,
            self.arms,
            outline=self._outline,
            options=options,
            runtime=self._runtime,
            watcher=self._watcher,
        )

    def _say_folds(self, made: int) -> None:
        """Say how many of the folds are used, where it is not all of them."""
        used = min(made, self._options.folds or made)
        if used < made:
            first = "first one alone is" if used == 1 else f"first {used} are"
            self._watcher.said(f"Of the {made} folds the {first} used.")

    def _fits(self, arm: Arm) -> bool:
        """Whether an arm has a plan for this encoder; one that the user named must have."""
        try:
            arm.strategy.plan(self._outline)
        except SettingsError as error:
            if self._options.strategies is not None:
                raise
            self._watcher.said(f"{arm.name} is left out: {error}")
            return False
        return True

    def _settled_runtime(self) -> Runtime:
        """How to compute: as the comparison in the output folder began, where there is one."""
        stored, threads = stored_identity(self.folder), self._options.threads
        if threads is None and stored is not None:
            threads = stored.get("runtime", {}).get("threads")
        return prepare_process(threads, self._options.precision)

    def plan(self, ledger: Ledger | None = None) -> dict[str, Any]:
        """What would be run, at what price, and what the budget leaves out."""
        return self._planner.plan(ledger)

    @contextmanager
    def _executor(self, ledger: Ledger) -> Iterator[Executor]:
        """Who runs the trials."""
        if self._planner.workers == 1:
            yield InProcess(self.material, ledger.trials, runtime=self._runtime, watcher=self._watcher)
            return
        seconds = watch_for(self._watcher, "").checkpoint_seconds
        payload = Payload(self.material, ledger.trials, replace(self._runtime, threads=1), seconds)
        with Workers(self._planner.workers, payload, watcher=self._watcher) as workers:
            yield workers

    def conduct(self) -> dict[str, Any]:
        """Run everything that is not in the ledger yet, and write what is handed over.

        Returns:
            The record of the comparison.

        Raises:
            SettingsError: the folder is another's, another process is at work there, or the budget is too short.
            StorageError: the folder cannot be written, or the saved model is not the one that was trained.
            Interrupted: the watcher said so.
        """
        with opened(self.folder, self._identity()) as ledger:
            goes, plan = _Goes(ledger), self.plan(ledger)
            try:
                return self._conduct(ledger, plan, goes)
            except BaseException:
                with suppress(StorageError):  # what went wrong first is what the user must hear of
                    goes.noted()
                raise

    def _conduct(self, ledger: Ledger, plan: Mapping[str, Any], goes: "_Goes") -> dict[str, Any]:
        self._watcher.planned(plan)
        shape = Shape(tuple(row["name"] for row in plan["arms"] if row["kept"]), plan["seeds"], plan["folds"])
        arms = [arm for arm in self.arms if arm.name in shape.arms]
        with self._executor(ledger) as executor:
            comparing = Comparing(
                self.material,
                ledger,
                executor=executor,
                watcher=self._watcher,
                seed=self._options.seed,
                together=self._heads_alone(arms),
                noted=goes.noted,
            )
            order = in_order(arms, plan, side_by_side=executor.capacity > 1)
            begun = {outcome.arm.name: outcome for outcome in comparing.outcomes(order, shape)}
            outcomes = [begun[arm.name] for arm in in_order(arms, plan, side_by_side=False)]
        goes.noted()
        self._watcher.said("floors that need no encoder …")
        floors = comparing.floors(shape)
        record = self._record(outcomes, floors, plan, shape)
        record["recommendation"] = as_dict(self._recommend(outcomes, floors, plan))
        record["handed_over"] = None
        chosen = next((o for o in outcomes if o.arm.name == record["recommendation"]["chosen"]), None)
        if chosen is not None:
            self._hand_over(chosen, record, ledger)
        seconds = goes.noted()
        record |= {"seconds": sum(seconds), "goes": len(seconds)}
        self._write(record)
        return record

    def _heads_alone(self, arms: Sequence[Arm]) -> frozenset[str]:
        """Arms that train nothing but the head: their trials read the same features."""
        head = set(self._outline.head)
        return frozenset(arm.name for arm in arms if arm.strategy.plan(self._outline).ever_trainable <= head)

    def _identity(self) -> dict[str, Any]:
        """What makes it this comparison and no other."""
        return {
            "rows_and_splits": self.material.digest,
            "encoder": self.material.encoder.digest,
            "runtime": asdict(self._runtime),
            "versions": {name: _version(name) for name in _DECIDING},
        }

    def _record(
        self, outcomes: Sequence[ArmOutcome], floors: Sequence[Floor], plan: Mapping[str, Any], shape: Shape
    ) -> dict[str, Any]:
        material, options, task = self.material, self._options, self.material.task
        steps = self.arms[0].base.steps_per_epoch(len(material.places(material.splits.folds[0].train)))
        rows = [arm_row(outcome, task, steps_per_epoch=steps) for outcome in outcomes]
        dropped = {row["name"]: row["reason"] for row in plan["arms"] if not row["kept"]}
        rows += [absent_row(arm, "dropped", reason=dropped[arm.name]) for arm in self.arms if arm.name in dropped]
        rows += [floor_row(floor, task) for floor in floors]
        for row in rows:
            row["number"] = options.numbers.get(row["name"])
        chosen = {k: v for k, v in asdict(options).items() if k not in _TOLD_ELSEWHERE}
        return {
            "format": 1,
            "unfreeze": _version("unfreeze"),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": options.command or "unfreeze.compare(…)",
            "data": material.summary(),
            "task": task.name,
            "metric": task.metric,
            "encoder": self._encoder(outcomes),
            "settings": {**chosen, **dict(options.settings), "seeds": shape.seeds, "folds": shape.folds},
            "runtime": asdict(self._runtime),
            "versions": {"python": platform.python_version()} | {n: _version(n) for n in _LIBRARIES},
            "plan": dict(plan),
            "arms": rows,
        }

    def _encoder(self, outcomes: Sequence[ArmOutcome]) -> dict[str, Any]:
        encoder = self.material.encoder
        numbers = [record["parameters"] for outcome in outcomes for record in outcome.records.values()]
        layers = getattr(encoder.config, "num_hidden_layers", None)
        named = {"name": encoder.name, "hub_id": _hub_id(encoder), "family": encoder.family, "digest": encoder.digest}
        return named | {"window": encoder.window, "layers": layers, "parameters": min(numbers, default=None)}

    def _recommend(self, outcomes: Sequence[ArmOutcome], floors: Sequence[Floor], plan: Mapping[str, Any]) -> Any:
        steps = self.arms[0].base.steps_per_epoch(len(self.material.places(self.material.splits.folds[0].train)))
        candidates = [_candidate(outcome, steps) for outcome in outcomes]
        for row in plan["arms"]:
            if not row["kept"]:
                floor = next(arm for arm in self.arms if arm.name == row["name"]).strategy.search.floor
                candidates.append(_absent(row["name"], floor, "dropped", row["reason"]))
        candidates += [Candidate(f.name, f.runs, True, None, f.seconds, 0, 0.0, "done", "") for f in floors]
        return recommend(
            candidates,
            self.material.task.score,
            metric=self.material.task.metric,
            margin=self._options.margin,
            prefer=self._options.prefer,
        )

    def _hand_over(self, outcome: ArmOutcome, record: dict[str, Any], ledger: Ledger) -> None:
        """Train the chosen arm once more on all rows that are not test, save it, open the test split once."""
        arm, chosen, target = outcome.arm, outcome.chosen, self.folder / "model"
        epochs = epochs_for_all_rows(list(outcome.records.values()))
        trial = chosen.again(seed=self._options.seed, fold=None).stopped_after(epochs)  # type: ignore[union-attr]
        name = f"handed over {trial.key}"
        stored = ledger.decision(name)
        if stored is not None and is_whole(target) and stored["files"] == _files_of(target):
            record["handed_over"] = stored["about"]
            save_card(target, render_card(record))
            return
        self._watcher.began(arm.name, "on all rows that are not test")
        watch, folder = watch_for(self._watcher, arm.name), ledger.folder_of(trial)
        trained = HeadTrials(self.material, runtime=self._runtime).train(trial, watch=watch)
        if trained is None:
            trained = train(self.material, trial, runtime=self._runtime, folder=folder, watch=watch)
        if trained.state.diverged:
            record["not_handed_over"] = f"{arm.name}, trained on all rows that are not test: {trained.state.diverged}"
            self._watcher.said(f"no model is handed over: {record['not_handed_over']}")
            return
        record["handed_over"] = about = self._about(trained, arm, epochs)
        save_model(trained, self.material, folder=target, card=render_card(record))
        about["reload_check"] = self._reloaded(trained, target)
        ledger.decide(name, {"about": about, "files": _files_of(target)})
        ledger.forget(trial)

    def _reloaded(self, trained: Trained, target: Path) -> dict[str, Any]:
        """The reload check; a model that fails it does not stay."""
        try:
            return check_reload(trained.model, self.material, folder=target, runtime=self._runtime)
        except StorageError as error:
            shutil.rmtree(target, ignore_errors=True)
            if self._watcher.stop():  # Ctrl-C reaches the other process, too
                raise Interrupted("stopped; the same command goes on from here") from error
            raise

    def _about(self, trained: Trained, arm: Arm, epochs: int) -> dict[str, Any]:
        task, test = self.material.task, self.material.splits.test
        about: dict[str, Any] = {
            "name": arm.name,
            "folder": "model",
            "loads_with": loads_with(trained.model, kind=task.kind, folder="model"),
            "epochs": epochs,
            "rows": len(self.material.splits.not_test),
            "weights_sha256": weights_digest(trained.model),
            "test": None,
            "test_interval": None,
            "reload_check": None,
        }
        if test:
            # Run whole, as its user will run it: remembered states may differ in the last bits.
            features = [self.material.features[place] for place in self.material.places(test)]
            counts = self.material.counts_of(test, logits_of(trained.model, features, runtime=self._runtime))
            interval = bootstrap_interval(counts, task.score)
            about |= {"test": task.details(counts.sum(0)), "test_interval": [interval.low, interval.high]}
        return about

    def _write(self, record: Mapping[str, Any]) -> None:
        write_json(self.folder / "record.json", record)
        advice = {key: record[key] for key in ("unfreeze", "created", "command", "task", "metric", "recommendation")}
        costs = (
            "name",
            "floor",
            "state",
            "score",
            "interval",
            "train_seconds",
            "total_seconds",
            "stored_bytes",
            "starved",
        )
        advice["arms"] = [{key: arm[key] for key in costs} for arm in record["arms"]]
        write_json(self.folder / "recommendation.json", advice | {"handed_over": record["handed_over"]})
        write_text(self.folder / "report.html", render_page(record))


class _Goes:
    """The seconds of every command that worked on a comparison, kept in its ledger, so that going on adds up.

    Args:
        ledger: of the comparison.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._started = ledger, time.perf_counter()
        self._before: list[float] = ledger.decision("seconds of each go") or []

    def noted(self) -> list[float]:
        """The seconds of each go, the last until now; also written down, because a kill comes unannounced."""
        seconds = [*self._before, time.perf_counter() - self._started]
        self._ledger.decide("seconds of each go", seconds)
        return seconds


def _hub_id(encoder: Encoder) -> str | None:
    """The encoder's name on the Hugging Face hub; None for a local folder."""
    if encoder.name == EMBEDDED_NAME:
        return EMBEDDED_HUB_ID
    local = Path(encoder.name).expanduser().resolve() == encoder.folder.resolve()
    return None if local else encoder.name


def _candidate(outcome: ArmOutcome, steps_per_epoch: int) -> Candidate:
    """An arm that was run, as the verdict sees it."""
    arm, records = outcome.arm, list(outcome.records.values())
    if outcome.chosen is None or outcome.runs is None or outcome.failed:
        return _absent(arm.name, arm.strategy.search.floor, "failed", outcome.failed or "it was not run")
    return Candidate(
        arm.name,
        outcome.runs,
        arm.strategy.search.floor,
        arm.starved(outcome.chosen, steps_per_epoch),
        seconds_of_a_run(records),
        records[0]["stored_bytes"],
        1000 * statistics.median(record["predict_seconds_per_example"] for record in records),
    )


def _absent(name: str, floor: bool, state: Literal["dropped", "failed"], reason: str) -> Candidate:
    return Candidate(name, None, floor, state=state, reason=reason)


def _files_of(model: Path) -> dict[str, str]:
    """SHA-256 of a saved model's files, but of its card: that one is written anew when a comparison is judged again."""
    return {name: digest for name, digest in read_json(model / MANIFEST)["files"].items() if name != CARD}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
