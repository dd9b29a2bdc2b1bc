"""The verbs: each calls one public function and prints what it gives."""

import argparse
import io
import json
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from unfreeze.cli.parsing import make_parser
from unfreeze.cli.settings import settings_of
from unfreeze.compare.options import Options, bytes_of, seconds_of
from unfreeze.errors import Interrupted, UnfreezeError
from unfreeze.front import Comparison, cache, compare, fit, plan_comparison, refuse_floor

if TYPE_CHECKING:
    from unfreeze.cli.live import Live


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None for those that were typed.

    Returns:
        The exit code.
    """
    # Before torch is imported: threads that spin while they wait cost dear where cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _speak_utf8()
    typed = list(sys.argv[1:] if arguments is None else arguments)
    if not typed:
        typed = ["--help"]
    options = make_parser().parse_args(typed)
    verbs: dict[str, Callable[[argparse.Namespace, str], None]] = {
        "compare": _compare,
        "fit": _fit,
        "predict": _predict,
        "demo": _demo,
        "cache": _cache,
        "strategies": _strategies,
    }
    try:
        verbs[options.verb](options, shlex.join(["unfreeze", *typed]))
        sys.stdout.flush()
    except UnfreezeError as error:
        return _told(error, debug=options.debug)
    except KeyboardInterrupt:
        _prose("\nstopped at once; the same command goes on from the last checkpoint")
        return Interrupted.exit_code
    except BrokenPipeError:
        _let_go_of_stdout()
        return 0
    except MemoryError:
        _prose(
            "unfreeze: error: the machine's memory is used up; try a smaller encoder, "
            "or --set per_device_train_batch_size=8"
        )
        return 3
    except Exception as error:
        return _bug(error, debug=options.debug)
    return 0


def _speak_utf8() -> None:
    """Tables have lines and predictions have any script: an output of another encoding would end in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
        if encoding != "utf8" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace" if stream.isatty() else stream.errors)


def _let_go_of_stdout() -> None:
    """The reader has gone (``| head``): what Python still writes at its end must go nowhere, or it complains."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(error: UnfreezeError, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if isinstance(error, Interrupted):
        _prose(f"\n{error}")
    else:
        _prose(f"unfreeze: error: {error}")
    return error.exit_code


def _bug(error: Exception, *, debug: bool) -> int:
    """Anything we did not foresee is our fault, and says so."""
    if debug:
        traceback.print_exc()
    _prose(
        f"unfreeze: this is a bug of ours, not of your data: {type(error).__name__}: {error}\n"
        "The same command with --debug shows where; what was finished is kept."
    )
    return UnfreezeError.exit_code


def _prose(text: str) -> None:
    sys.stderr.write(text + "\n")


def _compare(options: argparse.Namespace, command: str) -> None:
    names = None if options.strategies is None else [name for name in options.strategies.split(",") if name]
    chosen = {
        "strategies": _joined(names),
        "budget": options.budget,
        "seeds": options.seeds,
        "folds": options.folds,
        "search": options.search,
        "tuning": options.tuning,
        "nested": options.nested,
        "trials": options.trials,
        "race": options.race,
        "margin": options.margin,
        "prefer": options.prefer,
    }
    if options.dry_run:
        _show_plan(options, chosen)
        return
    with _live(options) as live:
        comparison = compare(**_common(options), **chosen, command=command, watcher=live)
    _show(comparison, options)


def _joined(names: list[str] | None) -> list[str] | None:
    """``a,last-k:k=4,x=1`` splits at commas, but ``x=1`` belongs to the strategy before it."""
    if names is None:
        return None
    out: list[str] = []
    for name in names:
        if "=" in name and ":" not in name and out:
            out[-1] += f",{name}"
        else:
            out.append(name)
    return out


def _fit(options: argparse.Namespace, command: str) -> None:
    refuse_floor(options.strategy)
    if options.dry_run:
        _show_plan(options, {"strategies": [options.strategy], "budget": None, "seeds": 1, "folds": 1, "tuning": 1})
        return
    with _live(options) as live:
        comparison = fit(**_common(options), strategy=options.strategy, command=command, watcher=live)
    _show(comparison, options)


_SOURCES = ("file", "train", "validation", "test", "unlabeled")
"""Where rows come from, in the order of ``Sources``."""


def _common(options: argparse.Namespace) -> dict[str, Any]:
    """Options that ``compare`` and ``fit`` share, under the names of the functions' arguments."""
    names = (*_SOURCES, "text_column", "label_column", "group_column", "task")
    more = ("model", "seed", "max_dropped", "threads", "workers", "memory", "precision", "output_dir")
    cached = ("cache_size", "cache_dir")
    return {name: getattr(options, name) for name in (*names, *more, *cached)} | {"settings": settings_of(options.set)}


def _show(comparison: Comparison, options: argparse.Namespace) -> None:
    from unfreeze.cli.showing import closing, results

    if options.json:
        sys.stdout.write((comparison.folder / "recommendation.json").read_text(encoding="utf-8"))
        return
    sys.stdout.write(results(comparison.record) + closing(comparison.record, comparison.folder) + "\n")


def _show_plan(options: argparse.Namespace, chosen: Mapping[str, Any]) -> None:
    from unfreeze.cli.live import Live
    from unfreeze.cli.showing import plan_table
    from unfreeze.compare.material import Sources

    common = _common(options)
    sources = Sources(*(common.pop(name) for name in _SOURCES))
    rest = dict(chosen)
    budget, names = seconds_of(rest.pop("budget")), rest.pop("strategies")
    common["output_dir"] = None  # a dry run reads no ledger and writes none
    bytes_of(common.pop("cache_size"))  # nor any hidden state, but what cannot be used is told here as well
    del common["cache_dir"]
    memory = common.pop("memory")
    rest |= {"strategies": None if names is None else tuple(names), "budget_seconds": budget}
    rest |= {"memory_bytes": None if memory is None else bytes_of(memory), "cache_bytes": 0}
    asked = Options(**common, **rest)
    # Ctrl-C ends it at once: there is nothing to keep.
    plan = plan_comparison(sources, asked, watcher=Live(quiet=options.quiet or options.json))
    sys.stdout.write(json.dumps(plan, indent=1) + "\n" if options.json else plan_table(plan))


def _predict(options: argparse.Namespace, _: str) -> None:
    from unfreeze.cli.counting import RowsDone
    from unfreeze.predicting import predict_file

    # A terminal that shows the rows has no line left for their number.
    shown = sys.stderr.isatty() and not options.quiet and (options.output or not sys.stdout.isatty())
    with RowsDone(sys.stderr) if shown else nullcontext() as progress:
        summary = predict_file(
            options.model,
            options.file,
            output=options.output,
            text_column=options.text_column,
            threads=options.threads,
            precision=options.precision,
            progress=progress,
        )
    if not options.quiet:
        _prose(summary)


def _demo(options: argparse.Namespace, _: str) -> None:
    from unfreeze.cli.showing import closing, results, unseen
    from unfreeze.demo import DEMOS, run_demo
    from unfreeze.files import read_json

    record: dict[str, Any] = {}
    for demo in DEMOS:
        if not options.quiet:
            _prose(f"\n{demo.title}\n")
        with _live(options) as live:
            comparison, predictions = run_demo(
                demo, output_dir=options.output_dir, budget=options.budget, threads=options.threads, watcher=live
            )
        if options.json:
            record[demo.name] = read_json(comparison.folder / "recommendation.json") | {"unseen": predictions}
            continue
        sys.stdout.write(results(comparison.record) + closing(comparison.record, comparison.folder) + "\n")
        sys.stdout.write(unseen(predictions))
        sys.stdout.flush()  # before the next one talks on standard error
    if options.json:
        sys.stdout.write(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def _cache(options: argparse.Namespace, _: str) -> None:
    from unfreeze.cli.caching import cached

    found = cache(cache_dir=options.cache_dir, clear=options.clear)
    sys.stdout.write(json.dumps(found, indent=1) + "\n" if options.json else cached(found, cleared=options.clear))


def _strategies(options: argparse.Namespace, _: str) -> None:
    from unfreeze.cli.cards import card, listed
    from unfreeze.describing import list_strategies, strategy_card

    if options.name is None:
        found, shown = list_strategies(model=options.model), listed
    else:
        found, shown = strategy_card(options.name, model=options.model), card
    sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n" if options.json else shown(found))


@contextmanager
def _live(options: argparse.Namespace) -> Iterator["Live"]:
    """Show progress, and turn the first Ctrl-C (or SIGTERM) into a checkpoint and a clean end."""
    from unfreeze.cli.live import Live

    live = Live(quiet=options.quiet or options.json)

    def stopping(number: int, _: FrameType | None) -> None:
        if live.stopping:
            raise KeyboardInterrupt
        live.stop_soon()

    before = {number: signal.signal(number, stopping) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with live:
            yield live
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
