"""A verdict in plain sentences."""

from unfreeze.compare.numerals import counted, listed, percent, points, span, spelled
from unfreeze.recommend.verdict import NO_COMMON_RUN, Comparison, Recommendation


def sentences(made: Recommendation) -> tuple[str, ...]:
    """The verdict in plain words; differences in points (hundredths of the score).

    The floors come first where one is not shown to be worse, then the verdict, what is handed over and why, what would
    settle it, what it all rests on, and last the arms that were not at their best, failed or were dropped.
    """
    parts = [_floors(made), _verdict(made), _handed_over(made), _would_settle(made), _rests_on(made), *_caveats(made)]
    return tuple(part for part in parts if part)


def in_short(made: Recommendation) -> tuple[str, ...]:
    """Three sentences: the verdict, what is handed over and what it costs, what would settle it or what it rests on."""
    floors, verdict, handed = _floors_in_short(made), _verdict(made), _handed_over(made)
    first = f"{floors}; {verdict[:1].lower()}{verdict[1:]}" if floors else verdict
    second = f"{handed.removesuffix('.')}{_costs(made)}." if handed else "No model is handed over."
    return first, second, _would_settle(made) or _rests_on(made) or "There is nothing that it could rest on."


def _costs(made: Recommendation) -> str:
    """What one training of the way handed over takes, beside the dearest of the others."""
    costs = dict(made.costs)
    own = costs.pop(made.chosen or "", None)
    if own is None:
        return ""
    others = sorted(costs.items(), key=lambda item: (-item[1], item[0]))
    beside = f" (of {others[0][0]}: {spelled(others[0][1])})" if others else ""
    return f"; one training of it took {spelled(own)}{beside}"


def _span(pair: Comparison, *, turned: bool = False) -> str:
    """The interval of the difference; turned, that of the rival's lead."""
    low, high = pair.interval.low, pair.interval.high
    return f"{percent(pair.interval.level)} interval {span((-high, -low) if turned else (low, high))}"


def _gap(pair: Comparison, unit: str = "points") -> str:
    """How the best lies to another arm: "leads head by 1.0 points (…)", never by less than nothing."""
    if pair.interval.basis == NO_COMMON_RUN:
        return f"cannot be set beside {pair.rival}"
    shown = points(abs(pair.difference))
    if shown == points(0.0):
        return f"scores the same as {pair.rival} ({_span(pair)})"
    behind = pair.difference < 0
    return f"{'trails' if behind else 'leads'} {pair.rival} by {shown} {unit} ({_span(pair, turned=behind)})"


def _floors(made: Recommendation) -> str:
    if not made.floors_not_worse:
        return ""
    pairs = [pair for pair in made.floors if pair.rival in made.floors_not_worse]
    lost = [_gap(pair) for pair in pairs if pair.interval.high < 0]
    open_ = [_gap(pair) for pair in pairs if pair.interval.high >= 0]
    beaten = f"{made.best} is beaten by {_these(lost)}, so no way of fine-tuning is worth its price here: it {{}}."
    unclear = f"{made.best} is not shown to beat {_these(open_)}, so its score may mean little: it {{}}."
    said = ((beaten, lost), (unclear, open_))
    return " ".join(sentence.format(listed(gaps)) for sentence, gaps in said if gaps)


def _floors_in_short(made: Recommendation) -> str:
    """Which floors are not beaten, without the figures."""
    lost = [pair.rival for pair in made.floors if pair.rival in made.floors_not_worse and pair.interval.high < 0]
    if lost:
        return f"{made.best} is beaten by {listed(lost)}, so no way of fine-tuning is worth its price here"
    open_ = listed(made.floors_not_worse)
    return f"{made.best} is not shown to beat {open_}, so its score may mean little" if open_ else ""


def _these(floors: list[str]) -> str:
    return "this floor" if len(floors) == 1 else "these floors"


def _verdict(made: Recommendation) -> str:
    if made.verdict == "no arm":
        if made.scores and not made.dropped:
            return "Only floors were compared. They show what others must beat and are never handed over: no verdict."
        return "No arm finished that could be handed over, so there is no verdict."
    if made.verdict == "only one arm":
        return f"Only one arm finished, {made.best}: there is nothing to compare it with."
    if made.verdict == "better":
        won = [pair for pair in made.rivals if pair.verdict == "better"]
        nearest = min(won, key=lambda pair: pair.interval.low)
        lead = f"{made.best} beats {nearest.rival} by {points(nearest.difference)} points of {made.metric}"
        rest = f", and {counted(len(won) - 1, 'other arm')} more clearly" if len(won) > 1 else ""
        return f"{lead} ({_span(nearest)}){rest}."
    if made.verdict == "tie":
        tied = [pair for pair in made.rivals if pair.verdict == "tie"]
        gaps = [f"{pair.rival} ({points(pair.difference)} points of {made.metric}, {_span(pair)})" for pair in tied]
        return f"{made.best} ties with {listed(gaps)}: inside the margin of ±{points(made.margin)} points."
    return _open(made)


def _open(made: Recommendation) -> str:
    pairs = [pair for pair in made.rivals if pair.verdict == "not settled"]
    nearest = min(pairs, key=lambda pair: (pair.interval.low, pair.rival))
    lead = f"Not settled: {made.best} {_gap(nearest, f'points of {made.metric}')}"
    more = sum(pair is not nearest and not pair.note for pair in pairs)  # of the others a note says why
    others = f", and {counted(more, 'more arm')} cannot be told from it" if more else ""
    return "; ".join([f"{lead}{others}", *_notes(made, pairs)]) + "."


def _notes(made: Recommendation, pairs: list[Comparison]) -> list[str]:
    """What stands against a verdict; of starved arms the names alone, because the caveats give the reasons."""
    notes = {pair.note for pair in pairs if pair.note}
    starved = {f"{name} is starved: {reason}": name for name, reason in made.starved}
    names = sorted(starved[note] for note in notes & starved.keys())
    told = [f"{listed(names)} {'is' if len(names) == 1 else 'are'} starved"] if names else []
    return [*told, *sorted(notes - starved.keys())]


def _handed_over(made: Recommendation) -> str:
    if made.chosen is None or made.verdict in ("better", "only one arm"):
        return f"{made.chosen} is handed over." if made.chosen else ""
    if made.verdict == "tie":
        why = "the cheapest of the tied" if made.cheapest else "the cheapest of the tied and the best by score"
        return f"{made.chosen} is handed over: {why}."
    if made.cheapest is None:
        return f"{made.chosen} is handed over: the best by score, and the cheapest not shown to be worse."
    risk = f"may score up to {points(made.cheapest.risk)} points less"
    if made.chosen == made.cheapest.name:
        return f"{made.chosen} is handed over: the cheapest arm not shown to be worse than {made.best}; it {risk}."
    return (
        f"{made.chosen} is handed over: the best by score; "
        f"the cheapest arm not shown to be worse is {made.cheapest.name}, which {risk}."
    )


def _would_settle(made: Recommendation) -> str:
    if made.verdict != "not settled" or made.rests_on is None:
        return ""
    starved = {name for name, _ in made.starved}
    if starved >= {pair.rival for pair in made.rivals if pair.verdict == "not settled"}:
        return "What is starved settles nothing: give it more epochs or more learning rates (see below)."
    if made.rests_on.seeds * made.rests_on.folds < 2:
        return "Run two seeds or more to let it be settled."
    if made.examples_needed is not None:
        return (
            f"About {made.examples_needed:,} scored {made.rests_on.unit}s would settle it, "
            f"if the differences stay as they are ({made.rests_on.units or made.rests_on.examples:,} now)."
        )
    if any(pair.verdict == "not settled" and not pair.note for pair in made.rivals):
        return "Training noise is the limit: more seeds would help, more examples alone would not."
    return ""


def _rests_on(made: Recommendation) -> str:
    rests = made.rests_on
    if rests is None:
        return ""
    folds = f" × {counted(rests.folds, 'fold')}" if rests.folds > 1 else " on one validation split"
    together = f" in {counted(rests.units, rests.unit)}" if rests.units is not None else ""
    many = f"; intervals hold for all pairs of {len(made.rivals) + 1} arms at once" if len(made.rivals) > 1 else ""
    return (
        f"This rests on {counted(rests.seeds, 'seed')}{folds} and {counted(rests.examples, 'example')}{together}{many}."
    )


def _caveats(made: Recommendation) -> list[str]:
    so = "" if made.verdict == "only one arm" else " and cannot lose a verdict"
    starved = [f"{name} was starved{so}: {reason}." for name, reason in made.starved]
    failed = [f"{name} failed in {count} of {counted(runs, 'run')}." for name, count, runs in made.degenerate]
    return [*starved, *failed, *(f"{name} is not in the comparison: {reason}." for name, reason in made.dropped)]
