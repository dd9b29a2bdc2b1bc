"""The gates that no off-the-shelf checker holds: sizes, parameters, docstring sections, branch coverage.

``python tools/gates.py`` looks at the sources; ``python tools/gates.py --coverage coverage.json`` at a test run.
Each finding is one line, ``file:line: what``; the exit code is 1 if there is one.
"""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 400
FUNCTION_LINES = 40  # without the docstring, which may be as long as it is useful
PARAMETERS = 7
POSITIONAL = 2
BRANCHES = 90.0

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = Path("src/unfreeze")
# Commands and the front door take what a user may set, which is more than seven things.
MANY_PARAMETERS = (LIBRARY / "cli", LIBRARY / "__init__.py", LIBRARY / "front.py")
# What is claimed there comes from the literature, so a docstring of the file says from where.
SOURCED = (LIBRARY / "strategies", LIBRARY / "diagnose", LIBRARY / "compare/statistics.py")
# Signatures that another library decides.
IMPOSED = {"forward"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def lies_in(path: Path, places: tuple[Path, ...]) -> bool:
    """Whether a file is one of the places or lies below one."""
    return any(path == place or place in path.parents for place in places)


def own_lines(function: Function, *, many: bool = False) -> int:
    """Lines of a function from ``def`` to its end, without its docstring; of those with many parameters, the body."""
    first = function.body[0]
    described = ast.get_docstring(function, clean=False) is not None
    docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if described else 0
    begin = first.lineno if many else function.lineno
    return (function.end_lineno or begin) - begin + 1 - docstring


def walk_functions(node: ast.AST, owner: ast.AST) -> Iterator[tuple[Function, ast.AST]]:
    """Every function below a node, with what it is defined in: a module, a class or a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield child, owner
        yield from walk_functions(child, child if isinstance(child, Function | ast.ClassDef) else owner)


def is_static(function: Function) -> bool:
    """Whether a method takes neither ``self`` nor ``cls``."""
    return any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in function.decorator_list)


def check_parameters(function: Function, owner: ast.AST, *, many: bool) -> Iterator[str]:
    """What is wrong with a function's parameters.

    Nested functions, special methods and imposed names are left alone: somebody else decides how they are called.
    What is private may take more by position: its calls stand in the same file.
    """
    if function.name.startswith("__") or function.name in IMPOSED or isinstance(owner, Function):
        return
    private = function.name.startswith("_")
    arguments = function.args
    bound = 1 if isinstance(owner, ast.ClassDef) and not is_static(function) else 0
    positional = len(arguments.posonlyargs) + len(arguments.args) - bound
    if positional > POSITIONAL and not (many or private):
        yield f"{function.name} takes {positional} positional parameters; from the third on they are keyword-only"
    if positional + len(arguments.kwonlyargs) > PARAMETERS and not many:
        yield f"{function.name} takes {positional + len(arguments.kwonlyargs)} parameters; at most {PARAMETERS}"
    if arguments.kwarg is not None and not private:
        yield f"{function.name} is public and takes **{arguments.kwarg.arg}; name what it takes"


def check_sourced(tree: ast.Module) -> Iterator[str]:
    """Whether some docstring of a file names its source."""
    described = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, described)]
    if not any("Source:" in text for text in docstrings):
        yield "no docstring of this file has a 'Source:', the paper or text that its claims come from"


def check_file(path: Path) -> Iterator[str]:
    """All findings about one source file, given by its path below the project's folder."""
    text = (ROOT / path).read_text(encoding="utf-8")
    tree = ast.parse(text, filename=str(path))
    lines = len(text.splitlines())
    if lines > FILE_LINES:
        yield f"{path}:1: {lines} lines; at most {FILE_LINES}"
    if path.stem in {"utils", "util", "helpers", "misc", "common"}:
        yield f"{path}:1: a file is named after what it gives, not {path.stem!r}"
    if lies_in(path, SOURCED) and not path.stem.startswith("_"):
        yield from (f"{path}:1: {finding}" for finding in check_sourced(tree))
    for function, owner in walk_functions(tree, tree):
        place = f"{path}:{function.lineno}"
        many = lies_in(path, MANY_PARAMETERS)
        if own_lines(function, many=many) > FUNCTION_LINES:
            yield f"{place}: {function.name} has {own_lines(function, many=many)} lines; at most {FUNCTION_LINES}"
        if LIBRARY in path.parents:
            yield from (f"{place}: {finding}" for finding in check_parameters(function, owner, many=many))


def check_sources() -> Iterator[str]:
    """All findings about the sources, the tests and the tools, in the order of their paths."""
    for folder in ("src", "tests", "tools"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield from check_file(path.relative_to(ROOT))


def check_coverage(report: Path) -> Iterator[str]:
    """Whether enough branches were taken, counted by themselves: the usual total mixes them with lines."""
    totals = json.loads(report.read_text(encoding="utf-8"))["totals"]
    share = 100 * totals["covered_branches"] / max(totals["num_branches"], 1)
    print(f"branches taken: {totals['covered_branches']} of {totals['num_branches']} ({share:.1f} %)")
    if share < BRANCHES:
        yield f"{report}: {share:.1f} % of the branches are taken; at least {BRANCHES:.0f} %"


def main(arguments: list[str]) -> int:
    """Print the findings; 1 if there are any."""
    findings = list(check_coverage(Path(arguments[1])) if arguments[:1] == ["--coverage"] else check_sources())
    print("\n".join(findings) if findings else "gates: nothing found")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
