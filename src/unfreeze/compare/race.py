"""A race: every way starts, those that fall behind leave, and what they would have cost goes where it tells most.

Exhaustive comparisons spend most of their time on ways and settings that nobody will use. Here the work comes in
rounds, and after each round it is decided who goes on:

1. *Settings.* In the first round every way tries one setting, in the following ones the rest of its search. A way
   leaves when its best setting lies so far behind the best of all that its other settings can hardly make it up, or
   when the budget does not hold the rest of all of them: then those that stand best go on.
2. *Runs.* Those that are left get the same number of seeds, or all folds. After that, further seeds go to the best and
   to those that cannot be told from it, until the verdict can not change any more, or more seeds would not help.
3. *Floors* that learn are run last.

With nested terms settings are chosen on inner folds, so that no row scores a model whose settings it has helped to
choose: the first search is on the inner fold of the first fold, and before a way is run on any other fold it is
searched once more on that one's inner fold, to its end. Who is left by then is settled, so nobody leaves there.

Steps are never cut: a way that is not trained to its end says nothing. Nothing here looks at test rows, at a clock or
at a disk; what depends on time (what is left of a budget) is asked for once a round, and each decision is remembered by
whoever holds the race, so that going on decides the same.

Source: Maron & Moore 1994, Hoeffding races, NIPS 6 (leaving on evidence); Karnin, Koren & Somekh 2013, Almost optimal
exploration in multi-armed bandits, ICML, and Jamieson & Talwalkar 2016, arXiv:1502.07943 (halving under a budget).
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from unfreeze.compare.arms import Arm
from unfreeze.compare.driving import Course
from unfreeze.compare.jobs import Answer, Job
from unfreeze.compare.outcomes import ArmOutcome, Place
from unfreeze.compare.search import best_trial, search_order
from unfreeze.compare.standing import Purse, Standing
from unfreeze.compare.steward import Decision, Steward, Terms, tried
from unfreeze.compare.trials import Trial

SHORT = 0.1
"""An arm this much cheaper than the dearest is run first, also where others run beside it."""

_Part = Generator[list[Job], dict[Trial, Answer], None]


@dataclass(frozen=True, slots=True)
class Host:
    """Whoever holds a race.

    Attributes:
        purse: what is left of the budget now, given the outcomes so far.
        decided: gives the decision of a name, making it with the function given if it is not made yet.
        jobs: an arm's trials, with what to tell of each, as jobs.
        told: called with each decision.
        side_by_side: whether several jobs run at a time.
    """

    purse: Callable[[Sequence[ArmOutcome]], Purse] = lambda _: Purse()
    decided: Callable[[str, Callable[[], Decision]], Decision] = lambda _, make: make()
    jobs: Callable[..., list[Job]] | None = None
    told: Callable[[Decision], None] = lambda _: None
    side_by_side: bool = False


class Race:
    """One race.

    Attributes:
        outcomes: of all arms, by name.
        story: every decision, in the order made.

    Args:
        arms: that start, floors among them, in the order of their priority.
        terms: under which it is held.
        standing: compares them.
        host: whoever holds it.
    """

    def __init__(self, arms: Sequence[Arm], *, terms: Terms, standing: Standing, host: Host) -> None:
        self.outcomes = {arm.name: ArmOutcome(arm) for arm in arms}
        self.story: list[Decision] = []
        self._terms, self._host, self._score_of = terms, host, standing.tables.score_of
        self._standing = standing
        rivals = sum(not arm.strategy.search.floor for arm in arms)
        self._steward = Steward(terms, standing, self._purse, rivals)
        self._jobs = host.jobs or one_by_one
        self._reasons: dict[str, list[str]] = {arm.name: [] for arm in arms}
        self._asked: list[tuple[Trial, ArmOutcome, Place | None]] = []
        self._lists: dict[str, Iterator[list[Trial]]] = {}
        self._searched, self._cut = set[str](), set[str]()
        self._first = standing.tables.inner(0) if terms.nested else 0  # the fold of the first searches

    def _purse(self) -> Purse:
        return self._host.purse(list(self.outcomes.values()))

    def course(self) -> Course:
        """All that is run: yields jobs that may run side by side, is sent their answers; returns the outcomes."""
        rivals = [o for o in self.outcomes.values() if not o.arm.strategy.search.floor]
        floors = [o for o in self.outcomes.values() if o.arm.strategy.search.floor]
        yield from self._search_floors([o for o in floors if not o.arm.learns])  # these cost next to nothing
        yield from self._search(rivals)
        running = [o for o in rivals if self._settle(o)]
        self._mark_shortened()  # what was starved of settings is not worth further seeds
        yield from self._runs(running)
        yield from self._floors(floors)
        return self.finish()

    def finish(self, why: str = "", *, answered: Callable[[Trial], Answer | None] = lambda _: None) -> list[ArmOutcome]:
        """The outcomes, with what has been run so far.

        Args:
            why: the race is ended before its end, for this reason.
            answered: the answer to a trial of the round that was under way, where there is one.
        """
        self._take({trial: answer for trial, *_ in self._asked if (answer := answered(trial)) is not None})
        for outcome in self.outcomes.values():
            if why and not outcome.tuning:
                outcome.left = outcome.left or why
            if not self._settle(outcome) and not outcome.left:
                outcome.failed = outcome.failed or self._failure(outcome)
            elif not outcome.records and not outcome.left and not outcome.failed:
                outcome.left = why or "the budget does not hold a run of it"
        self._mark_shortened()
        self._even_out(why)
        return list(self.outcomes.values())

    def _take(self, answers: Mapping[Trial, Answer]) -> None:
        """Give the answers that there are to whoever asked for them."""
        for trial, outcome, place in self._asked:
            answer = answers.get(trial)
            if answer is None:
                continue
            if isinstance(answer, str):
                self._reasons[outcome.arm.name].append(answer)
                if place is None:
                    self._scores(outcome, trial.fold)[trial] = float("nan")
                else:
                    outcome.failed = outcome.failed or answer
                continue
            outcome.tried[trial] = answer
            if place is None:
                self._scores(outcome, trial.fold)[trial] = self._score_of(answer)
            else:
                outcome.records[place] = answer
        self._asked = []

    def _scores(self, outcome: ArmOutcome, fold: int | None) -> dict[Trial, float]:
        """The scores of an arm's search on a fold."""
        return outcome.tuning if fold in (None, self._first) else outcome.further.setdefault(fold, {})

    # Settings

    def _search_floors(self, floors: Sequence[ArmOutcome]) -> _Part:
        """The whole searches of some floors."""
        self._lists |= {o.arm.name: self._order(o, self._first) for o in floors}
        while lists := self._next_lists([o.arm.name for o in floors], {}):
            yield from self._trying(lists)

    def _search(self, rivals: Sequence[ArmOutcome]) -> _Part:
        """Rounds of settings; who goes on is decided after each."""
        self._lists |= {o.arm.name: self._order(o, self._first) for o in rivals}
        searching, most, number = [o.arm.name for o in rivals], dict[str, int](), 1
        while lists := self._next_lists(searching, most):
            yield from self._trying(lists)
            field = [o for o in rivals if o.left is None]
            decision = self._decide(f"settings {number}", partial(self._steward.after_settings, field, rounds=number))
            searching, most, number = decision["searching"], decision["most"], number + 1

    def _next_lists(self, names: Sequence[str], most: Mapping[str, int]) -> dict[str, list[Trial]]:
        """The next settings of some searches, of some at the most so many; empty where all are over."""
        found: dict[str, list[Trial]] = {}
        for name in names:
            if most.get(name) == 0:
                continue
            trials = next(self._lists[name], [])
            kept = trials[: most.get(name)]
            if kept:
                found[name] = kept
            if len(kept) < len(trials):
                self._cut.add(name)
            elif not trials:
                self._searched.add(name)
        return found

    def _mark_shortened(self) -> None:
        """Say of those that are left whether their search was cut short."""
        for name, outcome in self.outcomes.items():
            whole = name in self._searched or len(outcome.tuning) == outcome.arm.tuning_trials
            if outcome.chosen is not None and (name in self._cut or not whole):
                outcome.shortened = f"only {tried(outcome)} were tried, for the budget was short"

    def _order(self, outcome: ArmOutcome, fold: int) -> Iterator[list[Trial]]:
        scores = self._scores(outcome, fold)
        return search_order(outcome.arm, scores, records=outcome.tried, seed=self._terms.seed, fold=fold)

    def _trying(self, lists: Mapping[str, Sequence[Trial]]) -> _Part:
        """Some trials of searches, those of an arm on one fold after another: their scores, or why they have none."""
        jobs: list[Job] = []
        for name in self._in_order(lists):
            arm, seen = self.outcomes[name].arm, Counter[int | None]()
            doing: list[str] = []
            for trial in lists[name]:
                seen[trial.fold] += 1
                number = len(self._scores(self.outcomes[name], trial.fold)) + seen[trial.fold]
                doing.append(f"setting {number} of {arm.tuning_trials}{self._where(trial)}")
            jobs += self._jobs(arm, lists[name], doing=doing)
        self._asked = [(trial, self.outcomes[name], None) for name, trials in lists.items() for trial in trials]
        self._take((yield jobs))

    def _where(self, trial: Trial) -> str:
        """On which inner fold a setting is tried."""
        if not self._terms.nested or self._terms.folds == 1:
            return ""
        return f", inner fold {1 + (trial.fold or 0) - self._first}"

    def _settle(self, outcome: ArmOutcome) -> bool:
        """Choose an arm's settings; False where it has none that can be trained, or has left."""
        if outcome.left or outcome.failed or not outcome.tuning:
            return False
        if outcome.chosen is None:
            best = best_trial(outcome.tuning)
            if best not in outcome.tried or outcome.tuning[best] != outcome.tuning[best]:
                outcome.failed = self._failure(outcome)
                return False
            if self._terms.nested:
                outcome.choose_on(0, best)
                return True
            outcome.chosen = best
            outcome.records[self._terms.seed, 0] = outcome.tried[best]
        return True

    def _failure(self, outcome: ArmOutcome) -> str:
        reasons = self._reasons[outcome.arm.name]
        return reasons[0] if reasons else "its loss became infinite under every setting tried"

    # Runs

    def _runs(self, finalists: Sequence[ArmOutcome]) -> _Part:
        """Rounds of runs with the chosen settings; who needs more is decided before each."""
        number = 1
        while True:
            running = [o for o in finalists if not o.failed and not o.left]
            decision = self._decide(f"runs {number}", partial(self._steward.before_runs, running))
            places = {name: [(seed, fold) for seed, fold in some] for name, some in decision["runs"].items()}
            if not places:
                return
            yield from self._running(places)
            number += 1

    def _running(self, places: Mapping[str, Sequence[Place]]) -> _Part:
        """Run chosen settings with some seeds on some folds; with nested terms, choose each fold's own first."""
        if self._terms.nested:
            yield from self._search_inner({name: sorted({fold for _, fold in some}) for name, some in places.items()})
        fit = {name: some for name, some in places.items() if not self.outcomes[name].failed}
        trials = {name: {place: self.outcomes[name].run_at(place) for place in some} for name, some in fit.items()}
        jobs: list[Job] = []
        for name in self._in_order(trials):
            doing = [self._doing(place) for place in trials[name]]
            jobs += self._jobs(self.outcomes[name].arm, list(trials[name].values()), doing=doing)
        self._asked = [(t, self.outcomes[name], place) for name, some in trials.items() for place, t in some.items()]
        self._take((yield jobs))

    def _search_inner(self, folds: Mapping[str, Sequence[int]]) -> _Part:
        """Search some arms on the inner folds of some folds, all searches in rounds together, each to its end."""
        searches: dict[tuple[str, int], Iterator[list[Trial]]] = {}
        for name, some in folds.items():
            outcome = self.outcomes[name]
            for fold in some:
                if fold not in outcome.chosen_on:
                    searches[name, fold] = self._order(outcome, self._first + fold)
        left = dict(searches)
        while left:
            lists: dict[str, list[Trial]] = {}
            for (name, fold), search in list(left.items()):
                trials = next(search, [])
                if not trials:
                    del left[name, fold]
                lists.setdefault(name, []).extend(trials)
            if lists := {name: trials for name, trials in lists.items() if trials}:
                yield from self._trying(lists)
        for name, fold in searches:
            self._choose_on(self.outcomes[name], fold)

    def _choose_on(self, outcome: ArmOutcome, fold: int) -> None:
        """Choose the settings of a further fold; where none can be trained there, the arm has failed."""
        scores = self._scores(outcome, self._first + fold)
        best = best_trial(scores)
        if best in outcome.tried and scores[best] == scores[best]:
            outcome.choose_on(fold, best)
        else:
            outcome.failed = outcome.failed or self._failure(outcome)

    def _doing(self, place: Place) -> str:
        return f"seed {place[0] + 1 - self._terms.seed}" + (f", fold {place[1] + 1}" if self._terms.folds > 1 else "")

    # Floors, and the end

    def _floors(self, floors: Sequence[ArmOutcome]) -> _Part:
        """Floors that learn: each one's search, then its runs on the folds of the others, with one seed."""
        if not floors:
            return
        self._decide("floors", lambda: self._steward.which_floors(floors, finalists=self._finalists()))
        running = [o for o in floors if o.left is None]
        yield from self._search_floors([o for o in running if not o.tuning])
        places = [(self._terms.seed, f) for f in range(self._steward.folds_for_floors(self._finalists()))]
        settled = [o for o in running if self._settle(o)]
        if settled and (further := [place for place in places if place not in settled[0].records]):
            yield from self._running({o.arm.name: further for o in settled})

    def _finalists(self) -> list[ArmOutcome]:
        """Those that may be handed over."""
        settled = [o for o in self.outcomes.values() if o.chosen and not o.left and not o.failed]
        return [o for o in settled if not o.arm.strategy.search.floor]

    def _even_out(self, why: str) -> None:
        """Give every arm its runs on the folds that all of them have."""
        done = [o for o in self.outcomes.values() if o.chosen and o.records and not o.left and not o.failed]
        folds = min((self._folds_of(o) for o in done), default=1)
        for outcome in done:
            outcome.records = {place: r for place, r in outcome.records.items() if place[1] < folds}
            outcome.records = {p: r for p, r in outcome.records.items() if p[0] in outcome.seeds}
            outcome.report_on(range(folds))
            outcome.runs = self._standing.runs(outcome)
        if why:
            self._note({"stage": "end", "on": [o.arm.name for o in done], "out": {}, "why": why})

    def _folds_of(self, outcome: ArmOutcome) -> int:
        """Folds, from the first on, that an arm was run on with its first seed."""
        folds = {fold for seed, fold in outcome.records if seed == self._terms.seed}
        return next(n for n in range(len(folds) + 2) if n not in folds)

    def _decide(self, stage: str, make: Callable[[], Decision]) -> Decision:
        """A decision: made now or remembered, carried out, and told."""
        decision = self._host.decided(stage, make)
        for name, why in decision["out"].items():
            self.outcomes[name].left = why
        self._note({"stage": stage} | decision)
        return decision

    def _note(self, decision: Decision) -> None:
        self.story.append(decision)
        self._host.told(decision)

    def _in_order(self, names: Iterable[str]) -> list[str]:
        """The cheapest first, so that there is soon something to hand over.

        Side by side, the long ones follow from the longest to the shortest: otherwise the longest would end alone.
        """
        prices = self._purse().prices
        rising = sorted(names, key=lambda name: prices.get(name, 0.0))
        if not self._host.side_by_side or not rising:
            return rising
        limit = SHORT * prices.get(rising[-1], 0.0)
        short = [name for name in rising if prices.get(name, 0.0) <= limit]
        return [*short, *reversed(rising[len(short) :])]


def one_by_one(arm: Arm, trials: Sequence[Trial], *, doing: Sequence[str]) -> list[Job]:
    """A job for each trial."""
    return [Job(arm.name, (trial,), what) for trial, what in zip(trials, doing, strict=True)]
