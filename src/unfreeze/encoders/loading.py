"""What a run starts from: an encoder's files, read and checked, but no weights in memory yet."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import transformers

from unfreeze.encoders.checking import check_folder, read_settings
from unfreeze.encoders.locating import ALLOWED_FILES, EMBEDDED_HUB_ID, EMBEDDED_NAME, Located, file_sha256, locate
from unfreeze.encoders.silence import quiet
from unfreeze.encoders.tokenizing import check_vocabulary, input_window, load_tokenizer, with_prefix_space
from unfreeze.errors import EncoderError

__all__ = ["EMBEDDED_NAME", "Encoder", "load_encoder"]

OWN_FAMILIES = ("unfreeze-encoder", "unfreeze-adapted")


@dataclass(frozen=True, slots=True)
class Encoder:
    """A pretrained encoder, ready to build models from.

    Attributes:
        name: as the user wrote it, or "embedded: all-MiniLM-L6-v2".
        folder: the local folder with its files.
        family: ``config.model_type``, such as "bert".
        config: its configuration; copy it before changing anything.
        tokenizer: its fast tokenizer.
        window: the longest input in tokens, special tokens included.
        digest: SHA-256 over the configuration, the tokenizer's files and the weights, 64 hexadecimal digits.
    """

    name: str
    folder: Path
    family: str
    config: transformers.PretrainedConfig
    tokenizer: transformers.PreTrainedTokenizerBase
    window: int
    digest: str

    @property
    def hub_id(self) -> str | None:
        """Its name on the Hugging Face hub; None for a local folder."""
        if self.name == EMBEDDED_NAME:
            return EMBEDDED_HUB_ID
        local = Path(self.name).expanduser().resolve() == self.folder.resolve()
        return None if local else self.name

    def for_words(self) -> "Encoder":
        """The same encoder, its tokenizer ready for words: byte-level ones read every word as after a space."""
        return replace(self, tokenizer=with_prefix_space(self.tokenizer))


def load_encoder(name: str | None) -> Encoder:
    """Read an encoder's configuration and tokenizer, and check its weights.

    No code of the model is run, no pickle is read, and the network is used only where a hub name is given.

    Args:
        name: a local folder, a name on the Hugging Face hub, or None for the embedded encoder.

    Returns:
        The encoder; ``build_model`` makes models from it.

    Raises:
        EncoderError: the folder is no model, is damaged, is of an unknown or unsuited family, or could run code.
        SurroundingsError: the embedded encoder is missing or damaged, or the hub cannot be reached.
    """
    located = locate(name)
    weights = check_folder(located)
    config = _load_config(located)
    tokenizer = load_tokenizer(located.name, located.folder)
    check_vocabulary(tokenizer, _embedding_rows(located, config), name=located.name)
    return Encoder(
        name=located.name,
        folder=located.folder,
        family=config.model_type,
        config=config,
        tokenizer=tokenizer,
        window=input_window(tokenizer, config, name=located.name),
        digest=_digest(located.folder, weights),
    )


def _load_config(located: Located) -> transformers.PretrainedConfig:
    path = located.folder / "config.json"
    family = read_settings(path).get("model_type")
    if family in OWN_FAMILIES:
        raise EncoderError(
            f"{located.name}: this is a finished model that unfreeze wrote, no encoder to start from. "
            "Use it with: unfreeze predict"
        )
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(
                located.folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # a wrong value in config.json can fail in as many ways as there are families
        known = "" if family else " It names no model_type."
        raise EncoderError(
            f"{path}: transformers {transformers.__version__} cannot read a model of type {family!r} from it "
            f"({type(error).__name__}).{known} Choose a family that it knows, or install a newer transformers."
        ) from None
    if config.is_encoder_decoder:
        raise EncoderError(
            f"{located.name}: {config.model_type} has an encoder and a decoder, and unfreeze fine-tunes encoders. "
            "Choose a model like BERT, RoBERTa, DeBERTa or ModernBERT."
        )
    return config


def _embedding_rows(located: Located, config: transformers.PretrainedConfig) -> int:
    rows = getattr(config, "vocab_size", None)
    if not isinstance(rows, int) or rows < 1:
        raise EncoderError(
            f"{located.name}: config.json gives no usable vocab_size (found {rows!r}); is this a text model?"
        )
    return rows


def _digest(folder: Path, weights: tuple[Path, ...]) -> str:
    settings = [folder / name for name in ALLOWED_FILES if (folder / name).is_file()]
    whole = hashlib.sha256()
    for path in sorted({*settings, *weights}):
        whole.update(f"{path.name} {file_sha256(path)}\n".encode())
    return whole.hexdigest()
