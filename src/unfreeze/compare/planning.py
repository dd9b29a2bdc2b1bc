"""The plan of a comparison: what is run, at what price, in how many processes, in which order."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from unfreeze.compare.arms import Arm
from unfreeze.compare.ledger import Ledger
from unfreeze.compare.material import Material
from unfreeze.compare.memory import Peaks, Room, needs
from unfreeze.compare.options import Options
from unfreeze.compare.pricing import (
    Shape,
    Speed,
    entrants,
    fit_into,
    measure_speed,
    plan_as_dict,
    price_of,
    price_of_first,
    price_of_prefix,
    price_of_trial,
)
from unfreeze.compare.side_by_side import (
    WORTHWHILE_SECONDS,
    Choice,
    calibrated,
    check_before_timing,
    check_workers,
    most_workers,
)
from unfreeze.compare.steward import Terms
from unfreeze.compare.watching import Watcher
from unfreeze.compare.worker import Payload
from unfreeze.encoders.outline import Outline
from unfreeze.engine.machine import free_memory
from unfreeze.engine.runtime import Runtime

CLOSE_SEEDS = {True: 2, False: 5}
"""Seeds at the most for ways that cannot be told apart, where the user names no number: on several folds, on one."""


class Planner:
    """Plans one comparison.

    Attributes:
        workers: processes that run trials; settled by ``plan``.
        name: of the plan, under which the ledger keeps what is decided; settled by ``plan``.

    Args:
        material: what all arms share.
        arms: all that may be run.
        outline: of the encoder.
        options: what the user chose.
        runtime: of this process.
        watcher: told what is timed.
    """

    def __init__(
        self,
        material: Material,
        arms: Sequence[Arm],
        *,
        outline: Outline,
        options: Options,
        runtime: Runtime,
        watcher: Watcher,
    ) -> None:
        self._material, self._arms, self._outline = material, arms, outline
        self._options, self._runtime, self._watcher = options, runtime, watcher
        self.workers, self.name = 1, ""
        if options.workers is not None:
            check_before_timing(options.workers, outline.size(outline.names), given=options.memory_bytes)

    def plan(self, ledger: Ledger | None = None) -> dict[str, Any]:
        """What would be run, at what price, and what the memory and the budget leave out.

        Raises:
            SettingsError: not even two ways fit, or more processes are asked for than the memory holds.
        """
        asked = self._asked()
        searched = [[arm.name, arm.tuning_trials, arm.longest, arm.rates, asdict(arm.base)] for arm in self._arms]
        content = json.dumps([asdict(asked), searched, self._options.budget_seconds, self._options.race])
        content += f" {self._options.memory_bytes}" if self._options.memory_bytes is not None else ""
        self.name = hashlib.sha256(content.encode()).hexdigest()[:16]
        name = f"plan {self.name}"
        stored = ledger.decision(name) if ledger else None
        if stored is None:
            stored = self._priced(asked, self._speed(ledger))
            if ledger:
                ledger.decide(name, stored)
        elif ledger:
            self._speed(ledger)  # and with it the number of processes
        return stored

    def terms(self, plan: Mapping[str, Any]) -> Terms:
        """Under which the race of a plan is held."""
        material, base = self._material, self._arms[0].base
        steps = base.steps_per_epoch(len(material.places(material.splits.folds[0].train)))
        seed, cuts, nested = self._options.seed, self._options.race, self._options.nested
        return Terms(seed, plan["seeds"], plan["most_seeds"], plan["folds"], steps, cuts=cuts, nested=nested)

    def _asked(self) -> Shape:
        """The comparison if every way is run to its end."""
        options, made = self._options, len(self._material.splits.folds)
        folds = min(made, options.folds or made)
        usual = CLOSE_SEEDS[folds > 1] if options.race else (3 if folds == 1 else 1)
        return Shape(tuple(arm.name for arm in self._arms), options.seeds or usual, folds, options.nested)

    def _speed(self, ledger: Ledger | None) -> Speed:
        """How fast this machine is, measured once a comparison, so that a budget that would do does do."""
        stored = ledger.decision("speed") if ledger else None
        if stored is not None:
            peaks = Peaks(**stored["peaks"]) if stored.get("peaks") else None
            speed = Speed(stored["forward"], stored["step"], self._outline, peaks)
            self.workers = self._allowed(self._options.workers or stored["workers"], speed)
            return speed
        self._watcher.said("timing a few steps …")
        learning = next((arm for arm in self._arms if arm.learns), self._arms[0])
        speed = measure_speed(self._material, learning, runtime=self._runtime)
        with nullcontext(ledger.trials) if ledger else TemporaryDirectory(prefix="unfreeze-") as folder:
            chosen = self._side_by_side(learning, speed, Path(folder))
        self.workers = chosen.workers
        if ledger:
            speed = chosen.speed
            took = None if speed.peaks is None else asdict(speed.peaks)
            decided = {"forward": speed.forward, "step": speed.step, "workers": chosen.workers, "peaks": took}
            ledger.decide("speed", decided)
        return chosen.speed

    def _side_by_side(self, learning: Arm, alone: Speed, folder: Path) -> Choice:
        """How many processes run trials, and how fast they are together."""
        asked, runtime, room = self._options.workers, self._runtime, self._room(alone)
        number = self._allowed(asked, alone) if asked else most_workers(room)
        price = price_of(self._asked(), self._arms, **self._prices(alone))  # whatever the budget
        on_its_own = runtime.device != "cpu" or self._options.threads is not None or price < WORTHWHILE_SECONDS
        if asked is None and on_its_own:
            number = 1
        if number == 1:
            return Choice(1, alone)
        self._watcher.said(f"timing the same in {number} processes side by side …")
        payload = Payload(self._material, folder, replace(runtime, threads=1), 60.0)
        found = calibrated(payload, learning, alone=alone, number=number, watcher=self._watcher)
        return replace(found, workers=self._allowed(asked or found.workers, found.speed))

    def _allowed(self, number: int, speed: Speed) -> int:
        """So many processes, or as many of them as the memory holds that the user has given."""
        room = self._room(speed)
        if self._options.workers is not None:
            check_workers(number, room)
        elif room.given:
            number = min(number, room.processes or number)
        return number

    def _room(self, speed: Speed) -> Room:
        """The memory that there is, and what the arms need of it."""
        given, peaks = self._options.memory_bytes, speed.peaks
        if peaks is None:  # on a GPU, or where the system does not say
            return Room(given, given is not None, 0, {})
        free = free_memory()
        limit = given if given is not None or free is None else free + peaks.before
        found = needs(self._arms, self._material, outline=self._outline, peaks=peaks)
        return Room(limit, given is not None, peaks.before, found)

    def _prices(self, speed: Speed) -> dict[str, Any]:
        """What one trial of each arm costs, and what they share."""
        prices = {arm.name: price_of_trial(arm, self._material, speed=speed) for arm in self._arms}
        return {"trial_prices": prices, "prefix": price_of_prefix(self._material, speed)}

    def _priced(self, asked: Shape, speed: Speed) -> dict[str, Any]:
        prices, budget, race = self._prices(speed), self._options.budget_seconds, self._options.race
        firsts = {arm.name: price_of_first(arm, self._material, speed=speed) for arm in self._arms}
        room = self._room(speed)
        arms = room.fitting(self._arms)
        shape, why = replace(asked, arms=tuple(arm.name for arm in arms)), ""
        if budget is not None and not race:
            shape = fit_into(budget, arms, most=shape, **prices)
        elif budget is not None:
            started = {"trial_prices": firsts, "prefix": prices["prefix"]}
            shape = replace(shape, arms=entrants(budget, arms, **started, nested=asked.nested))
            why = "its first setting does not fit the budget"
        plan = plan_as_dict(shape, self._arms, **prices, why=why)
        for row in plan["arms"]:
            row |= {"peak_bytes": room.needs.get(row["name"]), "first_seconds": firsts[row["name"]]}
            row |= {"reason": room.too_large.get(row["name"], row["reason"])}
        seeds = shape.seeds if self._options.seeds or not race else min(shape.seeds, 1 if shape.folds > 1 else 2)
        told = {"seeds": seeds, "race": race, "budget_seconds": budget, "memory_bytes": room.limit}
        if budget is not None:
            told["total_seconds"] = min(plan["whole_seconds"], budget)
        return plan | told | {"asked_seeds": asked.seeds, "asked_folds": asked.folds, "workers": self.workers}
