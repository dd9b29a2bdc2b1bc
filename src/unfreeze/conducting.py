"""From the user's file to a verdict, a report and a model: the steps of a comparison, in order."""

import platform
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
from unfreeze.compare.budget import Goes, Limited, Purser
from unfreeze.compare.comparing import Comparing
from unfreeze.compare.floors import Floor, floors_of
from unfreeze.compare.jobs import Executor, InProcess, watch_for
from unfreeze.compare.ledger import Ledger, opened, stored_identity
from unfreeze.compare.material import Sources, limit_within, prepare
from unfreeze.compare.options import Options
from unfreeze.compare.outcomes import ArmOutcome
from unfreeze.compare.planning import Planner
from unfreeze.compare.pricing import outline_of, with_own_outline
from unfreeze.compare.race import Race
from unfreeze.compare.standing import Purse
from unfreeze.compare.summary import absent_row, arm_row, floor_row, seconds_of_a_run
from unfreeze.compare.trials import Trial
from unfreeze.compare.unlabelled import refuse_idle
from unfreeze.compare.watching import Watcher
from unfreeze.compare.worker import Payload
from unfreeze.compare.workers import Workers
from unfreeze.encoders.loading import load_encoder
from unfreeze.engine.prefix_store import PrefixStore, default_folder
from unfreeze.engine.runtime import Runtime, prepare_process
from unfreeze.errors import Interrupted, MissingExtra, SettingsError, StorageError
from unfreeze.files import write_json, write_text
from unfreeze.finishing import Finisher
from unfreeze.recommend import Arm as Candidate
from unfreeze.recommend import as_dict, recommend
from unfreeze.recommend.advice import advice_of
from unfreeze.report.page import render_page
from unfreeze.strategies import ALL
from unfreeze.tasks import Columns

_DECIDING = ("unfreeze", "torch", "transformers")
"""Packages another version of which gives other numbers; what they gave together is not mixed in one comparison."""


_TOLD_ELSEWHERE = {"output_dir", "command", "settings", "numbers", "cache_bytes", "cache_dir"}
"""Options that the record tells in other places, or that change no result and name folders of this machine."""

_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "scikit-learn")


class Conductor:
    """One comparison from the user's file to the files handed over.

    Args:
        sources: where the rows are.
        options: what the user chose.
        watcher: told what happens.
        began: when the user asked for it, as ``time.perf_counter`` has it; None for now. Budgets count from there.
    """

    def __init__(
        self, sources: Sources, options: Options, *, watcher: Watcher | None = None, began: float | None = None
    ) -> None:
        self._began = time.perf_counter() if began is None else began
        self._options, self._watcher = options, watcher or Watcher()
        self.folder = options.output_dir or Path(f"unfreeze-{sources.stem}")
        self._runtime = self._settled_runtime()
        encoder = load_encoder(options.model)
        columns = Columns(options.text_column, options.label_column, options.group_column)
        self._watcher.said(f"encoder: {encoder.name}")
        folder, said = options.cache_dir or default_folder(), self._watcher.said
        cache = PrefixStore(folder, limit_bytes=options.cache_bytes, said=said)
        chosen: dict[str, Any] = {"task": options.task, "max_dropped": options.max_dropped, "nested": options.nested}
        self.material = prepare(sources, encoder, columns=columns, cache=cache, **chosen)
        if options.memory_bytes is not None:
            self.material = replace(self.material, limit_bytes=limit_within(options.memory_bytes))
        for sentence in (*self.material.says, *(f"{count}" for count in self.material.counts)):
            self._watcher.said(sentence)
        self._say_folds(len(self.material.splits.folds))
        searched: dict[str, Any] = {"tuning": options.tuning, "search": options.search, "trials": options.trials}
        arms = make_arms(options.strategies, self.material, **searched, overrides=options.settings, seed=options.seed)
        self._outline = outline_of(self.material, arms[0], runtime=self._runtime)
        self.arms = [own for arm in arms if (own := self._fitting(arm))]
        if self.material.unlabelled:
            refuse_idle({arm.name: arm.plan(self._outline) for arm in self.arms}, self._outline)
        layers = max((head.layers for arm in self.arms for head in arm.heads), default=1)
        self.material.expect((arm.plan(self._outline) for arm in self.arms), self._outline, layers=layers)

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

    def _fitting(self, arm: Arm) -> Arm | None:
        """An arm, if it has a plan for this encoder; one that the user named must have."""
        try:
            own = with_own_outline(arm, self.material, runtime=self._runtime)
            own.plan(self._outline)
        except (SettingsError, MissingExtra) as error:
            if self._options.strategies not in (None, (ALL,)):
                raise
            self._watcher.said(f"{arm.name} is left out: {error}")
            return None
        return own

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
    def _executor(self, ledger: Ledger, watcher: Watcher) -> Iterator[Executor]:
        """Who runs the trials."""
        if self._planner.workers == 1:
            yield InProcess(self.material, ledger.trials, runtime=self._runtime, watcher=watcher)
            return
        seconds = watch_for(watcher, "").checkpoint_seconds
        payload = Payload(self.material, ledger.trials, replace(self._runtime, threads=1), seconds)
        with Workers(self._planner.workers, payload, watcher=watcher) as workers:
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
            goes, plan = Goes(ledger, began=self._began), self.plan(ledger)
            finisher = Finisher(self.material, ledger, folder=self.folder, runtime=self._runtime, watcher=self._watcher)
            try:
                return self._conduct(ledger, plan, goes, finisher)
            except BaseException as error:
                with suppress(StorageError):  # what went wrong first is what the user must hear of
                    goes.noted()
                if isinstance(error, Interrupted):
                    raise Interrupted(f"{error}{finisher.told_of_the_best()}") from error
                raise

    def _conduct(self, ledger: Ledger, plan: Mapping[str, Any], goes: Goes, finisher: Finisher) -> dict[str, Any]:
        self._watcher.planned(plan)
        arms = [arm for arm in self.arms if arm.name in {row["name"] for row in plan["arms"] if row["kept"]}]
        race = self._raced(arms, plan, ledger, goes, finisher)
        outcomes = list(race.outcomes.values())
        goes.noted()
        self._watcher.said("floors that need no encoder …")
        folds = max((outcome.runs.folds for outcome in outcomes if outcome.runs is not None), default=1)
        floors = floors_of(self.material, folds=folds, seed=self._options.seed)
        record = self._record(outcomes, floors, plan, race.story)
        record["recommendation"] = as_dict(self._recommend(outcomes, floors, plan))
        record["handed_over"] = None
        chosen = next((o for o in outcomes if o.arm.name == record["recommendation"]["chosen"]), None)
        if chosen is not None:
            left = self._purser(plan, goes).purse(outcomes).left
            finisher.hand_over(chosen, record, seed=self._options.seed, left=left)
        seconds = goes.noted()
        record |= {"seconds": sum(seconds), "goes": len(seconds)}
        self._write(record)
        return record

    def _purser(self, plan: Mapping[str, Any], goes: Goes) -> Purser:
        prices = {row["name"]: row["trial_seconds"] for row in plan["arms"]}
        budget, workers = self._options.budget_seconds, self._planner.workers
        return Purser(budget, spent=goes.spent, prices=prices, workers=workers)

    def _raced(
        self, arms: Sequence[Arm], plan: Mapping[str, Any], ledger: Ledger, goes: Goes, finisher: Finisher
    ) -> Race:
        """The race, run to its end or to the end of the budget."""
        purser, terms = self._purser(plan, goes), self._planner.terms(plan)
        limited = Limited(self._watcher, left=purser.left)

        def noted(trials: Sequence[Trial]) -> None:
            goes.noted()
            finisher.keep_best(trials)

        with self._executor(ledger, limited) as executor:
            comparing = Comparing(
                self.material,
                ledger,
                executor=executor,
                watcher=limited,
                seed=self._options.seed,
                together=self._heads_alone(arms),
                noted=noted,
            )
            return comparing.race(
                arms,
                terms,
                margin=self._options.margin,
                purse=purser.purse if terms.cuts else lambda _: Purse(),
                name=f"race {self._planner.name}",
                ran_out=lambda: limited.ran_out,
            )

    def _heads_alone(self, arms: Sequence[Arm]) -> frozenset[str]:
        """Arms that train nothing but the head: their trials read the same features."""
        head = set(self._outline.head)
        return frozenset(arm.name for arm in arms if arm.plan(self._outline).ever_trainable <= head)

    def _identity(self) -> dict[str, Any]:
        """What makes it this comparison and no other."""
        return {
            "rows_and_splits": self.material.digest,
            "encoder": self.material.encoder.digest,
            "runtime": asdict(self._runtime),
            "versions": {name: _version(name) for name in _DECIDING},
        }

    def _record(
        self,
        outcomes: Sequence[ArmOutcome],
        floors: Sequence[Floor],
        plan: Mapping[str, Any],
        story: Sequence[Mapping[str, Any]],
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
            "settings": {**chosen, **dict(options.settings), "seeds": plan["seeds"], "folds": plan["folds"]},
            "runtime": asdict(self._runtime),
            "versions": {"python": platform.python_version()} | {n: _version(n) for n in _LIBRARIES},
            "plan": dict(plan),
            "race": list(story),
            "arms": rows,
        }

    def _encoder(self, outcomes: Sequence[ArmOutcome]) -> dict[str, Any]:
        encoder = self.material.encoder
        numbers = [record["parameters"] for outcome in outcomes for record in outcome.records.values()]
        layers = getattr(encoder.config, "num_hidden_layers", None)
        named = {"name": encoder.name, "hub_id": encoder.hub_id, "family": encoder.family, "digest": encoder.digest}
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

    def _write(self, record: Mapping[str, Any]) -> None:
        write_json(self.folder / "record.json", record)
        write_json(self.folder / "recommendation.json", advice_of(record))
        write_text(self.folder / "report.html", render_page(record))


def _candidate(outcome: ArmOutcome, steps_per_epoch: int) -> Candidate:
    """An arm that was run, as the verdict sees it."""
    arm, records = outcome.arm, list(outcome.records.values())
    if outcome.left is not None:
        return _absent(arm.name, arm.strategy.search.floor, "left", outcome.left)
    if outcome.chosen is None or outcome.runs is None or outcome.failed:
        return _absent(arm.name, arm.strategy.search.floor, "failed", outcome.failed or "it was not run")
    return Candidate(
        arm.name,
        outcome.runs,
        arm.strategy.search.floor,
        outcome.starved(steps_per_epoch),
        seconds_of_a_run(records),
        records[0]["stored_bytes"],
        1000 * statistics.median(record["predict_seconds_per_example"] for record in records),
    )


def _absent(name: str, floor: bool, state: Literal["dropped", "failed", "left"], reason: str) -> Candidate:
    return Candidate(name, None, floor, state=state, reason=reason)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
