"""Laws about the project itself, read from its sources: who may do what, and that the documents tell the truth."""

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import unfreeze

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "src" / "unfreeze"
HEAVY = {"torch", "transformers", "peft", "pandas", "scipy", "sklearn"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(LIBRARY.rglob("*.py")):
        yield path.relative_to(LIBRARY).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def heavy_after(statement: str) -> set[str]:
    """Heavy libraries that a fresh interpreter holds after one statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return HEAVY & set(json.loads(done.stdout.splitlines()[-1]))


def writes_requires_grad(node: ast.AST) -> bool:
    """Whether a node sets ``requires_grad``: by assignment, by ``requires_grad_()`` or by ``setattr``."""
    if isinstance(node, ast.Attribute):
        stored = isinstance(node.ctx, ast.Store) and node.attr == "requires_grad"
        return stored or node.attr == "requires_grad_"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr":
        return any(isinstance(value, ast.Constant) and value.value == "requires_grad" for value in node.args)
    return False


def imported(node: ast.AST) -> set[str]:
    """Top-level names of the packages that a node imports."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return {node.module.partition(".")[0]}
    return set()


def calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])


LIGHT = "import unfreeze, unfreeze.cli, unfreeze.plan, unfreeze.strategies, unfreeze.encoders.outline"


def test_the_front_door_loads_no_heavy_library() -> None:
    assert heavy_after(LIGHT) == set()


def test_the_look_at_loaded_modules_sees_a_heavy_library() -> None:
    assert "scipy" in heavy_after(f"{LIGHT}\nimport scipy")


def test_help_is_answered_without_a_heavy_library() -> None:
    lines = [
        "import unfreeze.cli",
        "try:",
        " unfreeze.cli.main(['--help'])",
        "except SystemExit as end:",
        " assert not end.code",
    ]
    assert heavy_after("\n".join(lines)) == set()


def test_only_the_engine_and_the_reader_of_outlines_write_requires_grad() -> None:
    allowed = ("engine/", "encoders/reading_outline.py")
    offenders = [
        f"{name}:{node.lineno}"
        for name, tree in sources()
        for node in ast.walk(tree)
        if writes_requires_grad(node) and not name.startswith(allowed)
    ]
    assert offenders == []


@pytest.mark.parametrize(
    "code",
    [
        "p.requires_grad = False",
        "p.requires_grad_(True)",
        "setattr(p, 'requires_grad', True)",
        "a, p.requires_grad = x",
    ],
)
def test_every_way_of_writing_requires_grad_is_seen(code: str) -> None:
    assert any(writes_requires_grad(node) for node in ast.walk(ast.parse(code)))


@pytest.mark.parametrize("code", ["if p.requires_grad: pass", "requires_grad = True", "setattr(p, 'data', 1)"])
def test_reading_requires_grad_is_no_offence(code: str) -> None:
    assert not any(writes_requires_grad(node) for node in ast.walk(ast.parse(code)))


def test_the_library_prints_only_through_its_console() -> None:
    offenders = [f"{name}:{n.lineno}" for name, tree in sources() for n in ast.walk(tree) if calls(n, "print")]
    assert offenders == []


BETWEEN_PROCESSES = ("compare/worker.py", "compare/workers.py")
"""They pickle what one process of ours says to another, over a pipe or in a folder of this user's."""


def test_the_library_imports_nothing_that_reads_pickles() -> None:
    pickles = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    offenders = [
        f"{name}: {imported(n) & pickles}"
        for name, tree in sources()
        for n in ast.walk(tree)
        if imported(n) & pickles and not name.endswith(BETWEEN_PROCESSES)
    ]
    assert offenders == []


def test_the_library_never_loads_or_saves_with_torch() -> None:
    offenders = [
        f"{name}:{node.lineno}"
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("torch", "load"), ("torch", "save")}
    ]
    assert offenders == []


def test_strategies_import_neither_torch_nor_tasks() -> None:
    offenders = [
        f"{name}:{node.lineno}"
        for name, tree in sources()
        for node in ast.walk(tree)
        if name.startswith("strategies/")
        and (imported(node) & HEAVY or (isinstance(node, ast.ImportFrom) and "tasks" in (node.module or "")))
    ]
    assert offenders == []


def test_every_public_name_resolves_and_there_are_few() -> None:
    assert len(set(unfreeze.__all__)) == len(unfreeze.__all__) <= 15
    missing = [name for name in unfreeze.__all__ if not hasattr(unfreeze, name)]
    assert missing == []


def test_the_command_unfreeze_leads_to_the_command_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["scripts"]["unfreeze"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_every_make_command_in_the_documents_exists() -> None:
    named = {
        (path.name, target)
        for path in documents()
        for target in re.findall(r"(?:`|^\$ |^)make ([a-z][a-z-]*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {("README.md", "demo"), ("README.md", "test")} <= named
    assert {(file, target) for file, target in named if target not in makefile_targets()} == set()


def test_every_verb_in_the_documents_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    from unfreeze.cli import main

    verbs = {
        verb
        for path in documents()
        for verb in re.findall(r"(?:`|^\$ )unfreeze ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {"compare", "demo", "fit", "predict"} <= verbs
    for verb in sorted(verbs):
        try:
            code = main([verb, "--help"])
        except SystemExit as end:
            code = end.code
        assert code in (0, None), verb
        assert verb in capsys.readouterr().out


def test_every_link_between_the_documents_leads_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in documents()
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []


def test_every_decision_record_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    records = [path.name for path in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    assert records
    assert [name for name in records if f"adr/{name}" not in index] == []


def test_decision_records_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_tested_version_lies_in_the_declared_range() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    declared = [Requirement(text) for text in project["dependencies"]]
    declared += [Requirement(text) for extra in project["optional-dependencies"].values() for text in extra]
    assert [str(r) for r in declared if not r.specifier.contains(pins.get(canonicalize_name(r.name), "0"))] == []


def test_constraints_name_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    odd = [line for line in lines if not re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)]
    assert odd == []


def test_the_version_is_said_once_and_the_changelog_knows_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_demo_corpus_is_what_its_description_says() -> None:
    folder = LIBRARY / "data" / "demo"
    rows = [json.loads(line) for line in (folder / "messages.jsonl").read_text(encoding="utf-8").splitlines()]
    described = (folder / "README.md").read_text(encoding="utf-8")
    assert len(rows) == 720
    for key in ("topic", "sentiment", "split"):
        for value in {row[key] for row in rows}:
            assert f"{value} {sum(row[key] == value for row in rows)}" in described
    for label in ("PER", "LOC", "ORG"):
        number = sum(entity["label"] == label for row in rows for entity in row["entities"])
        assert f"{label} {number}" in described


def test_the_demo_corpus_travels_with_its_licence() -> None:
    text = (LIBRARY / "data" / "demo" / "LICENSE").read_text(encoding="utf-8")
    assert "CC0 1.0 Universal" in text


def test_no_source_or_document_names_a_place_on_the_author_s_machine() -> None:
    private = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w")
    texts = [*LIBRARY.rglob("*.py"), *documents(), ROOT / "Makefile", ROOT / "pyproject.toml"]
    assert [str(p.relative_to(ROOT)) for p in texts if private.search(p.read_text(encoding="utf-8"))] == []


def worked_examples() -> list[str]:
    """The blocks of Python in CONTRIBUTING.md: a strategy, its test, a task."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)


def run_block(code: str, name: str) -> ModuleType:
    """Run a block as the module it would be, so that dataclasses find where they live."""
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(code, f"CONTRIBUTING.md: {name}", "exec"), module.__dict__)
    return module


@pytest.fixture
def registries_restored() -> Iterator[None]:
    from unfreeze.strategies import STRATEGIES
    from unfreeze.tasks import TASKS

    before = dict(STRATEGIES), dict(TASKS), set(sys.modules)
    yield
    for registry, kept in ((STRATEGIES, before[0]), (TASKS, before[1])):
        registry.clear()
        registry.update(kept)
    for name in set(sys.modules) - before[2]:
        if name.startswith("worked_example"):
            del sys.modules[name]


@pytest.mark.usefixtures("registries_restored")
def test_the_strategy_in_contributing_works_as_printed() -> None:
    from unfreeze.encoders.outline import Outline
    from unfreeze.strategies import spelling_of, strategy_named

    layers = tuple((f"e.layer.{i}.attention.query.weight", f"e.layer.{i}.output.weight") for i in range(2))
    names = ("e.embeddings.weight", *layers[0], *layers[1], "e.pooler.bias", "classifier.weight", "classifier.bias")
    outline = Outline(names[:1], layers, ("e.pooler.bias",), names[-2:], (), dict.fromkeys(names, 1), "e.layer", "e")

    strategy, its_test, _ = worked_examples()
    module = run_block(strategy, "worked_example_strategy")
    made = strategy_named("attention:head_share=0.5")
    assert spelling_of(made) == "attention:head_share=0.5"
    assert made.plan(outline).at(0.7).lr_scales == {
        "e.layer.0.attention.query.weight": 1.0,
        "e.layer.1.attention.query.weight": 1.0,
        "classifier.weight": 0.5,
        "classifier.bias": 0.5,
    }
    module.__dict__["outline"] = outline
    exec(its_test, module.__dict__)
    module.__dict__["test_attention_alone_learns_beside_the_head"]()


@pytest.mark.usefixtures("registries_restored")
def test_the_task_in_contributing_works_as_printed() -> None:
    from unfreeze.data.example import Example
    from unfreeze.tasks import Prediction, task_named

    run_block(worked_examples()[2], "worked_example_task")
    examples = [Example("", label) for label in ("a", "a", "a", "b")]
    task = task_named("balanced").learned_from(examples)
    counts = task.counts(examples, [Prediction(label, 1.0) for label in ("a", "a", "b", "a")])
    # Two of three a and none of one b are found: (2/3 + 0) / 2, beside an accuracy of 2/4.
    assert task.details(counts.sum(axis=0)) == pytest.approx(
        {"balanced_accuracy": 1 / 3, "accuracy": 1 / 2, "macro_f1": 1 / 3}
    )
    assert task.score(counts.sum(axis=0)) == pytest.approx(1 / 3)
