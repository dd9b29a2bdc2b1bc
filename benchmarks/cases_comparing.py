"""Cases in which many settings are tried: P3 with a frozen encoder, P6 a whole comparison, and how our seconds grow."""

from collections.abc import Mapping, Sequence
from typing import Any

from figures import Figure, exponent, mean
from inputs import SENTENCES, embedded_encoder
from measuring import Side
from sides import PEERS, Setting, Sides, score, scores

RATES, DECAYS = (3e-4, 1e-3, 3e-3), (0.0, 0.01, 0.1)
ONCE, FOLDS = "encode once + scikit-learn", "ours, folds"


def frozen_sides(setting: Setting) -> list[Side]:
    """P3. A fifth of the training rows validates; the peer runs one epoch of one setting, the whole of it if full."""
    small = setting.size == "small"
    rows, tests, epochs = {"small": (80, 64, 1), "usual": (1250, 400, 10), "full": (2500, 1066, 10)}[setting.size]
    rates, decays = (RATES[1:2], DECAYS[:2]) if small else (RATES, DECAYS)
    train, test = setting.rows(SENTENCES, "train", rows), setting.rows(SENTENCES, "test", tests)
    both = ("--train", train, "--test", test)
    mine = (*both, "--epochs", epochs, "--rates", *rates, "--decays", *decays, "--seed", setting.pair)
    run = epochs if setting.size == "full" else 1
    theirs = (*both, "--epochs", run, "--max-examples", rows * 4 // 5, "--freeze-encoder", "--lr", RATES[1])
    folds = 2 if small else 5
    once = ("encode-once", *both, "--model", embedded_encoder(), "--settings", len(rates) * len(decays))
    return [
        setting.ours("ours", "heads", *mine),
        *(setting.peer(name, *theirs, *options) for name, options in PEERS.items()),
        setting.rival(ONCE, *once),
        setting.ours(FOLDS, "heads", *mine, "--folds", folds),
    ]


def frozen_figures(sides: Sides) -> list[Figure]:
    """The peer's seconds a step times the steps of all settings: it has to run each by itself."""
    ours, once, folds = sides["ours"], sides[ONCE], sides[FOLDS]
    targets = {"HF default": (300.0, 600.0), "HF tuned": (100.0, 200.0)}
    found = []
    for name, (at_least, dream) in targets.items():
        whole = sides[name]["steps"] >= ours["steps"] / ours["settings_tried"]
        theirs = sides[name]["cpu_ms_a_step"] * ours["steps"] / 1e3
        times = ours["steps"] / sides[name]["steps"]
        detail = f"theirs: {sides[name]['steps']} steps of one setting measured, × {times:g}"
        both = (score(ours), score(sides[name]) if whole else None)
        found.append(Figure(name, ours["cpu_s"], theirs, "CPU s", at_least, dream, None, both, detail))
    detail = "" if ours["together"] else "ours trains its heads one by one in this version"
    found.append(Figure(ONCE, ours["cpu_s"], once["cpu_s"], "CPU s", 5, 10, None, scores(ours, once), detail))
    times, name = folds["cpu_s"] / ours["cpu_s"], f"{folds['folds']} folds against 1"
    return [*found, Figure(name, times, None, "× the seconds", at_most=1.2)]


FROZEN = {"head-only": ("--freeze-encoder",), "head-only@mean:4": ("--freeze-encoder",)}
ARMS: Mapping[str, tuple[str, ...]] = {
    "last-k:k=1": ("--train-top", "1"),
    "last-k:k=2": ("--train-top", "2"),
    "last-k:k=4": ("--train-top", "4"),
    "full": (),
    "gradual": (),
    **FROZEN,
}
"""Our arms with the peer's options for the same. The frozen ones come last, so that what they share with the others is
charged to the others, and leaving them out does not flatter us. The peer has one frozen head for both."""

MISSING = ("gradual with decayed rates",)
SHAPES = {"small": (64, 32, 1, 1, 1), "usual": (256, 128, 3, 3, 3), "full": (2000, 1066, 3, 3, 3)}
"""Of a comparison: training rows, rows of validation and of test, epochs, learning rates, seeds."""

ROWS = {"small": (64, 1), "usual": (1024, 1), "full": (2000, 3)}
"""Training rows and epochs of the peer's runs. At the usual size they are not ours, though about as many steps: with
few rows its sampler would have nothing to group, and its steps would cost more than those of a real run."""


BUDGETS = {"small": "30s", "usual": "90s", "full": "15m"}
"""Of a race over the same: a twentieth of what the peer's runs take."""

RACE = "race"


def comparison_sides(setting: Setting) -> list[Side]:
    """P6. Ours runs everything in one go; of the peer one run an arm is measured, and its steps are counted up."""
    rows, held, epochs, rates, seeds = SHAPES[setting.size]
    arms = ["last-k:k=1", "head-only"] if setting.size == "small" else list(ARMS)
    test, dev = setting.rows(SENTENCES, "test", held), setting.rows(SENTENCES, "dev", held)
    files = ("--train", setting.rows(SENTENCES, "train", rows), "--validation", dev, "--test", test)
    mine = (*files, "--epochs", epochs, "--rates", rates, "--seeds", seeds, "--arms", *arms)
    raced = (*files, "--epochs", epochs, "--rates", rates, "--seed", setting.pair, "--budget", BUDGETS[setting.size])
    sides = [setting.ours("ours", "comparison", *mine), setting.ours(RACE, "race", *raced, "--arms", *arms)]
    rows, epochs = ROWS[setting.size]
    run = ("--train", setting.rows(SENTENCES, "train", rows), "--epochs", epochs, "--dev", dev, "--test", test)
    for arm in arms:
        for name, options in PEERS.items():
            theirs = (*run, *ARMS[arm], *options, "--lr", rate_of(arm))
            sides.append(setting.peer(f"{name}: {arm}", *theirs, gradual=arm == "gradual"))
    return sides


def rate_of(arm: str) -> float:
    """The middle of our arm's learning rates, with which the peer runs, too."""
    from unfreeze.strategies import strategy_named

    return strategy_named(arm.partition("@")[0]).search.rates(3)[0]


def comparison_figures(sides: Sides) -> list[Figure]:
    """Training and evaluation; the same without the frozen arms; and whole processes, which start once for ours.

    On both sides the clock begins when libraries, rows and a first model are loaded.
    """
    ours, found = sides["ours"], []
    trials = next(iter(ours["arms"].values()))["trials"]
    detail = f"theirs: one run an arm measured, × {trials}; missing on both sides: {', '.join(MISSING)}"
    for name, at_least in zip(PEERS, (5.0, 1.6), strict=True):
        runs = {arm: sides[f"{name}: {arm}"] for arm in ours["arms"]}
        cost = {arm: _cost(runs[arm], about, gradual=arm == "gradual") for arm, about in ours["arms"].items()}
        thawed = [arm for arm in ours["arms"] if arm not in FROZEN]
        some = sum(ours["arms"][arm]["cpu_s"] for arm in thawed)
        starts = sum(trials * (run["process_cpu_s"] - run["worked_cpu_s"]) for run in runs.values())
        same = all(run["steps"] * trials == ours["arms"][arm]["steps"] for arm, run in runs.items())
        both = (
            mean(about["accuracy"] for about in ours["arms"].values()),
            mean(map(score, runs.values())) if same else None,
        )
        every = sum(cost.values())
        found += [
            Figure(name, ours["cpu_s"], every, "CPU s", at_least, None, None, both, detail),
            Figure(f"{name}, frozen arms left out", some, sum(cost[arm] for arm in thawed), "CPU s"),
            Figure(f"{name}, whole processes", ours["process_cpu_s"], every + starts, "CPU s"),
            _raced(f"{name}, racing", sides[RACE], ours, every, 20.0 if name == "HF default" else 7.0),
        ]
    return found


def _raced(name: str, race: Mapping[str, Any], ours: Mapping[str, Any], theirs: float, at_least: float) -> Figure:
    """A race against all of the peer's runs; and what the way it chose is worth beside the best of all trials."""
    best = {arm: about["best"] for arm, about in ours["arms"].items()}
    winner = max(best, key=lambda arm: best[arm]["validation"])
    same = [arm for arm in best if arm.partition("@")[0] == race["chosen"]]
    own = max(same, key=lambda arm: best[arm]["validation"])
    behind = 100 * (best[winner]["test"] - best[own]["test"])
    detail = f"the race chose {race['chosen']} ({race['verdict']}), all trials {winner}; {behind:+.1f} points on test"
    both = (race["test_score"]["accuracy"], best[winner]["test"])
    return Figure(name, race["cpu_s"], theirs, "CPU s", at_least, None, None, both, detail)


def _cost(run: Mapping[str, Any], ours: Mapping[str, Any], *, gradual: bool) -> float:
    """CPU seconds of as many of the peer's steps and evaluations as our arm took.

    The first two steps are not counted, but with ``gradual``, where they are the cheapest.
    """
    step = run["steps_cpu_s"] / run["steps"] if gradual else run["cpu_ms_a_step"] / 1e3
    return float(step * ours["steps"] + ours["trials"] * (run["worked_cpu_s"] - run["steps_cpu_s"]))


LAYERS = (("last-k:k=3",), ("last-k:k=2", "last-k:k=4"), ("last-k:k=1", "last-k:k=2", "last-k:k=4", "last-k:k=5"))
"""One, two and four arms that train three layers on average."""


def growth_sides(setting: Setting) -> list[Side]:
    """Our whole comparison at three sizes of one thing, all else as it is."""
    base, words = {"small": (40, (4, 8, 16)), "usual": (192, (10, 40, 160)), "full": (512, (10, 40, 160))}[setting.size]
    sides: list[Side] = []

    def add(axis: str, size: int, train: str, *options: object, arms: Sequence[str] = LAYERS[0]) -> None:
        test = setting.rows(SENTENCES, "test", 32)
        told = ("--train", train, "--test", test, "--batch", 16, "--arms", *arms, *options)
        sides.append(setting.ours(f"{axis} {size}", "comparison", *told))

    usual = setting.rows(SENTENCES, "train", base)
    for i, size in enumerate((1, 2, 4)):
        add("examples", size * base, setting.rows(SENTENCES, "train", size * base))
        add("tokens", words[i], setting.texts(SENTENCES, base // 2, words=words[i]))
        add("arms", size, usual, arms=LAYERS[i])
        add("seeds", size, usual, "--seeds", size)
        add("folds", size, usual, "--folds", size)
    return sides


def growth_figures(sides: Sides) -> list[Figure]:
    """For each thing the exponent of the seconds; linear is 1, below 1 something is shared."""
    found = []
    for axis in dict.fromkeys(name.partition(" ")[0] for name in sides):
        points = {int(name.partition(" ")[2]): side for name, side in sides.items() if name.startswith(axis + " ")}
        sizes = [side[axis] if axis in ("examples", "tokens") else size for size, side in points.items()]
        seconds = [side["cpu_s"] for side in points.values()]
        last = exponent(sizes[-2:], seconds[-2:])
        told = ", ".join(f"{size:,}: {second:.1f} s" for size, second in zip(sizes, seconds, strict=True))
        found.append(
            Figure(axis, exponent(sizes, seconds), None, "exponent", detail=f"{told}; {last:.2f} between the last two")
        )
    return found
