"""The measurements of speed: what is asked for, run, kept and counted, and one real small pair."""

import importlib
import json
import platform
import sys
from pathlib import Path
from typing import Any

import pytest

from tiny import POSITIONS

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

bench, cases, figures, inputs, measuring, sides = (
    importlib.import_module(name) for name in ("bench", "cases", "figures", "inputs", "measuring", "sides")
)


# What is kept


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sides are not run: each answers at once; gives the names of those that were asked."""
    asked: list[str] = []

    def answer(side: Any) -> dict[str, Any]:
        asked.append(side.name)
        return {"wall_s": 0.2, "fastest_s": 0.1, "times": 2, "process_cpu_s": 1.0}

    monkeypatch.setattr(bench, "run_side", answer)
    monkeypatch.setattr(bench, "version", lambda _: "these")  # the real ones may be edited while tests run
    return asked


def run(folder: Path, *arguments: str) -> int:
    return int(bench.main(["--results", str(folder), *arguments]))


def test_a_second_run_measures_only_what_is_missing(tmp_path: Path, made_up: list[str]) -> None:
    assert run(tmp_path, "--only", "P9", "--pairs", "2") == 0
    assert run(tmp_path, "--only", "P9", "--pairs", "3") == 0
    assert run(tmp_path, "--only", "P9", "--pairs", "3") == 0
    assert len(made_up) == 3
    lines = [json.loads(line) for line in (tmp_path / "P9.jsonl").read_text().splitlines()]
    assert [line["pair"] for line in lines] == [0, 1, 2]
    summary = json.loads((tmp_path / "P9.json").read_text())
    assert summary["figures"][0]["pairs"] == 3
    assert summary["machine"]["torch"] == bench.machine()["torch"]


def test_sizes_are_counted_and_summarised_apart(tmp_path: Path, made_up: list[str]) -> None:
    run(tmp_path, "--only", "P9", "--pairs", "1")
    run(tmp_path, "--only", "P9", "--pairs", "1", "--small")
    assert len(made_up) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["P9-small.json", "P9.json", "P9.jsonl"]


def test_a_fresh_start_forgets_only_pairs_of_the_same_sources(tmp_path: Path, made_up: list[str]) -> None:
    other = figures.Kept(tmp_path, "P9", {"version": "another", "size": "usual"})
    other.add({"sides": {}})
    run(tmp_path, "--only", "P9", "--pairs", "2")
    run(tmp_path, "--only", "P9", "--pairs", "1", "--fresh")
    assert len(made_up) == 3
    assert len(other.pairs()) == 1
    assert len((tmp_path / "P9.jsonl").read_text().splitlines()) == 2


def test_a_line_that_a_crash_cut_short_is_passed_over(tmp_path: Path) -> None:
    kept = figures.Kept(tmp_path, "P1", {"size": "usual"})
    kept.add({"pair": 0, "sides": {}})
    path = tmp_path / "P1.jsonl"
    path.write_text(path.read_text() + '{"case": "P1", "ke')
    kept.add({"pair": 1, "sides": {}})
    assert [pair["pair"] for pair in kept.pairs()] == [0, 1]


def test_no_pairs_measured_shows_what_is_kept(
    tmp_path: Path, made_up: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "--only", "P9", "--pairs", "1")
    shown = capsys.readouterr().out
    assert run(tmp_path, "--only", "P9", "--pairs", "0") == 0
    assert capsys.readouterr().out == shown
    assert "unfreeze --help" in shown
    assert len(made_up) == 1


@pytest.mark.usefixtures("made_up")
def test_nothing_is_kept_where_the_sources_changed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = iter(["before", "before", "after", "after"])
    monkeypatch.setattr(bench, "version", lambda _: next(versions))
    assert run(tmp_path, "--only", "P9", "--pairs", "1") == 1
    assert "stands still" in capsys.readouterr().err
    assert not (tmp_path / "P9.jsonl").exists()


def test_a_side_that_fails_ends_its_case_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(side: Any) -> dict[str, Any]:
        raise bench.SideFailed(f"{side.name} ended with 3")

    monkeypatch.setattr(bench, "run_side", failing)
    assert run(tmp_path, "--only", "P9", "--pairs", "1") == 1
    assert "P9 stops: ours ended with 3" in capsys.readouterr().err


def test_a_smoke_run_keeps_nothing_unless_told_where(made_up: list[str]) -> None:
    before = sorted(BENCHMARKS.rglob("*.json*"))
    assert bench.main(["--only", "P9", "--small"]) == 0
    assert len(made_up) == 1
    assert sorted(BENCHMARKS.rglob("*.json*")) == before


# What is asked for


@pytest.mark.usefixtures("made_up")
def test_an_unknown_case_is_refused_with_the_nearest_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--only", "P9,growht") == 2
    said = capsys.readouterr().err
    assert "'growht'" in said
    assert "Did you mean growth?" in said
    assert "P1b" in said
    assert list(tmp_path.iterdir()) == []


def test_cases_are_named_in_any_order_and_case() -> None:
    assert bench.chosen_cases("p4, P1B ,P1") == ["P1", "P1b", "P4"]
    assert bench.chosen_cases(None) == list(cases.CASES)


@pytest.mark.parametrize(
    ("variable", "case", "missing"),
    [("UNFREEZE_PEERS", "P1", "peer_trainer"), ("UNFREEZE_SHARED_DATA", "growth", "data")],
)
def test_a_case_is_skipped_with_a_reason_where_something_is_absent(
    variable: str, case: str, missing: str, tmp_path: Path, made_up: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("UNFREEZE_SHARED_DATA", str(tmp_path))
    monkeypatch.setenv(variable, str(tmp_path / "absent"))
    assert run(tmp_path, "--only", case) == 0
    said = capsys.readouterr().err
    assert f"{case} is skipped: " in said
    assert missing in said
    assert variable in said
    assert made_up == []


# What is run


@pytest.mark.parametrize("case", cases.CASES)
def test_what_a_case_runs_is_told_without_touching_a_file(case: str, tmp_path: Path) -> None:
    digests = {size: cases.CASES[case].commands(size) for size in sides.SIZES}
    assert digests["small"] != digests["usual"]
    elsewhere = sides.Setting("usual", data=tmp_path, peers=tmp_path)
    assert [side.name for side in cases.CASES[case].sides(elsewhere)]
    assert list(tmp_path.iterdir()) == []


def test_where_python_and_the_scripts_lie_does_not_make_other_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = cases.CASES["P1"].commands("usual")
    monkeypatch.setattr(sys, "executable", str(tmp_path / Path(sys.executable).name))
    assert cases.CASES["P1"].commands("usual") == here


def test_the_machine_is_described_without_its_name_or_a_path() -> None:
    told = measuring.described(measuring.machine())
    assert platform.python_version() in told
    assert "/" not in told
    assert len(platform.node()) < 4 or platform.node() not in told


def python(code: str) -> Any:
    return measuring.Side("ours", (sys.executable, "-c", code))


def test_a_side_is_told_in_several_objects_between_other_lines() -> None:
    lines = ['{"a": 1}', "{'b': 2}", "7", '{"c": 3, "settings": 4}']
    found = measuring.run_side(python(f"print(*{lines}, sep=chr(10))"))
    assert {key: found[key] for key in ("a", "c")} == {"a": 1, "c": 3}
    assert found.keys() == {"a", "c", "process_cpu_s", "process_wall_s", "peak_mb"}
    assert found["peak_mb"] > 5


def test_a_side_runs_with_one_thread_and_its_own_empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    names = ("OMP_NUM_THREADS", "UNFREEZE_CACHE", "CUDA_VISIBLE_DEVICES")
    code = f"import json, os; print(json.dumps({{n: os.environ[n] for n in {names}}}))"
    first, second = measuring.run_side(python(code)), measuring.run_side(python(code))
    assert (first["OMP_NUM_THREADS"], first["CUDA_VISIBLE_DEVICES"]) == ("1", "")
    assert first["UNFREEZE_CACHE"] != second["UNFREEZE_CACHE"]
    assert not Path(first["UNFREEZE_CACHE"]).exists()


def test_a_side_that_ends_badly_says_its_last_words() -> None:
    with pytest.raises(measuring.SideFailed, match=r"ended with 1:[\s\S]*no such thing"):
        measuring.run_side(python("print('{\"a\": 1}'); raise ValueError('no such thing')"))


def test_a_side_that_tells_nothing_has_failed() -> None:
    with pytest.raises(measuring.SideFailed, match="ended with 0"):
        measuring.run_side(python("print('done')"))


def test_rows_are_cut_without_a_text_twice(tmp_path: Path) -> None:
    source = tmp_path / "set" / "train.csv"
    source.parent.mkdir()
    source.write_text("text,label\n" + "".join(f'"Text  {i % 6}",{i % 2}\n' for i in range(12)) + "text 1,1\n")
    lines = inputs.cut(source, 6, into=tmp_path / "work").read_text().splitlines()[1:]
    assert len({line.casefold().split(",")[0] for line in lines}) == 6
    with pytest.raises(ValueError, match="6 different rows; 7"):
        inputs.cut(source, 7, into=tmp_path / "work")


@pytest.fixture
def peers() -> Path:
    """The folder of the peers' scripts, or a skip where they or what they need are not at hand."""
    pytest.importorskip("accelerate", reason="the peer's Trainer needs it")
    folder = inputs.shared("UNFREEZE_PEERS", "peers")
    if folder is None:
        pytest.skip("the peers' scripts are not at hand; name their folder in UNFREEZE_PEERS")
    return Path(folder)


def test_both_sides_take_the_same_steps_on_the_same_rows(
    peers: Path, shared_data: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    setting = sides.Setting("small", 0, shared_data, peers, tmp_path)
    train, test = (setting.rows(inputs.SENTENCES, *rows) for rows in (("train", 96), ("test", 32)))
    both = ("--train", train, "--test", test, "--epochs", 1, "--model", tiny_encoder_dir)
    pair = (
        setting.ours("ours", "train", *both),
        setting.peer("HF tuned", *sides.TUNED, *both, "--max-length", POSITIONS),
    )
    answers = {side.name: measuring.run_side(side) for side in pair}
    for answer in answers.values():
        assert (answer["steps"], answer["counted_steps"], answer["examples"]) == (3, 1, 96)
        assert 0 < answer["cpu_ms_a_step"] <= 1e3 * answer["process_cpu_s"]
        assert 0 <= sides.score(answer) <= 1
    figure = cases.CASES["P1"].figures(answers | {"HF default": answers["HF tuned"]})[1]
    assert figure.theirs == pytest.approx(answers["HF tuned"]["cpu_ms_a_step"])
    assert figure.ours * 3 == pytest.approx(1e3 * answers["ours"]["steps_cpu_s"])
