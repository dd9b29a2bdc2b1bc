"""A race: every way starts, those that fall behind leave, and what they would have cost goes where it tells most.

Exhaustive comparisons spend most of their time on ways and settings that nobody will use. Here the work comes in
rounds, and after each round it is decided who goes on:

1. *Settings.* In the first round every way tries one setting, in the following ones the rest of its search. A way
   leaves when its best setting lies so far behind the best of all that its other settings can hardly make it up, or
   when the budget does not hold the rest of all of them: then those that stand best go on.
2. *Runs.* Those that are left get the same number of seeds, or all folds. After that, further seeds go to the best and
   to those that cannot be told from it, until the verdict can not change any more, or more seeds would not help.
3. *Floors* that learn are run last.

Steps are never cut: a way that is not trained to its end says nothing. Nothing here looks at test rows, at a clock or
at a disk; what depends on time (what is left of a budget) is asked for once a round, and each decision is remembered by
whoever holds the race, so that going on decides the same.

Source: Maron & Moore 1994, Hoeffding races, NIPS 6 (leaving on evidence); Karnin, Koren & Somekh 2013, Almost optimal
exploration in multi-armed bandits, ICML, and Jamieson & Talwalkar 2016, arXiv:1502.07943 (halving under a budget).
"""

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

    def _purse(self) -> Purse:
        return self._host.purse(list(self.outcomes.values()))

    def course(self) -> Course:
        """All that is run: yields jobs that may run side by side, is sent their answers; returns the outcomes."""
        rivals = [o for o in self.outcomes.values() if not o.arm.strategy.search.floor]
        floors = [o for o in self.outcomes.values() if o.arm.strategy.search.floor]
        yield from self._search_floors([o for o in floors if not o.arm.learns])  # these cost next to nothing
        yield from self._search(rivals)
        yield from self._runs([o for o in rivals if self._settle(o)])
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
                    outcome.tuning[trial] = float("nan")
                else:
                    outcome.failed = outcome.failed or answer
                continue
            outcome.tried[trial] = answer
            if place is None:
                outcome.tuning[trial] = self._score_of(answer)
            else:
                outcome.records[place] = answer
        self._asked = []

    # Settings

    def _search_floors(self, floors: Sequence[ArmOutcome]) -> _Part:
        """The whole searches of some floors."""
        self._lists |= {o.arm.name: self._order(o) for o in floors}
        while lists := self._next_lists([o.arm.name for o in floors], None):
            yield from self._trying(lists)

    def _search(self, rivals: Sequence[ArmOutcome]) -> _Part:
        """Rounds of settings; who goes on is decided after each."""
        self._lists |= {o.arm.name: self._order(o) for o in rivals}
        searching, most, number = [o.arm.name for o in rivals], None, 1
        while lists := self._next_lists(searching, most):
            yield from self._trying(lists)
            field = [o for o in rivals if o.left is None]
            decision = self._decide(f"settings {number}", partial(self._steward.after_settings, field, rounds=number))
            searching, most, number = decision["searching"], decision["most"], number + 1

    def _next_lists(self, names: Sequence[str], most: int | None) -> dict[str, list[Trial]]:
        """The next settings of some searches, at the most so many of the first one; empty where all are over."""
        found: dict[str, list[Trial]] = {}
        for number, name in enumerate(names):
            trials = next(self._lists[name], [])
            kept = trials[:most] if number == 0 else trials
            if kept:
                found[name] = kept
            if len(found.get(name, [])) < len(trials):
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

    def _order(self, outcome: ArmOutcome) -> Iterator[list[Trial]]:
        return search_order(outcome.arm, outcome.tuning, records=outcome.tried, seed=self._terms.seed, fold=0)

    def _trying(self, lists: Mapping[str, Sequence[Trial]]) -> _Part:
        """Some trials of searches: their scores, or the reasons why they have none."""
        jobs: list[Job] = []
        for name in self._in_order(lists):
            outcome, trials = self.outcomes[name], lists[name]
            before, of = len(outcome.tuning), outcome.arm.tuning_trials
            jobs += self._jobs(
                outcome.arm, trials, doing=[f"setting {before + i + 1} of {of}" for i in range(len(trials))]
            )
        self._asked = [(trial, self.outcomes[name], None) for name, trials in lists.items() for trial in trials]
        self._take((yield jobs))

    def _settle(self, outcome: ArmOutcome) -> bool:
        """Choose an arm's settings; False where it has none that can be trained, or has left."""
        if outcome.left or outcome.failed or not outcome.tuning:
            return False
        if outcome.chosen is None:
            best = best_trial(outcome.tuning)
            if best not in outcome.tried or outcome.tuning[best] != outcome.tuning[best]:
                outcome.failed = self._failure(outcome)
                return False
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
        """Run chosen settings with some seeds on some folds."""
        trials = {
            name: {place: self.outcomes[name].chosen.again(seed=place[0], fold=place[1]) for place in some}  # type: ignore[union-attr]
            for name, some in places.items()
        }
        jobs: list[Job] = []
        for name in self._in_order(trials):
            doing = [self._doing(place) for place in trials[name]]
            jobs += self._jobs(self.outcomes[name].arm, list(trials[name].values()), doing=doing)
        self._asked = [(t, self.outcomes[name], place) for name, some in trials.items() for place, t in some.items()]
        self._take((yield jobs))

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
        folds = self._steward.folds_for_floors(self._finalists())
        settled = [o for o in running if self._settle(o)]
        if folds > 1 and settled:
            yield from self._running({o.arm.name: [(self._terms.seed, f) for f in range(1, folds)] for o in settled})

    def _finalists(self) -> list[ArmOutcome]:
        """Those that may be handed over."""
        settled = [o for o in self.outcomes.values() if o.chosen and not o.left and not o.failed]
        return [o for o in settled if not o.arm.strategy.search.floor]

    def _even_out(self, why: str) -> None:
        """Give every arm its runs on the folds that all of them have."""
        done = [o for o in self.outcomes.values() if o.chosen and not o.left and not o.failed]
        folds = min((self._folds_of(o) for o in done), default=1)
        for outcome in done:
            outcome.records = {place: r for place, r in outcome.records.items() if place[1] < folds}
            outcome.records = {p: r for p, r in outcome.records.items() if p[0] in outcome.seeds}
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
