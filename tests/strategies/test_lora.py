"""Low-rank updates: as peft has them, merged into a plain model, counted as in the paper."""

import sys
from dataclasses import replace

import numpy as np
import peft
import pytest
import torch
import transformers

from runs import LABELS, RUNTIME, SETTINGS, make_data, make_features, make_model, without_dropout
from unfreeze.encoders.building import build_model
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.reading_outline import read_outline
from unfreeze.engine.batches import collate, order_of
from unfreeze.engine.prediction import logits_of
from unfreeze.engine.training import Run
from unfreeze.errors import MissingExtra, SettingsError
from unfreeze.strategies import install, merged, save_part, strategy_named

FEATURES = make_features(24)
SHORT = replace(SETTINGS, learning_rate=2e-3, num_train_epochs=2, patience=9)


def installed(encoder, spelling, seed=0):
    model, _ = make_model(encoder)
    install(strategy_named(spelling), model, encoder=encoder, seed=seed)
    return model, read_outline(model)


def trained(encoder, spelling):
    model, outline = installed(encoder, spelling)
    data = make_data(FEATURES)
    plan = strategy_named(spelling).plan(outline)
    run = Run(model, outline, plan=plan, settings=SHORT, data=data, runtime=RUNTIME)
    run._is_best = lambda row: True
    run.run()
    return model


def peft_by_hand(encoder):
    """The same training by peft and torch alone: their model, their loss, their optimizer."""
    model = build_model(encoder, HeadSettings(), kind="sequence", labels=LABELS, weights="pretrained", seed=0)
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=["query", "value"],
        modules_to_save=["classifier"],
    )  # fmt: skip
    torch.manual_seed(0)
    model = peft.get_peft_model(model, config)
    learning = [p for p in model.parameters() if p.requires_grad]
    decaying, others = [p for p in learning if p.ndim > 1], [p for p in learning if p.ndim == 1]
    groups = [{"params": decaying, "weight_decay": SHORT.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, eps=SHORT.adam_epsilon, foreach=False)
    steps = SHORT.steps_per_epoch(18)
    model.eval()  # nothing drops out
    for epoch in range(SHORT.num_train_epochs):
        order = order_of(18, seed=SHORT.seed, epoch=epoch)
        for batch in range(steps):
            features = [FEATURES[i] for i in order[batch * 6 : batch * 6 + 6]]
            share = SHORT.rate_share(epoch * steps + batch, steps * SHORT.num_train_epochs)
            for group in optimizer.param_groups:
                group["lr"] = SHORT.learning_rate * share
            targets = torch.tensor([feature.targets[0] for feature in features])
            model(**collate(features, pad_token_id=0, device="cpu"), labels=targets).loss.backward()
            torch.nn.utils.clip_grad_norm_(learning, SHORT.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
    return {
        name.removeprefix("base_model.model.").replace("modules_to_save.default.", ""): parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # asked for by peft
def test_it_ends_with_the_weights_that_peft_itself_ends_with(encoder_of):
    encoder = without_dropout(encoder_of("bert"))
    ours = dict(trained(encoder, "lora:r=4,lora_alpha=8,lora_dropout=0.0").named_parameters())
    theirs = peft_by_hand(encoder)
    assert {"classifier.weight", "bert.encoder.layer.2.attention.self.value.lora_B.default.weight"} <= theirs.keys()
    assert len(theirs) == 3 * 2 * 2 + 2
    for name, parameter in theirs.items():
        assert float(parameter.abs().max()) > 0
        torch.testing.assert_close(ours[name].detach(), parameter, rtol=1e-4, atol=1e-5, msg=name)


def test_the_merged_model_is_the_familys_own_and_the_trained_one_stays_as_it_is(encoder_of, tmp_path):
    model = trained(encoder_of("bert"), "lora")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plain = merged(strategy_named("lora"), model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert {name for name, _ in plain.named_parameters()} == {
        name for name, _ in make_model(encoder_of("bert"))[0].named_parameters()
    }
    plain.save_pretrained(tmp_path)
    again = transformers.BertForSequenceClassification.from_pretrained(tmp_path)
    for first, second, last in zip(
        *(logits_of(some, FEATURES, runtime=RUNTIME) for some in (model, plain, again)), strict=True
    ):
        np.testing.assert_allclose(second, first, rtol=1e-5, atol=1e-6)
        assert np.array_equal(second, last)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # asked for by peft
@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "electra"])
def test_the_updates_alone_are_read_by_peft_and_give_the_same_logits_head_included(family, encoder_of, tmp_path):
    encoder = encoder_of(family)
    model = trained(encoder, "lora")
    folder = tmp_path / "model" / "adapter"
    line = save_part(strategy_named("lora"), model, folder=folder, base=str(encoder.folder))
    here = logits_of(model, FEATURES, runtime=RUNTIME)
    scope = {"peft": peft, "transformers": transformers}
    exec(
        line.replace("import peft; ", "again = ").replace('"model/adapter"', "folder"),
        scope | (own := {"folder": folder}),
        own,
    )
    there = logits_of(own["again"].eval(), FEATURES, runtime=RUNTIME)
    for first, second in zip(here, there, strict=True):
        np.testing.assert_allclose(second, first, rtol=1e-5, atol=1e-6)
    assert str(encoder.folder) in line
    assert own["again"].config.id2label == dict(enumerate(LABELS))
    stored = sum(path.stat().st_size for path in folder.iterdir())
    assert stored < sum(p.numel() for p in model.parameters())


def test_for_a_head_of_our_own_there_is_nothing_that_peft_could_read(encoder_of, tmp_path):
    head = HeadSettings("mean")
    model = build_model(encoder_of("bert"), head, kind="sequence", labels=LABELS, weights="pretrained", seed=0)
    install(strategy_named("lora"), model, encoder=encoder_of("bert"), seed=0)
    assert save_part(strategy_named("lora"), model, folder=tmp_path / "adapter", base="any") is None
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet", "deberta-v3", "modernbert", "electra", "roberta"])
def test_each_family_has_updates_of_queries_and_values_in_every_layer(family, encoder_of):
    model, outline = installed(encoder_of(family), "lora:r=2")
    learned = strategy_named("lora").plan(outline).ever_trainable - set(outline.head)
    layers = model.get_submodule(outline.stack)
    for layer, names in zip(layers, outline.layers, strict=True):
        own = [m for m in layer.modules() if isinstance(m, peft.tuners.lora.Linear)]
        by_hand = sum(2 * (m.in_features + m.out_features) for m in own)
        assert outline.size(tuple(learned & set(names))) == by_hand > 0
    plain, _ = make_model(encoder_of(family))
    for first, second in zip(*(logits_of(m, FEATURES, runtime=RUNTIME) for m in (plain, model)), strict=True):
        assert np.array_equal(first, second), "at first it changes nothing"


def test_it_has_as_many_parameters_as_the_paper_counts():
    """Table 2: RoBERTa-base with r=8 on queries and values, 0.3 M."""
    config = transformers.RobertaConfig(num_labels=2, num_hidden_layers=2)  # of twelve
    model = transformers.RobertaForSequenceClassification(config).eval()
    install(strategy_named("lora"), model, encoder=None, seed=0)
    outline = read_outline(model)
    learned = strategy_named("lora").plan(outline).ever_trainable - set(outline.head)
    assert outline.size(learned) * 6 == 12 * 2 * 8 * (768 + 768) == 294_912


def test_new_weights_follow_from_the_seed_and_leave_the_random_state_alone(encoder_of):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, again, other = (installed(encoder_of("bert"), "lora", seed=seed)[0].state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    name = "bert.encoder.layer.0.attention.self.query.lora_A.default.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def test_linear_layers_are_chosen_by_their_names(encoder_of):
    def updated(target_modules):
        _, outline = installed(encoder_of("bert"), f"lora:target_modules={target_modules}")
        return {name.split(".lora_")[0].split("layer.0.")[1] for name in outline.layers[0] if ".lora_" in name}

    assert updated("key") == {"attention.self.key"}
    assert updated("dense") == {"attention.output.dense", "intermediate.dense", "output.dense"}
    assert updated("all-linear") == updated("dense") | {f"attention.self.{name}" for name in ("query", "key", "value")}


@pytest.mark.parametrize(
    ("spelling", "said"),
    [
        ("lora:target_modules=query+qeury", "there is none named 'qeury'.*They are: dense, key, query, value"),
        ("lora:r=0", "lora: .*r.*positive"),
    ],
)
def test_what_makes_no_sense_is_refused(spelling, said, encoder_of):
    with pytest.raises(SettingsError, match=said):
        installed(encoder_of("bert"), spelling)


def test_without_peft_the_command_is_named_that_brings_it(encoder_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"pip install 'unfreeze\[peft\]'"):
        installed(encoder_of("bert"), "lora")
