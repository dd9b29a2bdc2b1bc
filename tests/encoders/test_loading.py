"""An encoder is read from a folder, the hub or the embedded package; what is broken or could run code is refused."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import huggingface_hub
import pytest
import transformers
from huggingface_hub import errors as hub_errors
from hypothesis import given
from hypothesis import strategies as st
from transformers.utils import logging as transformers_logging

from tiny import CHARACTERS, FAMILIES, POSITIONS
from unfreeze.encoders import locating
from unfreeze.encoders.loading import load_encoder
from unfreeze.encoders.silence import quiet
from unfreeze.errors import EncoderError, SurroundingsError


@pytest.fixture
def bert(encoder_of, tmp_path) -> Path:
    """A copy of the tiny BERT's folder, to spoil."""
    return Path(shutil.copytree(encoder_of("bert").folder, tmp_path / "bert"))


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refusal(folder: Path | str) -> str:
    with pytest.raises(EncoderError) as caught:
        load_encoder(str(folder))
    return str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_with_a_fast_tokenizer_and_its_window(family, encoder_of):
    encoder = encoder_of(family)
    assert encoder.family == family.replace("-v3", "-v2")
    assert encoder.tokenizer.is_fast
    assert encoder.window == POSITIONS
    assert encoder.name == str(encoder.folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_window_is_what_the_positions_allow_where_the_tokenizer_names_none(family, encoder_of, tmp_path):
    folder = Path(shutil.copytree(encoder_of(family).folder, tmp_path / "copy"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["model_max_length"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    encoder = load_encoder(str(folder))
    assert encoder.tokenizer.model_max_length > 1e9
    assert encoder.window == POSITIONS  # RoBERTa and MPNet have two positions more, which padding takes

    model = transformers.AutoModel.from_pretrained(folder)
    ids = encoder.tokenizer("a " * 200, truncation=True, max_length=encoder.window, return_tensors="pt")
    assert model(**ids).last_hidden_state.shape[1] == encoder.window
    if family in {"roberta", "mpnet"}:
        longer = encoder.tokenizer("a " * 200, truncation=True, max_length=encoder.window + 1, return_tensors="pt")
        with pytest.raises((IndexError, RuntimeError)):
            model(**longer)


def test_the_window_is_the_tokenizers_where_that_is_shorter(bert):
    edit(bert / "tokenizer_config.json", model_max_length=20)
    assert load_encoder(str(bert)).window == 20


def test_a_window_that_nothing_names_is_refused(bert):
    edit(bert / "tokenizer_config.json", model_max_length=int(1e30))
    edit(bert / "config.json", max_position_embeddings=0)
    assert "nothing says how long an input may be" in refusal(bert)


@pytest.mark.parametrize("family", FAMILIES)
def test_words_and_the_text_they_make_give_the_same_tokens(family, encoder_of):
    tokenizer = encoder_of(family).for_words().tokenizer
    word = st.text([c for c in CHARACTERS if c.isalnum()], min_size=1, max_size=10)

    @given(st.lists(word, min_size=1, max_size=8))
    def check(words):
        split = tokenizer(words, is_split_into_words=True)
        assert split["input_ids"] == tokenizer(" ".join(words))["input_ids"]
        assert {i for i in split.word_ids() if i is not None} == set(range(len(words)))

    check()


@pytest.mark.parametrize("family", ["roberta", "modernbert"])
def test_a_tokenizer_for_words_stays_one_when_saved_and_leaves_the_original_as_it_was(family, encoder_of, tmp_path):
    folder = Path(shutil.copytree(encoder_of(family).folder, tmp_path / "copy"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("add_prefix_space", None)  # as in the folders of the first RoBERTas
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    encoder = load_encoder(str(folder))
    words = ["Anna", "costs", "5"]
    plain = encoder.tokenizer(words, is_split_into_words=True)["input_ids"]
    spaced = encoder.for_words().tokenizer
    assert spaced(words, is_split_into_words=True)["input_ids"] != plain
    assert encoder.tokenizer(words, is_split_into_words=True)["input_ids"] == plain
    spaced.save_pretrained(tmp_path / "saved")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    for text in ("Anna costs 5", "x", "naïve boats"):
        assert again(text)["input_ids"] == spaced(text)["input_ids"]
        assert again(text.split(), is_split_into_words=True)["input_ids"] == spaced(text)["input_ids"]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
def test_the_digest_changes_with_every_file_that_matters(name, bert):
    before = load_encoder(str(bert)).digest
    (bert / "notes.txt").write_text("not read")
    assert load_encoder(str(bert)).digest == before
    content = bytearray((bert / name).read_bytes())
    if name == "model.safetensors":
        content[-1] ^= 1
        (bert / name).write_bytes(content)
    else:
        (bert / name).write_bytes(content + b"\n")
    assert load_encoder(str(bert)).digest != before
    assert len(before) == 64


def test_the_embedded_encoder_loads_by_default():
    pytest.importorskip(locating.EMBEDDED_PACKAGE)
    encoder = load_encoder(None)
    assert encoder.name == "embedded: all-MiniLM-L6-v2"
    assert (encoder.family, encoder.window, encoder.config.num_hidden_layers) == ("bert", 512, 6)


def test_a_missing_embedded_encoder_names_two_commands_that_work(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SurroundingsError) as caught:
        load_encoder(None)
    assert "pip install 'unfreeze[demo]'" in str(caught.value)
    assert "--model NAME" in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("content", [b"not these weights", None])
def test_an_embedded_encoder_with_other_weights_is_refused(content, tmp_path, monkeypatch):
    package = tmp_path / locating.EMBEDDED_PACKAGE
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('locating must not import the package')")
    if content is not None:
        (package / "model" / "model.safetensors").write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, locating.EMBEDDED_PACKAGE, raising=False)
    with pytest.raises(SurroundingsError, match=f"damaged.*expected {locating.EMBEDDED_SHA256}"):
        load_encoder(None)


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    assert "this folder is no model: it holds no config.json" in refusal(tmp_path)


def test_a_file_in_place_of_a_folder_is_refused(bert):
    assert "a model is a folder" in refusal(bert / "config.json")


def test_a_folder_that_is_not_there_offers_a_close_name(bert):
    assert f"Did you mean '{bert}'?" in refusal(bert.parent / "brt")
    assert "Did you mean" not in refusal(bert.parent / "nowhere" / "x")


@pytest.mark.parametrize("pickled", ["pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_pickled_weights_are_refused_and_never_opened(pickled, bert):
    (bert / "model.safetensors").unlink()
    (bert / pickled).write_bytes(b"\x80\x04 would run code")
    message = refusal(bert)
    assert f"only pickled weights ({pickled})" in message
    assert "save_pretrained('converted')" in message


def test_missing_weights_are_refused(bert):
    (bert / "model.safetensors").unlink()
    assert "the weights are missing: there is no model.safetensors" in refusal(bert)


@pytest.mark.parametrize(
    "spoil",
    [lambda b: b[: len(b) // 2], lambda b: b[:4], lambda b: b"", lambda b: b"\xff" * 64 + b, lambda b: b + b"more"],
    ids=["cut", "cut in the header", "empty", "other header", "too long"],
)
def test_damaged_weights_are_refused(spoil, bert):
    weights = bert / "model.safetensors"
    weights.write_bytes(spoil(weights.read_bytes()))
    assert "the weights cannot be read" in refusal(bert)


def test_weights_without_weights_are_refused(bert):
    header = b"{}"
    (bert / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert "holds no weights" in refusal(bert)


def test_weights_in_several_files_load_and_a_missing_one_is_named(encoder_of, tmp_path):
    transformers.AutoModel.from_pretrained(encoder_of("bert").folder).save_pretrained(tmp_path, max_shard_size="100KB")
    encoder_of("bert").tokenizer.save_pretrained(tmp_path)
    parts = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(parts) > 1
    before = load_encoder(str(tmp_path)).digest
    content = bytearray(parts[1].read_bytes())
    content[-1] ^= 1
    parts[1].write_bytes(content)
    assert load_encoder(str(tmp_path)).digest != before
    parts[1].unlink()
    assert f"the weights file {parts[1].name} is missing" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "../elsewhere.safetensors"}}, "no safetensors file of the same folder"),
        ({"weight_map": {"a": "model.bin"}}, "no safetensors file of the same folder"),
        ({"weight_map": {}}, "expected a 'weight_map'"),
        ({}, "expected a 'weight_map'"),
    ],
)
def test_an_index_that_points_elsewhere_is_refused(index, message, bert):
    (bert / "model.safetensors").rename(bert.parent / "elsewhere.safetensors")
    (bert / "model.safetensors.index.json").write_text(json.dumps(index))
    assert message in refusal(bert)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_that_asks_to_run_code_is_refused(name, bert):
    edit(bert / name, auto_map={"AutoModel": "modeling_evil.Evil"})
    assert "'auto_map' asks to run code" in refusal(bert)


def test_a_folder_with_program_code_is_refused(bert):
    (bert / "modeling_evil.py").write_text("raise SystemExit")
    assert "program code (modeling_evil.py)" in refusal(bert)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"model_type": "bert",\n "oops"', "config.json:2: this is not valid JSON"),
        (b"[1, 2]", "expected a JSON object, found a list"),
        (b"\xff\xfe{}", "this is not valid JSON (UnicodeDecodeError)"),
        (b"[" * 100_000, "this is not valid JSON"),
        (b"", "config.json:1: this is not valid JSON"),
        (b'{"model_type": "bort"}', "cannot read a model of type 'bort'"),
        (b"{}", "It names no model_type"),
        (b'{"model_type": "bert", "vocab_size": "many"}', "config.json"),
        (b'{"model_type": "bert", "vocab_size": 0}', "no usable vocab_size"),
        (b'{"model_type": "bert", "vocab_size": 900, "hidden_size": 33, "num_attention_heads": 2}', "no bert encoder"),
        (b'{"model_type": "unfreeze-encoder"}', "unfreeze predict"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(content, message, bert):
    (bert / "config.json").write_bytes(content)
    assert message in refusal(bert)


def test_a_model_without_tokenizer_is_refused(bert):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bert / name).unlink()
    assert "the model has no tokenizer" in refusal(bert)


def test_a_damaged_tokenizer_is_refused(bert):
    (bert / "tokenizer.json").write_text("{}")
    assert "the tokenizer cannot be read" in refusal(bert)


def test_a_tokenizer_with_more_ids_than_embeddings_is_refused(bert):
    rows = json.loads((bert / "config.json").read_text())["vocab_size"]
    edit(bert / "config.json", vocab_size=rows - 1)
    message = refusal(bert)
    assert f"gives ids up to {rows - 1}" in message
    assert f"embeddings for {rows - 1} ids" in message


def test_a_tokenizer_that_knows_no_words_is_refused(bert):
    (bert / "tokenizer.json").unlink()
    (bert / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    assert "knows no words" in refusal(bert)


def test_a_tokenizer_without_padding_is_refused(encoder_of, tmp_path):
    folder = Path(shutil.copytree(encoder_of("modernbert").folder, tmp_path / "copy"))
    edit(folder / "tokenizer_config.json", pad_token=None)
    assert "no padding token" in refusal(folder)


def test_a_slow_tokenizer_is_refused(bert, monkeypatch):
    monkeypatch.setattr(transformers.PreTrainedTokenizerFast, "is_fast", False)
    assert "is a slow tokenizer" in refusal(bert)


def hub_error(kind: str) -> Exception:
    cls = getattr(hub_errors, kind)
    error = cls.__new__(cls)
    Exception.__init__(error, "from the hub")
    return error


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("RepositoryNotFoundError", EncoderError, "no folder and no hub model named 'some-bert'"),
        ("GatedRepoError", EncoderError, "accepted its terms"),
        ("OfflineModeIsEnabled", SurroundingsError, "could not be asked"),
        ("LocalEntryNotFoundError", SurroundingsError, "could not be asked"),
        ("HfHubHTTPError", SurroundingsError, "could not be asked"),
    ],
)
def test_what_goes_wrong_at_the_hub_is_told_apart(kind, error, message, monkeypatch):
    def fail(*args, **kwargs):
        raise hub_error(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(error, match=message):
        load_encoder("some-bert")


@pytest.mark.parametrize(("offline", "reason"), [(True, "HF_HUB_OFFLINE is set"), (False, "the network failed")])
def test_offline_and_a_failed_network_are_told_apart(offline, reason, monkeypatch):
    def fail(*args, **kwargs):
        raise hub_error("LocalEntryNotFoundError")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    with pytest.raises(SurroundingsError, match=reason):
        load_encoder("owner/some-bert")


def test_a_name_that_is_no_hub_name_is_refused_without_asking():
    assert "neither a folder here nor a name" in refusal("three words here")


def test_a_hub_model_is_fetched_without_pickles_and_code(bert, monkeypatch):
    asked = {}

    def fetch(name, *, allow_patterns):
        asked[name] = allow_patterns
        (bert / "train_script.py").write_text("raise SystemExit")  # another program left it in the hub's cache
        return str(bert)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    encoder = load_encoder("owner/bert")
    assert (encoder.name, encoder.folder) == ("owner/bert", bert)
    files = ["config.json", "pytorch_model.bin", "code.py", "onnx/model.safetensors", "model.safetensors", "a.pkl"]
    kept = list(huggingface_hub.utils.filter_repo_objects(files, allow_patterns=asked["owner/bert"]))
    assert kept == ["config.json", "model.safetensors"]


def test_a_hub_model_with_pickles_only_says_how_to_convert(bert, monkeypatch):
    (bert / "model.safetensors").unlink()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, allow_patterns: str(bert))
    assert "no weights as safetensors" in refusal("owner/bert")


def test_the_libraries_are_silenced_and_afterwards_as_before(bert, capfd):
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    load_encoder(str(bert))
    with quiet():
        assert transformers_logging.get_verbosity() == transformers_logging.ERROR
        assert not transformers_logging.is_progress_bar_enabled()
    assert transformers_logging.get_verbosity() == verbosity
    assert transformers_logging.is_progress_bar_enabled() == bars
    assert capfd.readouterr() == ("", "")
