"""A verdict in plain sentences."""

from unfreeze.recommend.verdict import Comparison, Recommendation


def sentences(made: Recommendation) -> tuple[str, ...]:
    """The verdict in plain words; differences in points (hundredths of the score).

    The floors come first where one is not shown to be worse, then the verdict, what is handed over and why, what would
    settle it, what it all rests on, and last the arms that were not at their best, failed or were dropped.
    """
    parts = [_floors(made), _verdict(made), _handed_over(made), _would_settle(made), _rests_on(made), *_caveats(made)]
    return tuple(part for part in parts if part)


def _points(value: float) -> str:
    """A fraction in points, one digit, never -0.0."""
    return f"{round(100 * value, 1) + 0.0:.1f}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _span(pair: Comparison) -> str:
    interval = pair.interval
    return f"{100 * interval.level:.3g} % interval {_points(interval.low)} to {_points(interval.high)}"


def _floors(made: Recommendation) -> str:
    if not made.floors_not_worse:
        return ""
    gaps = [
        f"{pair.rival} by {_points(pair.difference)} points ({_span(pair)})"
        for pair in made.floors
        if pair.rival in made.floors_not_worse
    ]
    noun = "this floor" if len(gaps) == 1 else "these floors"
    return f"{made.best} is not shown to beat {noun}, so its score may mean little: it leads {_listed(gaps)}."


def _verdict(made: Recommendation) -> str:
    if made.verdict == "no arm":
        return "No arm finished that could be handed over, so there is no verdict."
    if made.verdict == "only one arm":
        return f"Only one arm finished, {made.best}: there is nothing to compare it with."
    if made.verdict == "better":
        won = [pair for pair in made.rivals if pair.verdict == "better"]
        nearest = min(won, key=lambda pair: pair.interval.low)
        lead = f"{made.best} beats {nearest.rival} by {_points(nearest.difference)} points of {made.metric}"
        rest = f", and {_number(len(won) - 1, 'other arm')} more clearly" if len(won) > 1 else ""
        return f"{lead} ({_span(nearest)}){rest}."
    if made.verdict == "tie":
        tied = [pair for pair in made.rivals if pair.verdict == "tie"]
        gaps = [f"{pair.rival} ({_points(pair.difference)} points of {made.metric}, {_span(pair)})" for pair in tied]
        return f"{made.best} ties with {_listed(gaps)}: inside the margin of ±{_points(made.margin)} points."
    return _open(made)


def _open(made: Recommendation) -> str:
    pairs = [pair for pair in made.rivals if pair.verdict == "not settled"]
    nearest = min(pairs, key=lambda pair: (pair.interval.low, pair.rival))
    lead = f"Not settled: {made.best} leads {nearest.rival} by {_points(nearest.difference)} points of {made.metric}"
    others = f", and {_number(len(pairs) - 1, 'more arm')} cannot be told from it" if len(pairs) > 1 else ""
    notes = sorted({pair.note for pair in pairs if pair.note})
    return f"{lead} ({_span(nearest)}){others}{'; ' if notes else ''}{'; '.join(notes)}."


def _handed_over(made: Recommendation) -> str:
    if made.chosen is None or made.verdict in ("better", "only one arm"):
        return f"{made.chosen} is handed over." if made.chosen else ""
    if made.verdict == "tie":
        why = "the cheapest of the tied" if made.cheapest else "the cheapest of the tied and the best by score"
        return f"{made.chosen} is handed over: {why}."
    if made.cheapest is None:
        return f"{made.chosen} is handed over: the best by score, and no cheaper arm is as good for all that is known."
    risk = f"it may score up to {_points(made.cheapest.risk)} points less"
    if made.chosen == made.cheapest.name:
        return f"{made.chosen} is handed over: the cheapest arm not shown to be worse than {made.best}; {risk}."
    return (
        f"{made.chosen} is handed over: the best by score; "
        f"the cheapest arm not shown to be worse is {made.cheapest.name}, {risk}."
    )


def _would_settle(made: Recommendation) -> str:
    if made.verdict != "not settled" or made.rests_on is None:
        return ""
    if made.rests_on.seeds * made.rests_on.folds < 2:
        return "Run two seeds or more to let it be settled."
    if made.examples_needed is not None:
        return (
            f"About {made.examples_needed:,} scored examples would settle it, "
            f"if the differences stay as they are ({made.rests_on.examples:,} now)."
        )
    if any(pair.verdict == "not settled" and not pair.note for pair in made.rivals):
        return "Training noise is the limit: more seeds would help, more examples alone would not."
    return ""


def _rests_on(made: Recommendation) -> str:
    rests = made.rests_on
    if rests is None:
        return ""
    folds = f" × {_number(rests.folds, 'fold')}" if rests.folds > 1 else " on one validation split"
    many = f"; intervals hold for {_number(len(made.rivals), 'comparison')} at once" if len(made.rivals) > 1 else ""
    return f"This rests on {_number(rests.seeds, 'seed')}{folds} and {_number(rests.examples, 'example')}{many}."


def _caveats(made: Recommendation) -> list[str]:
    starved = [f"{name} was starved and cannot lose a verdict: {reason}." for name, reason in made.starved]
    failed = [f"{name} failed in {count} of {_number(runs, 'run')}." for name, count, runs in made.degenerate]
    return [*starved, *failed, *(f"{name} is not in the comparison: {reason}." for name, reason in made.dropped)]
