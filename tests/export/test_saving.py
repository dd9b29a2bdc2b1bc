"""What is saved of a model that was never trained: the parts of its folder that do not depend on training."""

from pathlib import Path

import transformers

from rows import sentences, write_conll
from tiny import tiny_encoder
from unfreeze.compare.material import Sources, prepare
from unfreeze.compare.trials import Trained, Trial, planned
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import load_encoder
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.settings import TrainingSettings
from unfreeze.engine.training import State
from unfreeze.export.handing_over import save_model
from unfreeze.tasks import Columns


def test_the_saved_tokenizer_of_an_entity_model_reads_words_as_it_reads_their_text(tmp_path: Path) -> None:
    encoder = load_encoder(str(tiny_encoder("roberta", tmp_path / "roberta")))
    rows = write_conll(tmp_path / "rows.conll", sentences(40))
    material = prepare(Sources(rows), encoder, columns=Columns())
    trial = Trial("head-only", HeadSettings(), TrainingSettings(), None)
    model, outline, plan = planned(material, trial, runtime=Runtime("cpu", 1, "fp32"))
    save_model(Trained(model, outline, plan, State()), material, folder=tmp_path / "model", card="# a model\n")
    modes = {path.stat().st_mode for path in (tmp_path / "model").iterdir() if path.name != "manifest.json"}
    assert modes == {(tmp_path / "model" / "config.json").stat().st_mode}, "who may read one file may read them all"
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model", local_files_only=True)
    words = ["Anna", "works", "in", "Oslo"]
    of_words = tokenizer(words, is_split_into_words=True)["input_ids"]
    assert of_words == tokenizer("Anna works in Oslo")["input_ids"]
    assert tokenizer.decode(of_words, skip_special_tokens=True).strip() == "Anna works in Oslo"
