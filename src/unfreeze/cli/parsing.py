"""What can be typed: verbs and options, with help that teaches."""

import argparse
import difflib
import sys
from typing import Any, NoReturn

from unfreeze import STRATEGIES, __version__
from unfreeze.strategies import description_of

OVERVIEW = """\
Which way of fine-tuning should I use on my text, how sure can I be, and where is the model?

  unfreeze demo                               see it work: an embedded corpus and encoder, offline
  unfreeze compare reviews.csv --budget 15m   compare ways of fine-tuning, get a verdict, a report and a model
  unfreeze fit reviews.csv --strategy full    train one way, get a model
  unfreeze predict unfreeze-reviews/model new.csv --output predicted.csv
  unfreeze strategies                         the ways of fine-tuning; with a name, all about one

A file has a column of texts and one of labels (CSV, TSV, JSONL), or words with tags (CoNLL columns), or texts with
character spans (JSONL with "entities" or "spans"); each may end in .gz. "unfreeze VERB --help" says more.
"""

EXIT_CODES = """\
exit codes: 0 done · 2 your input or settings · 3 the machine (disk, memory, network, something not installed) ·
4 a bug of ours · 130 interrupted (the same command goes on where it stopped)
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the nearest option that exists."""

    def error(self, message: str) -> NoReturn:
        """Print one line and the way to help, and exit with 2."""
        if message.startswith("unrecognized arguments:"):
            wrong = message.split(": ", 1)[1].split(maxsplit=1)[0].partition("=")[0]
            near = difflib.get_close_matches(wrong, self.options(), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            message = f"there is no option {wrong}{hint}"
            if wrong in near:
                message = f"this verb has no option {wrong}; its own --help lists what it has"
        if "invalid choice: '" in message:
            wrong = message.split("invalid choice: '", 1)[1].split("'")[0]
            verbs = [name for a in self._actions if isinstance(a, argparse._SubParsersAction) for name in a.choices]
            near = difflib.get_close_matches(wrong, verbs, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            message = f"there is no verb {wrong!r}{hint} Verbs are {', '.join(verbs)}."
        sys.stderr.write(f"{self.prog}: error: {message}\n({self.prog} --help shows what can be said)\n")
        sys.exit(2)

    def options(self) -> list[str]:
        """All options of this parser and, for the whole command line, of its verbs."""
        found = [option for action in self._actions for option in action.option_strings]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found += [option for parser in action.choices.values() for option in parser.options()]
        return found


def make_parser() -> Parser:
    """The whole command line."""
    shaped: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = Parser("unfreeze", description=OVERVIEW, epilog=EXIT_CODES, allow_abbrev=False, **shaped)
    parser.add_argument("--version", action="version", version=f"unfreeze {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, summary: str, more: str = "") -> Parser:
        description = f"{summary[0].upper()}{summary[1:]}.\n\n{more}"
        made: Parser = verbs.add_parser(name, help=summary, description=description, allow_abbrev=False, **shaped)
        return made

    _compare(verb("compare", "compare ways of fine-tuning on your labelled text", f"{_COMPARE}\n{_strategies()}"))
    _fit(verb("fit", "train one way of fine-tuning on your labelled text", f"{_FIT}\n{_strategies()}"))
    _predict(verb("predict", "predict with a model that unfreeze saved", _PREDICT))
    _demo(verb("demo", "see a comparison on an embedded corpus and encoder, offline", _DEMO))
    _cards(
        verb("strategies", "list the ways of fine-tuning, or show one: when to use it, its settings, its plan", _CARDS)
    )
    _cache(verb("cache", "show or delete what is kept on disk of frozen layers", _CACHE))
    return parser


_COMPARE = """\
  unfreeze compare reviews.csv --dry-run                     who would learn, when, and at what price
  unfreeze compare reviews.csv --budget 15m                  every way that fits into a quarter of an hour
  unfreeze compare --train a.conll --test b.conll --seeds 5  splits of your own
  unfreeze compare reviews.csv --strategies full,last-k:k=2 --set learning_rate=3e-5
  unfreeze compare reviews.csv --search tpe --trials 12      settings drawn where they promise most

Everything goes to one folder: report.html, recommendation.json, model/, and trials/ with what every training gave. The
same command goes on where it was stopped, and trains nothing twice.
"""

_FIT = """\
  unfreeze fit reviews.csv --strategy full

The same engine, report and model as of a comparison with this way alone, beside the floors that it must beat.
"""

_PREDICT = """\
  unfreeze predict unfreeze-reviews/model new.csv --output predicted.csv

The output has the input's columns, and "prediction" with its "probability", or "entities" for named entities. Rows stay
in the order of the input. Where the input has a column of such a name, it stays as it is, and the model's is called
"model_prediction", "model_probability" or "model_entities". A file may be larger than memory, but for one list in
a .json file: write that as JSON lines."""

_DEMO = """\
720 customer messages, written for this purpose: first the named entities (people, places, organisations), then
sentiment. Both go to the output folder; the same command goes on where it was stopped."""

_CARDS = """\
  unfreeze strategies                          all ways, a line each
  unfreeze strategies gradual                  what it does, when to use it and when not, its settings, its plan
  unfreeze strategies last-k:k=4 --model NAME  the plan with a setting, for an encoder of your own"""

_CACHE = """\
  unfreeze cache           how much there is, and of what
  unfreeze cache --clear   delete it all

What frozen layers make of your text is computed once and kept for later commands, in a folder that only you can read.
Deleting it is safe at any moment and costs nothing but time. It can reveal the text that it was made from."""


def _strategies() -> str:
    """A line for each way of fine-tuning, from its own file."""
    lines = ["ways of fine-tuning (--strategies a,b; settings as in last-k:k=4):"]
    width = max(map(len, STRATEGIES))
    for name in sorted(STRATEGIES, key=lambda name: (STRATEGIES[name].search.floor, STRATEGIES[name].search.priority)):
        named = "" if STRATEGIES[name].search.by_default else " (where it is named)"
        lines.append(f"  {name:<{width}} {description_of(name).summary}{named}")
    floors = [name for name, cls in STRATEGIES.items() if cls.search.floor]
    lines.append("  FILE.toml   your own stages: what learns from when on, at which rate (see the README)")
    lines.append(f"{' and '.join(floors)} are floors: they show what the others must beat, and give no model.")
    return "\n".join(lines)


_CACHE_DIR = "where they are kept (default: UNFREEZE_CACHE, or your folder of caches)"
_MODEL = "hub name or folder of an encoder (default: the embedded one)"
_AUTO = "auto (the default) is bf16 where the processor is faster with it"


def _data(parser: Parser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument("file", nargs="?", metavar="FILE", help="labelled rows; may have a column 'split'")
    group.add_argument("--train", metavar="FILE", help="training rows, instead of FILE")
    group.add_argument("--validation", metavar="FILE", help="validation rows, beside --train")
    group.add_argument("--test", metavar="FILE", help="test rows, beside --train; they choose nothing")
    group.add_argument(
        "--unlabeled",
        metavar="FILE",
        help="texts without labels, for ways that hide words and predict them; a .txt has a text a line",
    )
    group.add_argument("--text-column", metavar="NAME", help="where the column of texts is not found by its name")
    group.add_argument("--label-column", metavar="NAME", help="where the column of labels is not found by its name")
    group.add_argument("--group-column", metavar="NAME", help="rows of one group never lie on both sides of a split")
    group.add_argument("--task", metavar="NAME", help="classification or ner, where the file fits both")
    group.add_argument(
        "--max-dropped",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="share of rows that may be unusable (default 0.1)",
    )


def _training(parser: Parser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument("--model", metavar="NAME", help=_MODEL)
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of the first run (default 0)")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="fix a training setting for all ways, such as num_train_epochs=3 or optim=sgd, or list values to choose "
        "among, such as learning_rate=3e-5,1e-4; repeatable",
    )
    group.add_argument("--threads", type=int, metavar="N", help="threads of one operation (default: all cores)")
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that train side by side, each on one thread (default: found by a short calibration)",
    )
    group.add_argument(
        "--memory",
        metavar="SIZE",
        help="what all processes together may take, such as 8GB; a way that does not fit is left out (default: what is "
        "free)",
    )
    group.add_argument("--precision", default="auto", metavar="auto|fp32|bf16", help=_AUTO)
    group.add_argument("--output-dir", metavar="DIR", help="where everything goes (default: unfreeze-FILE)")
    group.add_argument(
        "--cache-size",
        default="2GB",
        metavar="SIZE",
        help="what frozen layers' hidden states may take on disk, 0 for nothing (default 2GB)",
    )
    group.add_argument("--cache-dir", metavar="DIR", help=_CACHE_DIR)


def _talking(parser: Parser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print the result as JSON")
    group.add_argument("--quiet", action="store_true", help="no progress")
    group.add_argument("--debug", action="store_true", help="show tracebacks")


def _compare(parser: Parser) -> None:
    _data(parser)
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--strategies",
        metavar="A,B",
        help="ways to compare (default: the usual ones; all: every one that suits the task)",
    )
    group.add_argument("--budget", default="15m", metavar="TIME", help="90s, 15m, 2h or none (default 15m)")
    group.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="runs of the chosen settings (default: 2 to 5, more where it is close; on five folds 1 or 2)",
    )
    group.add_argument(
        "--no-race",
        dest="race",
        action="store_false",
        help="search and run every way to its end, also those that fall behind",
    )
    group.add_argument("--folds", type=int, metavar="N", help="folds that are run at the most (default: all)")
    group.add_argument(
        "--nested",
        action="store_true",
        help="choose each fold's settings on rows of its training part alone; as many searches as folds, and scores "
        "that no choice has made too good",
    )
    group.add_argument(
        "--margin", type=float, default=0.01, metavar="SHARE", help="half the width of a tie (default 0.01)"
    )
    group.add_argument(
        "--prefer", default="score", metavar="score|cheap", help="what to take where nothing is settled (default score)"
    )
    group.add_argument(
        "--dry-run", action="store_true", help="show who would learn, when, and the price; train nothing"
    )
    _searching(parser)
    _training(parser)
    _talking(parser)


def _searching(parser: Parser) -> None:
    group = parser.add_argument_group("search of settings")
    group.add_argument(
        "--tuning",
        type=int,
        default=3,
        metavar="N",
        help="learning rates of the grid for each way (default 3); one with fewer heads to choose among tries more",
    )
    group.add_argument(
        "--search",
        default="grid",
        metavar="HOW",
        help="how settings are searched: grid (default), or random or tpe, which draw from each way's own ranges (tpe "
        "where it expects most; it needs the extra 'search')",
    )
    group.add_argument(
        "--trials",
        type=int,
        metavar="N",
        help="trials of each way's search, where they are drawn (default: as many as the grid takes)",
    )


def _fit(parser: Parser) -> None:
    _data(parser)
    parser.add_argument_group("way").add_argument("--strategy", required=True, metavar="NAME", help="such as full")
    parser.add_argument("--dry-run", action="store_true", help="show who would learn, and when; train nothing")
    _training(parser)
    _talking(parser)


def _predict(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="the folder of a model")
    parser.add_argument("file", metavar="FILE", help="texts, or words; labels are not needed")
    parser.add_argument(
        "--output", metavar="OUT", help="a .csv, .tsv or .jsonl file (default: JSON lines on the terminal)"
    )
    parser.add_argument("--text-column", metavar="NAME", help="where the column of texts is not found by its name")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of one operation (default: all cores)")
    parser.add_argument("--precision", default="auto", metavar="auto|fp32|bf16", help=_AUTO)
    parser.add_argument("--quiet", action="store_true", help="no summary")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def _demo(parser: Parser) -> None:
    parser.add_argument("--output-dir", default="unfreeze-demo", metavar="DIR", help="default: unfreeze-demo")
    parser.add_argument("--budget", default="12m", metavar="TIME", help="of the two comparisons together (default 12m)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of one operation (default: all cores)")
    _talking(parser)


def _cards(parser: Parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="a way, such as gradual or last-k:k=4")
    parser.add_argument("--model", metavar="NAME", help=_MODEL)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def _cache(parser: Parser) -> None:
    parser.add_argument("--clear", action="store_true", help="delete it all")
    parser.add_argument("--cache-dir", metavar="DIR", help=_CACHE_DIR)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
