"""Files predicted in blocks by real models: the same as all at once, in memory that does not grow with the file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rows import sentences, write_conll, write_jsonl
from unfreeze import predicting
from unfreeze.encoders.building import build_model
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import load_encoder
from unfreeze.engine.runtime import Runtime
from unfreeze.export.handing_over import ABOUT, FineTuned, load_model
from unfreeze.files import write_json
from unfreeze.tasks.classification import Classification
from unfreeze.tasks.ner import NamedEntities

TASKS = (Classification(("a", "b", "c")), NamedEntities(("O", "B-LOC", "I-LOC", "B-PER", "I-PER")))
RUNTIME = Runtime("cpu", 1, "fp32")
TEXTS = st.text(st.sampled_from([*"abcdefg  \t.,é🎉"]), max_size=150)  # the tiny encoder reads 64 tokens at once


@pytest.fixture(scope="module")
def models(tiny_encoder_dir):
    """An untrained model for each task."""
    encoder = load_encoder(str(tiny_encoder_dir))
    made = {}
    for task in TASKS:
        of_kind = encoder.for_words() if task.kind == "token" else encoder
        model = build_model(of_kind, HeadSettings(), kind=task.kind, labels=task.labels, weights="pretrained", seed=0)
        made[task.name] = FineTuned(Path("unsaved"), task, model.eval(), of_kind, RUNTIME)
    return made


def same(first, second):
    """Whether two rows of an output say the same, but for rounding."""
    sure = abs(first.pop("probability") - second.pop("probability")) <= 1e-5
    return sure and first == second


def predicted(model, file, *, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predicting, "load_model", lambda *_, **__: model)
        patch.setattr(predicting, "ROWS", rows)
        predicting.predict_file("unsaved", file, output=file.with_name("out.jsonl"))
    return [json.loads(line) for line in file.with_name("out.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", [task.name for task in TASKS])
@given(texts=st.lists(TEXTS, min_size=1, max_size=12), rows=st.integers(1, 13))
def test_any_texts_in_blocks_of_any_size_are_predicted_as_all_at_once(models, tmp_path_factory, name, texts, rows):
    file = write_jsonl(tmp_path_factory.mktemp("texts") / "in.jsonl", [{"text": text} for text in texts])
    model = models[name]
    together = predicted(model, file, rows=len(texts))
    answers = model.predict(texts)
    assert [row["entities" if name == "ner" else "prediction"] for row in together] == answers
    in_blocks = predicted(model, file, rows=rows)
    assert [row["text"] for row in in_blocks] == texts
    assert all(same(first, second) for first, second in zip(in_blocks, together, strict=True))


def test_sentences_in_blocks_are_predicted_as_all_at_once(models, tmp_path):
    file = write_conll(tmp_path / "in.conll", sentences(23))
    together = predicted(models["ner"], file, rows=4096)
    assert [row["tokens"] for row in together] == [[word for word, _ in sentence] for sentence in sentences(23)]
    assert any(row["entities"] for row in together), "an untrained model that finds nothing would prove nothing"
    for rows in (1, 5, 22):
        pairs = zip(predicted(models["ner"], file, rows=rows), [dict(row) for row in together], strict=True)
        assert all(same(first, second) for first, second in pairs)


MEASURED = """
import resource, sys
from unfreeze import predicting
predicting.ROWS = 100
for file in sys.argv[2:]:
    predicting.predict_file(sys.argv[1], file, output=file + ".out.csv", threads=1, precision="fp32")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system does not tell a process's highest memory")
def test_memory_does_not_grow_with_the_file(models, tiny_encoder_dir, tmp_path):
    model, folder = models["classification"], tmp_path / "model"
    model.model.save_pretrained(folder)
    model.encoder.tokenizer.save_pretrained(folder)
    about = {"task": model.task.name, "labels": model.task.labels, "window": 64, "encoder": "tiny"}
    write_json(folder / ABOUT, about)
    assert load_model(folder, threads=1, precision="fp32").task == model.task
    note = "n" * 25_000  # beside the texts, so that the file is large and its prediction is quick
    files = [tmp_path / "once.csv", tmp_path / "ten.csv"]
    for file, rows in zip(files, (300, 3000), strict=True):
        with file.open("w", encoding="utf-8") as out:
            out.write("text,note\n")
            out.writelines(f"The film number {i} was good,{note}\n" for i in range(rows))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, folder, *files], capture_output=True, text=True, check=True, timeout=240
    )
    once, ten = map(int, done.stdout.split())
    assert files[1].stat().st_size > 75e6
    assert ten - once < 15e6, f"{once / 1e6:.0f} MB, then {ten / 1e6:.0f} MB"
    with (tmp_path / "ten.csv.out.csv").open(encoding="utf-8") as out:
        assert out.readline() == "text,note,prediction,probability\n"
        assert [line.split(",")[0] for line in out] == [f"The film number {i} was good" for i in range(3000)]
