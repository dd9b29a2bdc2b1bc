"""Who goes on in a race, who leaves it and why, and who is run once more: decisions, from what was seen so far."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from unfreeze.compare.arms import Arm
from unfreeze.compare.numerals import counted, listed, points, span
from unfreeze.compare.outcomes import ArmOutcome
from unfreeze.compare.standing import Purse, Standing

HEADROOM = 0.02
"""What the rest of its search may still bring a way, a fraction: two points are much for one more setting."""

FEWEST_FOLDS = 3
"""With two, one degree of freedom, an interval holds everything."""

CHEAP = 0.1
"""A search whose rest costs less than this share of what is left is always ended."""

Decision = dict[str, Any]
"""Who goes on, who leaves and why: plain data, for the ledger and the report."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which a race is held.

    Attributes:
        seed: of the first run.
        seeds: runs of every finalist on each fold.
        most_seeds: runs of those that cannot be told apart, at the most.
        folds: folds that every finalist is run on.
        steps_per_epoch: optimizer steps of one pass over a fold's training rows.
        cuts: whether ways leave and runs end by what was seen; else every way is searched and run to its end.
        nested: whether each fold's settings are chosen on an inner fold of its own.
    """

    seed: int
    seeds: int
    most_seeds: int
    folds: int
    steps_per_epoch: int
    cuts: bool = True
    nested: bool = False

    def trials_on(self, folds: int, arm: Arm) -> int:
        """Trials of one seed on the first folds, that of the first search left out."""
        return folds + (folds - 1) * arm.tuning_trials if self.nested else folds - 1

    def trials_of_runs(self, folds: int, arm: Arm) -> int:
        """Trials of all seeds on the first folds, that of the first search left out."""
        return self.trials_on(folds, arm) + (self.seeds - 1) * folds


@dataclass(frozen=True, slots=True)
class Steward:
    """Decides what comes next.

    Attributes:
        terms: under which the race is held.
        standing: compares arms.
        purse: what is left of the budget now.
        arms: that started and may be handed over.
    """

    terms: Terms
    standing: Standing
    purse: Callable[[], Purse]
    arms: int

    def after_settings(self, field: Sequence[ArmOutcome], *, rounds: int) -> Decision:
        """After a round of settings: who goes on, who of them goes on with its search, and how far.

        Args:
            field: who is in the race.
            rounds: rounds of settings so far; on the first, which may be of a poor head, nobody is judged.
        """
        ranked = self.standing.by_settings(field)
        out = self._beaten(ranked) if self.terms.cuts and rounds > 1 else {}
        left = [o for o in ranked if o.arm.name not in out]
        best = left[:2]
        on = self._held(left, self._rest)
        if all(o in on for o in best):  # else cheap ones would stay in the place of the best
            return self._going_on(left, on, out)
        cheap, most = self._cheap(left[1:]), self._each(best, self._fewest_runs)
        aside = all(o in self._held(left, self._fewest_runs) for o in best)
        if aside and (self.terms.folds > 1 or any(most.values())):
            # Their fewest runs are put aside, what is left beside them goes into their search.
            return self._going_on(left, [*best, *(o for o in cheap if o not in best)], out) | {"most": most}
        # Nobody leaves where that would buy nothing. The best goes on with its search as far as the budget lasts, after
        # it the next best that has something left to try, and with them those whose search costs next to nothing.
        first = 1 if self.terms.nested else 0  # run
        for outcome in left:
            most = self._each([outcome], lambda _: first, beside=left[:1])
            if most[outcome.arm.name] and len(outcome.tuning) < outcome.arm.tuning_trials:
                break
        searching = [*most, *(o.arm.name for o in cheap if o.arm.name not in most)]
        return {"on": [o.arm.name for o in left], "out": out, "searching": searching, "most": most}

    def _cheap(self, outcomes: Sequence[ArmOutcome]) -> list[ArmOutcome]:
        """Those the rest of whose search costs next to nothing beside what is left."""
        purse = self.purse()
        return [o for o in outcomes if self._rest(o) * purse.prices[o.arm.name] < CHEAP * purse.left]

    def _each(
        self, outcomes: Sequence[ArmOutcome], runs: Callable[[ArmOutcome], int], *, beside: Sequence[ArmOutcome] = ()
    ) -> dict[str, int]:
        """How many more settings of each of some arms fit beside the last training, their runs and those of others."""
        purse, kept = self.purse(), [*outcomes, *(o for o in beside if o not in outcomes)]
        left = purse.beside_last(o.arm.name for o in kept)
        left -= sum(runs(o) * purse.prices[o.arm.name] for o in kept)
        number = max(0, int(left / sum(max(purse.prices[o.arm.name], 1e-9) for o in outcomes)))
        return {o.arm.name: number for o in outcomes}

    def _going_on(self, left: Sequence[ArmOutcome], on: Sequence[ArmOutcome], out: dict[str, str]) -> Decision:
        """Some go on; the others leave, because the budget does not hold them."""
        names = [o.arm.name for o in on]
        for place, o in enumerate(left, 1):
            if o not in on:
                out[o.arm.name] = (
                    f"{_place(place)} of {len(left)} after {tried(o)}, and the budget does not hold the rest of it "
                    f"beside {listed(names)}"
                )
        return {"on": names, "out": out, "searching": names, "most": {}}

    def _held(self, ranked: Sequence[ArmOutcome], trials: Callable[[ArmOutcome], int]) -> list[ArmOutcome]:
        """Those that the budget holds with so many more trials each, the best first."""
        held: dict[str, int] = {}
        purse, on = self.purse(), list[ArmOutcome]()
        for outcome in ranked:
            more = held | {outcome.arm.name: trials(outcome)}
            if purse.holds(more):
                held = more
                on.append(outcome)
        return on

    def _rest(self, outcome: ArmOutcome) -> int:
        """Trials of the rest of an arm's search and of its runs."""
        folds = self.terms.folds
        return outcome.arm.tuning_trials - len(outcome.tuning) + self.terms.trials_of_runs(folds, outcome.arm)

    def _fewest_runs(self, outcome: ArmOutcome) -> int:
        """Trials of an arm's runs that come before more settings.

        Other folds do, as few as still say something: they bring examples, without which settings are chosen by chance.
        Other seeds do not: they only make surer what is known of a choice.
        """
        folds = min(self.terms.folds, FEWEST_FOLDS)
        return self.terms.trials_of_runs(folds, outcome.arm) if folds > 1 or self.terms.nested else 0

    def _beaten(self, ranked: Sequence[ArmOutcome]) -> dict[str, str]:
        """Ways that lie farther behind the best than their other settings can be expected to bring them."""
        out: dict[str, str] = {}
        for other in ranked[1:]:
            gap = self.standing.behind(ranked[0], other, among=self.arms)
            if gap is not None and gap.interval.low > HEADROOM:
                out[other.arm.name] = (
                    f"{points(gap.mean)} points behind {ranked[0].arm.name} after {tried(other)} "
                    f"(interval {span((gap.interval.low, gap.interval.high))}), more than others could make up"
                )
        return out

    def before_runs(self, running: Sequence[ArmOutcome]) -> Decision:
        """Before a round of runs: who is run with which seeds on which folds; nobody where the race is over."""
        terms, none = self.terms, {"on": [o.arm.name for o in running], "out": {}, "runs": {}}
        if not running:
            return none | {"why": ""}
        done = {fold for outcome in running for _, fold in outcome.records}
        if not done or (terms.folds > 1 and done == {0}):
            return self._first_folds(running) if done else self._first_run(running)
        ranked = self.standing.by_runs(running)
        least = min(len(o.seeds) for o in ranked)
        if least < terms.seeds:
            return self._one_more(ranked, least, why="")
        close, why = self._too_close(ranked)
        if not close:
            return none | {"why": why}
        if len(ranked[0].seeds) >= terms.most_seeds:
            return none | {"why": f"{counted(terms.most_seeds, 'seed')} are the most that are run"}
        return self._one_more([ranked[0], *close], len(ranked[0].seeds), why=why)

    def _first_run(self, running: Sequence[ArmOutcome]) -> Decision:
        """The first fold, whose settings an inner fold has chosen: for as many as the budget holds, or the best."""
        ranked = self.standing.by_settings(running)
        on = self._held(ranked, lambda _: 1) or ranked[:1]
        out = {o.arm.name: "the budget does not hold a run of it" for o in ranked if o not in on}
        runs = {o.arm.name: [[self.terms.seed, 0]] for o in on}
        return {"on": list(runs), "out": out, "runs": runs, "why": ""}

    def _first_folds(self, running: Sequence[ArmOutcome]) -> Decision:
        """All folds for as many as the budget holds; for two of them fewer folds rather than none."""
        ranked, all_ = self.standing.by_settings(running), self.terms.folds
        done = self.terms.trials_on(1, ranked[0].arm)  # the same for all
        for folds in (all_, *range(all_ - 1, FEWEST_FOLDS - 1, -1)):
            on = self._held(ranked, lambda o, folds=folds: self.terms.trials_on(folds, o.arm) - done)  # type: ignore[misc]
            if all(o in on for o in ranked[:2]):
                on = on if folds == all_ else on[:2]
                names = [o.arm.name for o in on]
                places = [[self.terms.seed, fold] for fold in range(1, folds)]
                why = "the budget does not hold its runs on the other folds"
                out = {o.arm.name: why for o in ranked if o not in on}
                return {"on": names, "out": out, "runs": dict.fromkeys(names, places), "why": ""}
        names = [o.arm.name for o in ranked]
        return {"on": names, "out": {}, "runs": {}, "why": "the budget does not hold the other folds"}

    def _one_more(self, ranked: Sequence[ArmOutcome], done: int, *, why: str) -> Decision:
        """One more seed for those that have the fewest, as far as the budget holds it; for two of them or for none.

        Each is run with the first seed that it lacks: one that was not close in a round before has one to make up for,
        and has fewer seeds than the number of its last one says.
        """
        fewest = [o for o in ranked if len(o.seeds) <= done]
        folds = folds_of(ranked)
        lacks = {o.arm.name: next(s for s in count(self.terms.seed) if s not in o.seeds) for o in fewest}
        on = self._held(fewest, lambda _: folds)
        names = [o.arm.name for o in ranked]
        if len(on) < min(2, len(fewest)):
            return {"on": names, "out": {}, "runs": {}, "why": "the budget does not hold another seed"}
        runs = {o.arm.name: [[lacks[o.arm.name], fold] for fold in range(folds)] for o in on}
        return {"on": names, "out": {}, "runs": runs, "why": why}

    def _too_close(self, ranked: Sequence[ArmOutcome]) -> tuple[list[ArmOutcome], str]:
        """Rivals that further runs might tell from the best; and why there are none, or what they wait for."""
        best, rivals = ranked[0], ranked[1:]
        if not self.terms.cuts:
            return [], ""
        said = {
            rival.arm.name: self.standing.verdict(self.standing.between(best, rival, among=self.arms))
            for rival in rivals
            if rival.starved(self.terms.steps_per_epoch) is None  # over a starved one nothing is settled, ever
        }
        close = [rival for rival in rivals if said.get(rival.arm.name) == "runs"]
        if close:
            names = ", ".join(rival.arm.name for rival in close)
            return close, f"{best.arm.name} cannot be told from {names} yet"
        if "examples" in said.values():
            return [], "more runs would not settle it: what is lacking is scored examples"
        return [], "the verdict cannot change any more" if said else "there is nobody left to compare with"

    def which_floors(self, floors: Sequence[ArmOutcome], *, finalists: Sequence[ArmOutcome]) -> Decision:
        """As many floors as the budget holds beside the last training, the cheapest first."""
        purse, on, out = self.purse(), dict[str, int](), dict[str, str]()
        last, folds = [o.arm.name for o in finalists], self.folds_for_floors(finalists)
        for floor in sorted(floors, key=lambda o: purse.prices.get(o.arm.name, 0.0)):
            trials = floor.arm.tuning_trials + self.terms.trials_on(folds, floor.arm)
            if not floor.arm.learns or purse.holds(on | {floor.arm.name: trials}, last=last):
                on[floor.arm.name] = trials
            else:
                out[floor.arm.name] = "does not fit the budget"
        return {"on": list(on), "out": out}

    def folds_for_floors(self, finalists: Sequence[ArmOutcome]) -> int:
        """Folds that floors are run on: those of the others, all where there are no others."""
        return folds_of(finalists) if finalists else self.terms.folds


def tried(outcome: ArmOutcome) -> str:
    """How much of its search an arm has had: "2 of 6 settings"."""
    return f"{len(outcome.tuning)} of {counted(outcome.arm.tuning_trials, 'setting')}"


def folds_of(outcomes: Sequence[ArmOutcome]) -> int:
    """Folds that any of some arms was run on."""
    return max((1 + fold for outcome in outcomes for _, fold in outcome.records), default=1)


def _place(number: int) -> str:
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number if number < 20 else number % 10, 'th') }"
