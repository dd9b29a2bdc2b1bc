"""A page a strategy for ``docs/cards``, from what its own file says of it and its plan for BERT-base.

``python tools/cards.py`` writes the pages; ``python tools/cards.py --check`` names those that are stale, and exits
with 1 if there are any.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import transformers

from unfreeze.cli.cards import plan_rows, rates
from unfreeze.compare.numerals import counted
from unfreeze.describing import card_on
from unfreeze.encoders.outline import Outline
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.report.formats import setting
from unfreeze.strategies import STRATEGIES, Strategy, adds_modules, install

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "cards"
MADE = "<!-- Made by tools/cards.py from the strategy's own file: edit that one, then run it again. -->"
HIDDEN, INNER, LAYERS, WORDS, PLACES, LABELS = 768, 3072, 12, 30522, 512, 2


def bert_base() -> Outline:
    """The outline of BERT-base (uncased) with its standard classifier for two labels, written down from its shapes."""
    sizes: dict[str, int] = {}

    def both(path: str, weight: int, bias: int) -> tuple[str, str]:
        sizes[f"{path}.weight"], sizes[f"{path}.bias"] = weight, bias
        return f"{path}.weight", f"{path}.bias"

    tables = {"word": WORDS, "position": PLACES, "token_type": 2}
    for name, rows in tables.items():
        sizes[f"bert.embeddings.{name}_embeddings.weight"] = rows * HIDDEN
    below = (*sizes, *both("bert.embeddings.LayerNorm", HIDDEN, HIDDEN))
    layers = []
    for i in range(LAYERS):
        path, square = f"bert.encoder.layer.{i}", HIDDEN * HIDDEN
        attention = [f"attention.self.{part}" for part in ("query", "key", "value")] + ["attention.output.dense"]
        names = [name for part in attention for name in both(f"{path}.{part}", square, HIDDEN)]
        names += both(f"{path}.attention.output.LayerNorm", HIDDEN, HIDDEN)
        names += both(f"{path}.intermediate.dense", HIDDEN * INNER, INNER)
        names += both(f"{path}.output.dense", INNER * HIDDEN, HIDDEN)
        layers.append((*names, *both(f"{path}.output.LayerNorm", HIDDEN, HIDDEN)))
    top = both("bert.pooler.dense", HIDDEN * HIDDEN, HIDDEN)
    head = both("classifier", LABELS * HIDDEN, LABELS)
    return Outline(
        below, tuple(layers), top, head, (), sizes, "bert.encoder.layer", "bert", output_norm=layers[-1][-2:]
    )


def with_masked_head(outline: Outline) -> Outline:
    """The same with BERT's masked-language-model head beside its own; its output layer is tied to the embeddings."""
    sizes, path = dict(outline.sizes), "masked_head.cls.predictions"
    shapes = {
        "bias": WORDS,
        "transform.dense.weight": HIDDEN * HIDDEN,
        "transform.dense.bias": HIDDEN,
        "transform.LayerNorm.weight": HIDDEN,
        "transform.LayerNorm.bias": HIDDEN,
    }
    beside = {f"{path}.{name}": size for name, size in shapes.items()}
    return replace(outline, sizes=sizes | beside, auxiliary=tuple(beside))


def _as_found(strategy: Strategy) -> Outline:
    plain = bert_base()
    if strategy.plan(plain).masking is not None:
        return with_masked_head(plain)
    return with_modules(strategy) if adds_modules(strategy) else plain


def with_modules(strategy: Strategy) -> Outline:
    """The outline of BERT-base with what a strategy adds to it, found on one of its layers; the others are alike."""
    config = transformers.BertConfig(num_hidden_layers=1, vocab_size=WORDS // 100)  # for two labels
    model = transformers.BertForSequenceClassification(config).eval()
    install(strategy, model, encoder=None, seed=0)  # type: ignore[arg-type]
    one, plain = read_outline(model), bert_base()
    layers, sizes = [], {name: plain.sizes[name] for name in (*plain.embeddings, *plain.top, *plain.head)}
    for i in range(LAYERS):
        named = {name: name.replace(".layer.0.", f".layer.{i}.") for name in one.layers[0]}
        layers.append(tuple(named.values()))
        sizes |= {new: one.sizes[old] for old, new in named.items()}
    return replace(plain, layers=tuple(layers), sizes=sizes)


def page(name: str) -> str:
    """A strategy's page, Markdown."""
    found = card_on(name, ("BERT-base", _as_found))
    return "\n".join(line.replace("``", "`") for line in _lines(found)) + "\n"


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield from (MADE, "", f"# {found['name']}", "", found["summary"], "", found["what"])
    yield from ("", "## When", "", found["use"], "", found["avoid"])
    if found["settings"]:
        yield from ("", "## Settings", "", "| setting | usually | what it is |", "|---|---|---|")
        yield from (f"| `{s['name']}` | {setting(s['default'])} | {s['meaning']} |" for s in found["settings"])
        example = ",".join(f"{s['name']}={setting(s['default'])}" for s in found["settings"])
        yield from ("", f"They are written with the name: `--strategies {found['name']}:{example}`.")
    if found["learning_rate"]:
        search = found["search"]
        yield from ("", "## Search", "", f"Learning rates with AdamW: {found['range']}", "")
        heads = " Its head may read several layers." if search["reads_layers"] else ""
        epochs = counted(search["num_train_epochs"], "epoch")
        yield f"At most {epochs}; fewer than {search['min_steps']} steps count as starved.{heads}"
    yield from ("", f"## Plan for {found['encoder']}", "")
    yield from ("| from | learns | parameters | share | learning rate |", "|---:|---|---:|---:|---:|")
    yield from (f"| {' | '.join(row)} |" for row in plan_rows(found))
    yield from ("", f"`unfreeze strategies {found['name']} --model NAME` shows it for another encoder.")
    yield from ("", "## Source", "", found["source"])


def index() -> str:
    """The list of all pages, Markdown."""
    lines = [MADE, "", "# Ways of fine-tuning", "", "| way | what it does | learning rates | |", "|---|---|---|---|"]
    order = sorted(STRATEGIES, key=lambda name: (STRATEGIES[name].search.floor, STRATEGIES[name].search.priority))
    for name in order:
        row = card_on(name, None)
        lines.append(f"| [{name}]({name}.md) | {row['summary']} | {rates(row)} | {'floor' if row['floor'] else ''} |")
    return "\n".join([*lines, "", "Floors show what the others must beat, and give no model."]) + "\n"


def pages() -> dict[str, str]:
    """All pages by file name."""
    return {f"{name}.md": page(name) for name in STRATEGIES} | {"README.md": index()}


def stale(folder: Path) -> list[str]:
    """File names in a folder that are missing, not as they would be written now, or of no strategy any more."""
    made, there = pages(), {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    return sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    if arguments == ["--check"]:
        found = stale(FOLDER)
        print("\n".join(f"docs/cards/{name}: stale; run python tools/cards.py" for name in found) or "cards: all fresh")
        return 1 if found else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in FOLDER.glob("*.md"):
        path.unlink()
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{len(pages())} pages written to docs/cards")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
