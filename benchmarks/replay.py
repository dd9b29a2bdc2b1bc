"""Replays decisions from the trials that are kept, and says what they are worth: seconds a study, nothing is trained.

    python benchmarks/replay.py --rows 300

For each cell: what the race chooses within shares of the exhaustive price, over random orders; beside it what choosing
by all trials would have given, a random arm at its middle rate, and the peers. Prints tables in Markdown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from replay_cells import parser_of
from replay_judging import Array, difference_draws, interval
from replay_racing import race
from replay_world import SEEDS_OF_SEARCH, Choice, Order, Peer, World, orders_of, peers_of, read_world

BUDGETS = (0.03, 0.05, 0.10, 0.20, 0.25, 0.50, 1.00)
"""Shares of the exhaustive price; beside each there is room for the last training, which a race may use for trials."""

WANTED = {0.10: 0.010, 0.25: 0.005}
"""The mean regret that is wanted, by share of the exhaustive price that all trials take in the mean."""


@dataclass(frozen=True, slots=True)
class Line:
    """A way to choose, on one cell.

    Attributes:
        name: of the way.
        score: mean test score, a fraction.
        regret: against the cross-fitted oracle.
        price: CPU seconds.
        ahead: bootstrap draws of what it is ahead of the competent script by; None where that is not kept.
        ahead_of_default: what it is ahead of the default Trainer by; None likewise.
        detail: what it chose.
        share: of the exhaustive price that its trials took.
    """

    name: str
    score: float
    regret: float
    price: float
    ahead: Array | None
    ahead_of_default: float | None
    detail: str = ""
    share: float = 0.0


def lines_of(world: World, *, orders: Sequence[Order], budgets: Sequence[float]) -> list[Line]:
    """All ways to choose on one cell."""
    count, whole = len(world.settings), world.exhaustive_price
    peers = peers_of(world)
    middles = [world.middle(arm) for arm in world.arms]
    at_random = np.bincount(middles, minlength=count) / len(middles)
    price = float(np.mean([world.cost(i, seed) for i in middles for seed in world.seeds]))
    made = [_peer_line(world, peer, peers) for peer in peers.values()]
    made.append(_line(world, "a random arm at its middle rate", at_random, price, peers))
    exhaustive = np.mean([world.one_hot(_best(world, order)) for order in orders], axis=0)
    made.append(_line(world, "exhaustive, best on validation", exhaustive, whole, peers))
    for budget in budgets:
        choices = [race(world, order, budget=budget * whole) for order in orders]
        made.append(_raced(world, _raced_at(budget), choices, peers))
    return made


def _best(world: World, order: Order) -> int:
    """The setting with the best mean validation score over the seeds of an exhaustive comparison."""
    seeds = [world.seeds.index(seed) for seed in order.seeds[:SEEDS_OF_SEARCH]]
    return int(world.validated()[:, seeds].mean(1).argmax())


def _raced(world: World, name: str, choices: Sequence[Choice], peers: dict[str, Peer]) -> Line:
    """A budget's races; where one chose nothing, a random arm at its middle rate is what its user is left with."""
    middles = [world.middle(arm) for arm in world.arms]
    nothing = np.mean([world.one_hot(i) for i in middles], axis=0)
    shares = np.mean([nothing if c.setting is None else world.one_hot(c.setting) for c in choices], axis=0)
    lost = sum(choice.setting is None for choice in choices)
    price = _mean([choice.spent for choice in choices])
    trials = (
        f"{_mean([choice.trials for choice in choices]):.0f} trials, {price / world.exhaustive_price:.0%} of the price"
    )
    detail = f"{trials}; {lost} chose nothing" if lost else trials
    return _line(world, name, shares, price, peers, detail)


def _line(world: World, name: str, shares: Array, price: float, peers: dict[str, Peer], detail: str = "") -> Line:
    score, test = world.on_halves.score(shares), world.counts["test"]
    draws = {which: difference_draws(test, peer.counts, world.score, shares=shares) for which, peer in peers.items()}
    default = float(draws["default"].mean()) if "default" in draws else None
    detail = "; ".join(part for part in (_mostly(world, shares), detail) if part)
    regret, share = world.on_halves.regret(shares), price / world.exhaustive_price
    return Line(name, score, regret, price, draws.get("competent"), default, detail, share)


def _mostly(world: World, shares: Array) -> str:
    """The settings that are chosen most often."""
    first = [i for i in np.argsort(-shares, kind="stable")[:2] if shares[i] > 0.1]
    return ", ".join(f"{_spelled(world, i)} {shares[i]:.0%}" for i in first)


def _spelled(world: World, place: int) -> str:
    arm, pooling, layers, rate = world.settings[place]
    head = "" if pooling == "standard" else f" {pooling}:{layers}"
    return f"{arm}{head} {rate:g}"


def _peer_line(world: World, peer: Peer, peers: dict[str, Peer]) -> Line:
    ones = np.ones(1)
    draws = {
        which: difference_draws(peer.counts[None], other.counts, world.score, shares=ones)
        for which, other in peers.items()
        if other is not peer
    }
    score = float(world.score(peer.counts.sum(1)).mean())
    default = float(draws["default"].mean()) if "default" in draws else None
    regret = world.on_halves.oracle - score
    share = peer.price / world.exhaustive_price
    return Line(peer.name, score, regret, peer.price, draws.get("competent"), default, peer.setting, share)


def table(world: World, lines: Sequence[Line]) -> str:
    """A cell's table."""
    runs = peers_of(world).get("default")
    rows = world.about["rows"]
    head = (
        f"### {world.name}\n\n{len(world.settings)} settings of {len(world.arms)} arms, {len(world.seeds)} seeds; "
        f"{rows['train']:,} rows to learn from, {rows['validation']:,} to choose by, {rows['test']:,} to judge by; "
        f"exhaustive price {world.exhaustive_price:,.0f} CPU s; cross-fitted oracle {100 * world.on_halves.oracle:.1f}."
    )
    body = [_row(line, runs) for line in lines]
    return "\n".join([head, "", *_HEAD, *body, ""])


_HEAD = (
    "| way to choose | test | regret | ahead of the competent script (95 %) | ahead of the default | CPU s "
    "| default runs | chose |",
    "|---|---|---|---|---|---|---|---|",
)


def _row(line: Line, default: Peer | None) -> str:
    runs = f"{line.price / default.price:.1f}" if default else ""
    ahead = _span(line.ahead)
    over = "" if line.ahead_of_default is None else f"{100 * line.ahead_of_default:+.1f}"
    cells = [line.name, f"{100 * line.score:.1f}", f"{100 * line.regret:.2f}", ahead, over, f"{line.price:,.0f}", runs]
    return "| " + " | ".join([*cells, line.detail]) + " |"


def _span(draws: Array | None) -> str:
    if draws is None:
        return ""
    low, high = interval(draws)
    return f"{100 * draws.mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def mean_table(worlds: Sequence[World], lines: Sequence[Sequence[Line]]) -> str:
    """The mean over cells, and whether what is wanted is reached."""
    body = []
    for some in zip(*lines, strict=True):
        ahead = [line.ahead for line in some if line.ahead is not None]
        over = [line.ahead_of_default for line in some if line.ahead_of_default is not None]
        mean = Line(
            some[0].name,
            _mean([line.score for line in some]),
            _mean([line.regret for line in some]),
            _mean([line.price for line in some]),
            np.mean(ahead, axis=0) if ahead else None,
            _mean(over) if over else None,
            f"{_mean([line.share for line in some]):.1%} of the price; "
            f"worst regret {100 * max(line.regret for line in some):.2f}",
        )
        body.append(_row(mean, _mean_default(worlds)))
    return "\n".join([f"### Mean over {len(worlds)} cells", "", *_HEAD, *body, ""])


def wanted(lines: Sequence[Sequence[Line]]) -> str:
    """What the race is wanted to reach, and whether the largest budget does that takes no more than the share."""
    body = ["| wanted | at | found | reached |", "|---|---|---|---|"]
    for share, least in WANTED.items():
        some = _within(lines, share)
        if not some:
            continue
        name = f"{some[0].name}, which takes {_mean([line.share for line in some]):.1%}"
        regret = 100 * _mean([line.regret for line in some])
        body.append(_wish(name, "mean regret", f"≤ {100 * least:.2f}", f"{regret:.2f}", regret <= 100 * least))
        ahead = [100 * line.ahead for line in some if line.ahead is not None]
        over = [100 * line.ahead_of_default for line in some if line.ahead_of_default is not None]
        if ahead:
            mean, low = float(np.mean(ahead)), sum(interval(draws)[1] < -1 for draws in ahead)
            body.append(_wish(name, "ahead of the competent script", "≥ -0.5", f"{mean:+.1f}", mean >= -0.5))
            what = "cells surely more than 1 point below the competent script"
            body.append(_wish(name, what, "0", str(low), low == 0))
        if over:
            body.append(_wish(name, "ahead of the default Trainer", "≥ +2", f"{_mean(over):+.1f}", _mean(over) >= 2))
    return "\n".join([*body, ""])


def _within(lines: Sequence[Sequence[Line]], share: float) -> list[Line]:
    """The lines, one a cell, of the largest budget whose trials take this share in the mean, rounded to a percent."""
    found: list[Line] = []
    for some in zip(*lines, strict=True):
        if some[0].name.startswith(RACED) and _mean([line.share for line in some]) < share + 0.005:
            found = list(some)
    return found


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


RACED = "race at "


def _raced_at(budget: float) -> str:
    return f"{RACED}{budget:.0%}"


def _wish(name: str, what: str, least: str, found: str, reached: bool) -> str:
    return f"| {name}: {what} | {least} | {found} | {'yes' if reached else 'no'} |"


def _mean_default(worlds: Sequence[World]) -> Peer | None:
    found = [peers["default"] for world in worlds if "default" in (peers := peers_of(world))]
    if not found:
        return None
    return Peer("default Trainer", found[0].counts, float(np.mean([peer.price for peer in found])), "")


def main() -> None:
    """Replay and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--orders", type=int, default=100)
    a = parser.parse_args()
    read = [read_world(a.kept, f"{name}-{a.rows}") for name in a.cells]
    worlds = [world for world in read if world is not None]
    if not worlds:
        raise SystemExit(f"no cell of {a.rows} rows is kept in {a.kept}")
    lines = [lines_of(world, orders=orders_of(world, a.orders), budgets=BUDGETS) for world in worlds]
    for world, some in zip(worlds, lines, strict=True):
        print(table(world, some))
    if all(len(some) == len(lines[0]) for some in lines):
        print(mean_table(worlds, lines))
    print(wanted(lines))


if __name__ == "__main__":
    main()
