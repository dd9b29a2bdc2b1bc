"""Every parameter lies in exactly one part, at the depth that gradients say; what is not understood is refused."""

import pytest
import torch
import transformers
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions as Output

from tiny import FAMILIES, tiny_encoder
from unfreeze.encoders.building import build_model
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import load_encoder
from unfreeze.encoders.reading_outline import layer_modules, read_outline
from unfreeze.errors import EncoderError

LABELS = ("a", "b", "c")
HEADS = [
    ("sequence", HeadSettings()),
    ("token", HeadSettings()),
    ("sequence", HeadSettings("first")),
    ("sequence", HeadSettings("mean", 2)),
    ("token", HeadSettings("tokens", 3)),
]
NORM = ["LayerNorm.weight", "LayerNorm.bias"]
EMBEDDINGS = {  # under "embeddings.", written down by hand from the papers and the modules
    "bert": ["word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight", *NORM],
    "roberta": ["word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight", *NORM],
    "distilbert": ["word_embeddings.weight", "position_embeddings.weight", *NORM],
    "electra": ["word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight", *NORM],
    "mpnet": ["word_embeddings.weight", "position_embeddings.weight", *NORM],
    "deberta-v2": ["word_embeddings.weight", *NORM],
    "deberta-v3": ["word_embeddings.weight", *NORM],
    "modernbert": ["tok_embeddings.weight", "norm.weight"],
}
RELATIVE = ["encoder.rel_embeddings.weight", "encoder.LayerNorm.weight", "encoder.LayerNorm.bias"]
CONVOLUTION = ["conv.weight", "conv.bias", "LayerNorm.weight", "LayerNorm.bias"]
SHARED = {
    "mpnet": ["encoder.relative_attention_bias.weight"],
    "deberta-v2": [*RELATIVE, *(f"encoder.conv.{name}" for name in CONVOLUTION)],
    "deberta-v3": RELATIVE,
}
HEAD = {  # of the standard sequence classifier
    "bert": ["classifier"],
    "roberta": ["classifier.dense", "classifier.out_proj"],
    "distilbert": ["pre_classifier", "classifier"],
    "electra": ["classifier.dense", "classifier.out_proj"],
    "mpnet": ["classifier.dense", "classifier.out_proj"],
    "deberta-v2": ["pooler.dense", "classifier"],
    "deberta-v3": ["pooler.dense", "classifier"],
    "modernbert": ["head.dense", "head.norm", "classifier"],
}


def build(encoder, kind="sequence", head=None):
    head = head or HeadSettings()
    return build_model(encoder, head, kind=kind, labels=LABELS, weights="pretrained", seed=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("kind", "head"), HEADS, ids=lambda v: str(v) or "standard")
def test_every_parameter_lies_in_one_part_as_written_down_by_hand(family, kind, head, encoder_of):
    model = build(encoder_of(family), kind, head)
    outline = read_outline(model)
    base = f"{outline.base}."
    extra = ["embeddings_project.weight", "embeddings_project.bias"] if family == "electra" else []
    below = [*(f"{base}embeddings.{name}" for name in EMBEDDINGS[family]), *(base + name for name in extra)]

    assert sorted(outline.names) == sorted(name for name, _ in model.named_parameters())
    assert len(outline.names) == len(set(outline.names))
    assert outline.sizes == {name: p.numel() for name, p in model.named_parameters()}
    assert sorted(outline.embeddings) == sorted(below)
    assert sorted(outline.shared) == sorted(base + name for name in SHARED.get(family, []))
    assert outline.depth == 3
    for i, names in enumerate(outline.layers):
        assert names == tuple(n for n, _ in model.named_parameters() if n.startswith(f"{outline.stack}.{i}."))
        assert names


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_of_the_standard_classifier_is_what_lies_outside_the_encoder(family, encoder_of):
    outline = read_outline(build(encoder_of(family)))
    modules = {name.rpartition(".")[0] for name in outline.head}
    assert modules == set(HEAD[family])


def test_a_pooler_and_a_final_norm_are_the_top(encoder_of):
    bert = read_outline(build(encoder_of("bert")))
    assert bert.top == ("bert.pooler.dense.weight", "bert.pooler.dense.bias")
    assert read_outline(build(encoder_of("bert"), "token")).top == ()
    assert read_outline(build(encoder_of("modernbert"))).top == ("model.final_norm.weight",)
    assert read_outline(build(encoder_of("modernbert"), "token", HeadSettings("tokens"))).top == (
        "encoder.final_norm.weight",
    )


def test_a_pooler_that_the_logits_do_not_use_is_still_the_top(encoder_of):
    config = encoder_of("bert").config

    class LooksAway(transformers.BertPreTrainedModel):
        def __init__(self, config):
            super().__init__(config)
            self.bert = transformers.BertModel(config)
            self.classifier = nn.Linear(config.hidden_size, 2)
            self.post_init()

        def forward(self, input_ids, attention_mask):
            return self.classifier(self.bert(input_ids, attention_mask).last_hidden_state)

    assert read_outline(LooksAway(config)).top == ("bert.pooler.dense.weight", "bert.pooler.dense.bias")


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_agree_that_a_frozen_prefix_does_not_depend_on_what_lies_above(family, encoder_of):
    """The outline's use, checked without its own walk: real gradients of each layer's output."""
    encoder = encoder_of(family)
    model = build(encoder)
    outline = read_outline(model)
    outputs = []
    for layer in layer_modules(model, outline):
        layer.register_forward_hook(lambda m, a, out: outputs.append(out[0] if isinstance(out, tuple) else out))
    model(**encoder.tokenizer("Anna writes long letters.", return_tensors="pt"))
    parameters = dict(model.named_parameters())
    first_used_at = {}
    for i, output in enumerate(outputs):
        found = torch.autograd.grad(output.sum(), list(parameters.values()), allow_unused=True, retain_graph=True)
        for name, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                first_used_at.setdefault(name, i)
    for name in parameters:
        part = outline.part_of(name)
        if part.startswith("layer"):
            assert first_used_at[name] == int(part.removeprefix("layer "))
        elif part in {"top", "head"}:
            assert name not in first_used_at
        elif part == "embeddings":
            assert first_used_at[name] == 0
        else:
            assert first_used_at[name] <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_reading_leaves_the_model_and_the_random_state_as_they_were(family, encoder_of):
    model = build(encoder_of(family))
    model.train()
    layers = layer_modules(model, read_outline(model))
    layers[1].eval()
    frozen = next(iter(layers[0].parameters()))
    frozen.requires_grad_(False)
    learning = next(iter(layers[2].parameters()))
    learning.grad = torch.full_like(learning, 7.0)
    modes = [module.training for module in model.modules()]
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    before = {name: (id(p), p.requires_grad, p.clone()) for name, p in model.named_parameters()}
    state = torch.get_rng_state()

    with torch.no_grad():
        read_outline(model)

    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == hooks
    for name, p in model.named_parameters():
        assert (id(p), p.requires_grad) == before[name][:2]
        assert torch.equal(p, before[name][2])
    assert torch.equal(learning.grad, torch.full_like(learning, 7.0))
    assert frozen.grad is None


def test_the_outline_is_the_same_whatever_is_frozen(encoder_of):
    model = build(encoder_of("deberta-v2"))
    before = read_outline(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert read_outline(model) == before


def test_tied_parameters_are_named_once(encoder_of):
    model = transformers.BertForMaskedLM(encoder_of("bert").config)
    outline = read_outline(model)
    assert len(outline.names) == len(list(model.parameters()))
    assert "bert.embeddings.word_embeddings.weight" in outline.embeddings


@pytest.mark.parametrize(("kind", "head"), [HEADS[0], HEADS[3]], ids=["standard", "pooled"])
def test_layers_that_are_used_many_times_are_refused(kind, head, encoder_of):
    with pytest.raises(EncoderError, match=r"layer 0: 3 times.*Choose an encoder like BERT"):
        read_outline(build(encoder_of("albert"), kind, head))


def test_numbered_layers_outside_the_stack_are_refused(encoder_of):
    with pytest.raises(EncoderError, match="numbered layers outside its main stack"):
        read_outline(build(encoder_of("xlm")))


def test_a_second_stack_is_refused(tmp_path):
    folder = tiny_encoder("t5", tmp_path / "t5")
    with pytest.raises(EncoderError, match="an encoder and a decoder"):
        load_encoder(str(folder))
    with pytest.raises(EncoderError, match="two stacks"):
        read_outline(transformers.T5Model.from_pretrained(folder))


class Bag(transformers.BertPreTrainedModel):
    """A model with no stack: refused; its subclasses break one rule each."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = self.make(config)
        self.classifier = nn.Linear(config.hidden_size, 2)
        self.post_init()

    def make(self, config):
        bert = transformers.BertModel(config, add_pooling_layer=False)
        bert.encoder.layer = nn.Sequential(*bert.encoder.layer)
        return bert

    def forward(self, input_ids, attention_mask):
        return self.classifier(self.bert(input_ids, attention_mask).last_hidden_state)


class Unused(Bag):
    def make(self, config):
        bert = transformers.BertModel(config, add_pooling_layer=False)
        bert.spare = nn.Linear(2, 2)
        return bert


class UnusedInLayer(Bag):
    def make(self, config):
        bert = transformers.BertModel(config, add_pooling_layer=False)
        bert.encoder.layer[1].spare = nn.Linear(2, 2)
        return bert


class Borrows(Bag):
    """Layer 1's parameter feeds the embeddings: its name lies."""

    def make(self, config):
        bert = transformers.BertModel(config, add_pooling_layer=False)
        bert.embeddings.register_forward_hook(lambda m, a, out: out + bert.encoder.layer[1].output.LayerNorm.bias)
        return bert


class Backwards(Bag):
    def make(self, config):
        bert = transformers.BertModel(config, add_pooling_layer=False)
        bert.encoder.forward = lambda hidden, *a, **k: Output(last_hidden_state=self._run(bert, hidden))
        return bert

    @staticmethod
    def _run(bert, hidden):
        for layer in reversed(bert.encoder.layer):
            out = layer(hidden)
            hidden = out[0] if isinstance(out, tuple) else out
        return hidden


class HeadBelow(Bag):
    """The head feeds the encoder."""

    def forward(self, input_ids, attention_mask):
        words = self.bert.embeddings.word_embeddings(input_ids) + self.classifier.weight[0]
        return self.bert(inputs_embeds=words, attention_mask=attention_mask)

    def make(self, config):
        return transformers.BertModel(config, add_pooling_layer=False)


class WantsMore(HeadBelow):
    def forward(self, input_ids, attention_mask, image):
        return self.bert(input_ids, attention_mask)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Bag, "has no list of alike layers"),
        (Unused, "'bert.spare.weight' takes no part"),
        (UnusedInLayer, "named as layer 1, but it takes no part"),
        (Borrows, r"named as layer 1, but gradients say"),
        (Backwards, "do not each act once, in order"),
        (HeadBelow, "'classifier.weight' lies outside the encoder, but its layers depend on it"),
        (WantsMore, "does not run on token ids and a mask alone"),
    ],
)
def test_what_is_not_understood_is_refused_with_a_way_out(wrong, message, encoder_of):
    with pytest.raises(EncoderError, match=message) as caught:
        read_outline(wrong(encoder_of("bert").config))
    assert "Choose an encoder like BERT" in str(caught.value)


def test_unlike_layers_are_refused(encoder_of):
    model = build(encoder_of("bert"))
    model.bert.encoder.layer.append(nn.Linear(2, 2))
    with pytest.raises(EncoderError, match="not alike"):
        read_outline(model)


def test_a_model_of_another_library_is_refused():
    with pytest.raises(EncoderError, match="no transformers model"):
        read_outline(nn.Linear(2, 2))


def test_the_outline_of_another_model_gives_no_layers(encoder_of):
    bert, modernbert = build(encoder_of("bert")), build(encoder_of("modernbert"))
    outline = read_outline(bert)
    del bert.bert.encoder.layer[2]
    with pytest.raises(EncoderError, match="another model's"):
        layer_modules(bert, outline)
    assert len(layer_modules(modernbert, read_outline(modernbert))) == 3
