"""Cases whose sides only train: P1, P1b, P2, P4, P7 on a GPU, P8 in memory, and what bfloat16 costs in score."""

from collections.abc import Mapping
from dataclasses import dataclass

from figures import Figure
from inputs import LONG_TAILED, SENTENCES
from measuring import Side
from sides import PEERS, SIZES, TUNED, Setting, Sides, score, scores


@dataclass(frozen=True)
class Training:
    """Training alone, ours against the peer's: P1, P1b, P2, P4.

    The tuned peer needs many rows, or its sampler has nothing to group: it sorts a quarter of the rows at a time. The
    default peer's batches are random, so that it may stop early.

    Attributes:
        data: the data set.
        steps: steps of an epoch, by size.
        tests: test rows that are scored, by size; the peer scores none where both start from random weights.
        at_least: ratio to reach, against the default and the tuned peer.
        dream: the same, dreamt of.
        default_steps: steps after which the default peer stops at the usual size.
        epochs: passes.
        strategy: ours.
        options: the peer's for the same.
        random_base: BERT-base's shape with random weights.
        whole: whether all of the tuned peer's steps are counted. Its sampler takes the longest rows first: where those
            are much longer, a run without its first two steps would not be the same work.
    """

    data: str
    steps: tuple[int, int, int]
    tests: tuple[int, int, int]
    at_least: tuple[float | None, float | None]
    dream: tuple[float | None, float | None]
    default_steps: int
    epochs: int = 1
    strategy: str = "full"
    options: tuple[str, ...] = ()
    random_base: bool = False
    whole: bool = False

    def sides(self, setting: Setting) -> list[Side]:
        """Ours, the default peer, the tuned peer."""
        place = SIZES.index(setting.size)
        train = setting.rows(self.data, "train", 32 * self.steps[place])
        test = setting.rows(self.data, "test", self.tests[place])
        both = ("--train", train, "--epochs", self.epochs, *(["--random-base"] if self.random_base else []))
        again = ("--again",) if self.epochs > 1 else ()
        mine = (*both, *again, "--test", test, "--strategy", self.strategy, "--seed", setting.pair)
        scored = () if self.random_base else ("--test", test)
        theirs = (*both, *scored, *self.options, "--lr", 1e-4)
        early = ("--max-steps", self.default_steps) if setting.size == "usual" else ()
        return [
            setting.ours("ours", "train", *mine),
            setting.peer("HF default", *theirs, *early),
            setting.peer("HF tuned", *theirs, *TUNED),
        ]

    def figures(self, sides: Sides) -> list[Figure]:
        """Seconds of a step; where several epochs share a cached prefix, with its building and with it at hand.

        All of our own steps are counted, and of the peer's all but the first two.
        """
        ours, tuned, found = sides["ours"], sides["HF tuned"], []
        if tuned["steps"] != ours["steps"]:
            raise ValueError(f"ours took {ours['steps']} steps, HF tuned {tuned['steps']}: not the same work")
        mine, unit = 1e3 * ours["steps_cpu_s"] / ours["steps"], "CPU ms a step"
        for name, at_least, dream in zip(PEERS, self.at_least, self.dream, strict=True):
            theirs = sides[name]
            every = self.whole and theirs is tuned
            other = 1e3 * theirs["steps_cpu_s"] / theirs["steps"] if every else theirs["cpu_ms_a_step"]
            both = score(ours), score(theirs) if theirs["steps"] == ours["steps"] else None
            found.append(Figure(name, mine, other, unit, at_least, dream, None, both))
            if ours["again"]:
                found.append(Figure(f"{name}, cache at hand", ours["again"]["cpu_ms_a_step"], other, unit))
        return found


TOP = ("--train-top", "2")
P1 = Training(SENTENCES, (2, 32, 96), (64, 400, 1066), (4, 1.35), (6, 2), 16)
P1B = Training(LONG_TAILED, (2, 40, 120), (64, 100, 1000), (12, 1.8), (18, 2.5), 6, whole=True)
P2 = Training(SENTENCES, (1, 12, 32), (32, 32, 32), (3.5, None), (5, 1.5), 4, random_base=True)
P4 = Training(SENTENCES, (2, 24, 32), (64, 200, 1066), (8, 2), (10, 3), 16, 3, "last-k:k=2", TOP)


def gpu_sides(setting: Setting) -> list[Side]:
    """P7: the tuned peer and ours on a GPU, and how fast the GPU multiplies."""
    steps = 4 if setting.size == "small" else 240
    train, test = setting.rows(SENTENCES, "train", 32 * steps), setting.rows(SENTENCES, "test", 32)
    both = ("--train", train, "--random-base")
    tuned = (*both, "--epochs", 1, "--device", "cuda", *TUNED)
    return [
        setting.ours("ours", "train", *both, "--test", test, "--seed", setting.pair, on_gpu=True),
        setting.peer("HF tuned", *tuned, on_gpu=True),
        setting.rival("matrix products", "gemm", on_gpu=True),
    ]


def gpu_figures(sides: Sides) -> list[Figure]:
    """Wall seconds of a step; and the share of the measured product rate that real tokens reach.

    Six operations a weight and token: two forward, four backward. The 12 layers of BERT-base hold 12 matrices of
    768 × 768 each; attention's own products are left out, which counts against us.
    """
    ours, theirs = sides["ours"], sides["HF tuned"]
    operations = 6 * 12 * 12 * 768**2 * ours["tokens"] / ours["steps"]
    share = operations / (ours["wall_ms_a_step"] / 1e3) / sides["matrix products"]["flop_a_second"]
    return [
        Figure("HF tuned, GPU", ours["wall_ms_a_step"], theirs["wall_ms_a_step"], "wall ms a step", 1.5, 2),
        Figure("share of the product rate", 100 * share, None, "%", at_least=45, dream=60),
    ]


ROUNDED: Mapping[str, tuple[object, ...]] = {
    "full": ("--strategy", "full", "--rate", 1e-4),
    "head-only": ("--strategy", "head-only@mean:4", "--rate", 1e-3),
}
"""Ways that are trained in bfloat16 and in float32: one that learns everything, and one on remembered states."""


def precision_sides(setting: Setting) -> list[Side]:
    """Both ways in bfloat16 and in float32, ours alone; the number of the pair is the seed."""
    rows, tests, epochs = {"small": (64, 64, 1), "usual": (992, 1066, 4), "full": (3200, 1066, 4)}[setting.size]
    both = ("--train", setting.rows(SENTENCES, "train", rows), "--test", setting.rows(SENTENCES, "test", tests))
    return [
        setting.ours(
            f"{way}, {kind}", "train", *both, *how, "--epochs", epochs, "--precision", kind, "--seed", setting.pair
        )
        for way, how in ROUNDED.items()
        for kind in ("bf16", "fp32")
    ]


def precision_figures(sides: Sides) -> list[Figure]:
    """Seconds of the steps, and the scores: bfloat16 is "ours", float32 "theirs"."""
    found = []
    for way in ROUNDED:
        ours, theirs = sides[f"{way}, bf16"], sides[f"{way}, fp32"]
        told = f"{way}, bf16 against fp32"
        found.append(Figure(told, ours["steps_cpu_s"], theirs["steps_cpu_s"], scores=scores(ours, theirs)))
    return found


def memory_sides(setting: Setting) -> list[Side]:
    """P8: three steps, short sentences and long-tailed ones."""
    sides = []
    for name in (LONG_TAILED,) if setting.size == "small" else (LONG_TAILED, SENTENCES):
        train = ("--train", setting.rows(name, "train", 32 if setting.size == "small" else 96), "--epochs", 1)
        test = ("--test", setting.rows(name, "test", 32))
        sides.append(setting.ours(f"ours, {name}", "train", *train, *test, "--seed", setting.pair))
        sides += [setting.peer(f"{peer}, {name}", *train, *options) for peer, options in PEERS.items()]
    return sides


def memory_figures(sides: Sides) -> list[Figure]:
    """The largest resident memory of the processes, the libraries themselves included."""
    found = []
    for name, side in sides.items():
        peer, _, data = name.partition(", ")
        if peer != "ours":
            found.append(Figure(name, sides[f"ours, {data}"]["peak_mb"], side["peak_mb"], "MB", at_least=1))
    return found
