"""What the command line shows: tables that fit, help that teaches, progress that ends."""

import io
import json
import signal
import sys
from types import SimpleNamespace

import pytest

from commands import say
from unfreeze import STRATEGIES
from unfreeze.cli.live import Live
from unfreeze.cli.showing import closing, plan_table, rendered, results, told_in_short, unseen

COMMANDS = sys.modules["unfreeze.cli.main"]  # by its name: the package has a function called main, too


def plan(**changed):
    numbers = {"trial_seconds": 2.0, "price_seconds": 101.0, "tuning_trials": 4}
    arms = [
        {"name": "head-only", "kept": True, "reason": ""},
        {"name": "full", "kept": False, "reason": "does not fit"},
    ]
    arms = [arm | numbers for arm in arms]
    return {
        "arms": arms,
        "seeds": 1,
        "most_seeds": 1,
        "folds": 5,
        "race": False,
        "budget_seconds": None,
        "whole_seconds": 120.0,
        "prefix_seconds": 5.0,
        "refit_seconds": 14.0,
        "total_seconds": 120.0,
    } | changed


def test_without_a_verb_the_help_is_shown():
    said = say()
    assert said.code == 0
    assert "unfreeze demo" in said.out
    assert "130 interrupted" in said.out


@pytest.mark.parametrize("verb", ["compare", "fit"])
def test_help_names_every_strategy_and_says_what_it_does(verb):
    text = say(verb, "--help").out
    for name, cls in STRATEGIES.items():
        summary = sys.modules[cls.__module__].__doc__.strip().partition("\n")[0]
        assert f"  {name:<{max(map(len, STRATEGIES))}} {summary}" in text


@pytest.mark.parametrize("verb", ["compare", "fit", "predict", "demo"])
def test_help_says_something_of_every_option(verb):
    text = say(verb, "--help").out
    options = text.partition("options:")[2]
    for line in options.splitlines():
        if line.startswith("  --"):
            assert len(line.split(None, 2)) == 3 or line.rstrip().endswith("bf16"), line


def test_the_version_is_said():
    assert say("--version").out.startswith("unfreeze 0.")


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"folds": 1}, "1 way, 1 seed, at most 2 min"),
        ({"seeds": 3, "most_seeds": 3, "folds": 1}, "1 way, 3 seeds, at most 2 min"),
        ({"seeds": 2, "most_seeds": 5, "folds": 1}, "1 way, 2 to 5 seeds, at most 2 min"),
        ({}, "1 way, 1 seed on each of 5 folds, at most 2 min"),
        (
            {"total_seconds": 60.0, "folds": 1},
            "1 way, 1 seed, at most 60 s, the budget (all of it would take up to 2 min)",
        ),
    ],
)
def test_a_plan_is_told_in_half_a_line(shape, words):
    assert told_in_short(plan(**shape)) == words


def test_a_race_is_explained_and_a_run_to_the_end_is_none():
    arms = [arm | {"stages": []} for arm in plan()["arms"]]
    assert "It is a race" in plan_table(plan(arms=arms, race=True))
    assert "It is a race" not in plan_table(plan(arms=arms))


def test_tables_are_never_wider_than_asked_and_lose_no_text():
    stage = {
        "start": 0.0,
        "learns": "embeddings, layers 0–11, top, head",
        "trainable_parameters": 22_700_000.0,
        "note": "",
    }
    stage |= {"share": 1.0, "learning_rates": [2e-5, 1e-4]}
    arms = [arm | {"stages": [stage]} for arm in plan()["arms"]]
    text = plan_table(plan(arms=arms))
    assert "22.7 M" in text
    assert "drawn" not in text
    assert "2e-5, 0.0001" in text
    noted = [arm | {"stages": [stage | {"note": "drawn anew before: top"}]} for arm in plan()["arms"]]
    assert "top, head; drawn anew before: top" in " ".join(plan_table(plan(arms=noted)).split())
    assert "left out: full: does not fit" in text
    prices = [line.split()[-2:] for line in text.splitlines() if line.endswith((" s", " min"))]
    assert prices == [["101", "s"], ["5", "s"], ["14", "s"], ["2", "min"]]
    stage["rates_drawn"] = True
    text = plan_table(plan(arms=[arm | {"stages": [stage]} for arm in plan()["arms"]], search="tpe"))
    assert "2e-5 to 0.0001" in text
    assert "Settings are drawn by TPE from each way's own ranges." in " ".join(text.split())
    from rich.text import Text

    lines = rendered(Text("word " * 60), 40).splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(" ".join(lines).split()) == ("word " * 60).strip()


def test_a_plan_says_at_which_shares_of_the_rate_its_stages_learn():
    def stage(start, *shares):
        rates = [{"learns": "head", "lr_scale": share, "trainable_parameters": 1} for share in shares]
        usual = {
            "learns": "head",
            "note": "",
            "trainable_parameters": 10.0,
            "share": 1.0,
            "learning_rates": [1e-4],
        }
        return usual | {"start": start, "rates": rates}

    def told(*stages):
        return plan_table(plan(arms=[arm | {"stages": stages} for arm in plan()["arms"]]))

    assert "×" not in told(stage(0.0, 1.0), stage(0.5, 1.0))
    assert "0.0001 × 0.478 to 1" in told(stage(0.0, 1.0, 0.9, 0.4783))
    lines = [line for line in told(stage(0.0, 30.0), stage(0.3, 1.0)).splitlines() if "×" in line]
    assert ["0.0001 × 30" in lines[0], "0.0001" in lines[1], "× 1" in lines[1]] == [True, False, True]


def arm(name, **changed):
    usual = {"number": None, "floor": False, "score": 0.8, "interval": [0.7, 0.9], "test": None, "train_seconds": 0.2}
    usual |= {"trainable_parameters": 770.0, "state": "done", "reason": "", "starved": None, "runs": 2}
    return {"name": name} | usual | {"collapsed_runs": 0, "diverged_runs": 0, "short_memory_runs": 0} | changed


def test_the_table_of_results_puts_the_best_first_and_the_floors_last():
    arms = [
        arm("majority class", floor=True, score=0.95),
        arm("full", score=0.6, number=3, collapsed_runs=2, short_memory_runs=1, starved="too few steps"),
        arm("head-only", test={"mean": 0.75}),
        arm("gradual", state="failed", score=None, interval=None, reason="it diverged", train_seconds=None),
    ]
    text = results({"arms": arms, "metric": "accuracy", "handed_over": {"name": "head-only"}})
    order = [text.index(name) for name in ("head-only", "3 full", "gradual", "majority class")]
    assert order == sorted(order)
    for words in (
        "handed over",
        "starved",
        "2 of 2 say",
        "1 of 2 in",
        "failed: it",
        "75.0",
        "70.0–90.0",
        "< 1 s",
        "floor",
    ):
        assert words in text
    assert "* mean of the runs, not used for the choice" in text


def test_on_a_narrow_terminal_names_and_intervals_stay_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    arms = [arm("TF-IDF + linear", interval=[0.5, 1.0]), arm("last-k:k=2", starved="too few steps")]
    text = results({"arms": arms, "metric": "strict entity F1", "handed_over": {"name": "last-k:k=2"}})
    table = text.partition("\n*")[0]
    assert max(map(len, table.splitlines())) <= 80
    for words in ("TF-IDF + linear", "50.0–100.0", "last-k:k=2", "starved", "validation"):
        assert words in table


def test_the_time_of_a_comparison_that_was_gone_on_with_is_that_of_all_its_commands(tmp_path):
    record = {"recommendation": {"sentences": ["No."], "in_short": ["No."]}, "handed_over": None, "seconds": 1920.0}
    assert "time     32 min\n" in closing(record, tmp_path) + "\n"
    assert "time     32 min\n" in closing(record | {"goes": 1}, tmp_path) + "\n"
    assert "time     32 min in 2 goes" in closing(record | {"goes": 2}, tmp_path)


def test_unseen_sentences_are_shown_with_what_was_found():
    text = unseen({"a": "pos", "b": [{"text": "Oslo", "label": "LOC"}], "c": []})
    assert "→ pos" in text
    assert "→ Oslo (LOC)" in text
    assert "→ nothing" in text


class Terminal(io.StringIO):
    def isatty(self):
        return True


def watched(live):
    live.planned(plan())
    live.began("head-only", "settings 1 of 4")
    live.progressed("head-only", 0.5)
    live.scored("head-only", 0.8)
    for _ in range(9):
        live.ended("head-only", {"seconds": 1.0})
    live.began("unknown", "")
    live.ended("unknown", {"seconds": 1.0})


def test_where_there_is_no_terminal_each_arm_gets_one_line(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with Live() as live:
        watched(live)
    assert stream.getvalue().splitlines() == [
        "plan: 1 way, 1 seed on each of 5 folds, at most 2 min",
        "left out, because the budget is short: full",
        "head-only: 8 trials done, best score so far 80.0",
    ]


def test_a_terminal_gets_a_live_table_that_fits(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    with Live() as live:
        watched(live)
        drawn = live._drawing()
        live.said("a sentence above the table")
    shown = stream.getvalue()
    assert "a sentence above the table" in shown
    assert "\x1b[38;5" not in shown  # NO_COLOR
    assert shown.endswith("\x1b[2K")  # the table is taken away
    lines = rendered(drawn, 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("head-only" in line and "done" in line and "80.0" in line for line in lines)
    assert "about 0 s left" in lines[-1]


def test_quiet_shows_nothing(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with Live(quiet=True) as live:
        watched(live)
        live.stop_soon()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interruption_asks_for_an_end_and_the_second_ends_at_once(number):
    before = signal.getsignal(number)
    with COMMANDS._live(SimpleNamespace(quiet=True, json=False)) as live:
        assert not live.stop()
        signal.raise_signal(number)
        assert live.stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_ends_with_130_and_says_how_to_go_on(monkeypatch):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(COMMANDS, "compare", interrupted)
    said = say("compare", "a.csv")
    assert said.code == 130
    assert "the same command goes on" in said.err


def test_a_reader_that_closes_the_pipe_is_no_error(monkeypatch):
    def closed(**_):
        raise BrokenPipeError

    monkeypatch.setattr(COMMANDS, "compare", closed)
    assert say("compare", "a.csv").code == 0


def test_strategies_keep_their_settings_when_they_are_split_at_commas():
    assert COMMANDS._joined(["full", "last-k:k=2", "deep=1", "gradual"]) == ["full", "last-k:k=2,deep=1", "gradual"]


def test_an_output_of_another_encoding_becomes_utf8(monkeypatch):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", stream)
    COMMANDS._speak_utf8()
    stream.write("→ Łódź\n")
    stream.flush()
    assert raw.getvalue().decode("utf-8") == "→ Łódź\n"


def test_demo_prints_one_json_document(monkeypatch, tmp_path):
    (tmp_path / "recommendation.json").write_text('{"recommendation": {"verdict": "tie"}}', encoding="utf-8")
    comparison = SimpleNamespace(folder=tmp_path, record={})
    monkeypatch.setattr("unfreeze.demo.run_demo", lambda demo, **_: (comparison, {"a text": "pos"}))
    said = say("demo", "--json")
    whole = json.loads(said.out)
    assert list(whole) == ["entities", "sentiment"]
    assert whole["sentiment"] == {"recommendation": {"verdict": "tie"}, "unseen": {"a text": "pos"}}
