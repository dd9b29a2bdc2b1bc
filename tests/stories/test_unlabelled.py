"""Texts without labels beside labelled ones: from the command to what is told of them."""

import json
from pathlib import Path

from commands import LEARN, refused, say
from rows import MARKER


def test_texts_without_labels_are_read_and_told(reviews_csv: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.txt"
    more.write_text("".join(f"The {what} was quiet {MARKER}\n" for what in ("film", "town", "boat")), encoding="utf-8")
    out = tmp_path / "out"
    usual = ("--model", tiny_encoder_dir, "--folds", 1, "--seeds", 1, "--tuning", 0, "--budget", "none", "--workers", 1)
    usual = (*usual, *LEARN, "--set", "num_train_epochs=2")
    command = ("compare", reviews_csv, "--strategies", "tapt:unit=span", *usual, "--output-dir", out)
    said = say(*command, "--unlabeled", more)
    assert said.code == 0, said.err
    assert f"3 texts without labels from {more}, for ways that hide words" in said.err
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    (arm,) = (arm for arm in record["arms"] if arm["name"] == "tapt:unit=span")
    found = arm["masked"]
    assert found["unlabelled"] == 3
    assert found["tokens"] > 0
    assert min(found[f"{which}perplexity{when}"] for which, when in (("", ""), ("", "_before"), ("unigram_", ""))) > 1
    assert record["data"]["sources"]["unlabeled"] == str(more)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "were predicted at a perplexity of" in page
    assert "3 texts without labels read, too" in page
    for path in (out / "record.json", out / "report.html", out / "recommendation.json"):
        assert MARKER not in path.read_text(encoding="utf-8")
    refused(say(*command), 2, "another comparison")
    idle = ("compare", reviews_csv, "--strategies", "full", *usual, "--output-dir", tmp_path / "idle")
    refused(say(*idle, "--unlabeled", more), 2, "--unlabeled: full cannot read texts without labels", "tapt")
    refused(say(*idle, "--unlabeled", tmp_path / "none.txt"), 2, "none.txt", "no such file")
