"""What a model's folder must and must not hold: looked at before any library reads it."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from unfreeze.encoders.locating import Located
from unfreeze.errors import EncoderError

VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spm.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth", "pytorch_model.pt")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def read_settings(path: Path) -> dict[str, Any]:
    """Read one of a model's JSON files.

    Raises:
        EncoderError: it is no JSON, or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise EncoderError(
            f"{path}:{error.lineno}: this is not valid JSON ({error.msg}, column {error.colno}). "
            "The file is damaged or half copied: fetch the model again."
        ) from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise EncoderError(f"{path}: this is not valid JSON ({type(error).__name__}). Fetch the model again.") from None
    if not isinstance(content, dict):
        raise EncoderError(f"{path}: expected a JSON object, found a {type(content).__name__}. Fetch the model again.")
    return content


def check_folder(located: Located) -> tuple[Path, ...]:
    """Refuse a folder that is no model, brings code, or keeps its weights in a form that could run code.

    Args:
        located: the folder and the name to use in messages.

    Returns:
        The weights files, each a readable safetensors file.

    Raises:
        EncoderError: what is wrong, and what to do about it.
    """
    folder = located.folder
    if not (folder / "config.json").is_file():
        raise EncoderError(
            f"{located.name}: this folder is no model: it holds no config.json. Name a folder that "
            "save_pretrained wrote, or a hub model."
        )
    _refuse_code(located)
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise EncoderError(
            f"{located.name}: the model has no tokenizer: none of {', '.join(VOCABULARIES)} is there. "
            "Copy them from the model it was made from (tokenizer.save_pretrained)."
        )
    weights = weights_files(located)
    for path in weights:
        _check_safetensors(path)
    return weights


def _refuse_code(located: Located) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        path = located.folder / name
        if path.is_file() and "auto_map" in read_settings(path):
            raise EncoderError(
                f"{path}: 'auto_map' asks to run code that comes with the model, and unfreeze runs none. "
                "Choose a model of a family that transformers itself knows."
            )
    scripts = sorted(path.name for path in located.folder.glob("*.py"))
    if scripts and not located.from_hub:
        raise EncoderError(
            f"{located.name}: the folder holds program code ({', '.join(scripts[:3])}), and unfreeze runs none that "
            "comes with a model. If the model does not need it, remove it or copy the other files to a new folder."
        )


def weights_files(located: Located) -> tuple[Path, ...]:
    """The safetensors files that hold a model's weights, one or several.

    Raises:
        EncoderError: there are none, or some of several are missing.
    """
    folder = located.folder
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    if (folder / INDEX).is_file():
        return _shards(folder / INDEX)
    pickled = [name for name in PICKLES if (folder / name).exists()]
    if pickled or located.from_hub:
        found = f"only pickled weights ({', '.join(pickled)})" if pickled else "no weights as safetensors"
        raise EncoderError(
            f"{located.name}: {found}; reading a pickle can run code, so unfreeze reads safetensors only. "
            'If you trust where it comes from, convert it once: python -c "from transformers import AutoModel as M; '
            f"M.from_pretrained('{located.name}').save_pretrained('converted')\" and copy the tokenizer's files to "
            "the folder 'converted', or choose a model with safetensors."
        )
    raise EncoderError(f"{located.name}: the weights are missing: there is no {WEIGHTS}. Fetch the model again.")


def _shards(index: Path) -> tuple[Path, ...]:
    names = read_settings(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise EncoderError(f"{index}: expected a 'weight_map' from parameters to files. Fetch the model again.")
    shards = sorted({str(name) for name in names.values()})
    for name in shards:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise EncoderError(f"{index}: {name!r} is no safetensors file of the same folder. Do not use this model.")
        if not (index.parent / name).is_file():
            raise EncoderError(f"{index}: the weights file {name} is missing. Fetch the model again.")
    return tuple(index.parent / name for name in shards)


def _check_safetensors(path: Path) -> None:
    try:
        with safe_open(path, framework="np") as tensors:
            empty = not list(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise EncoderError(
            f"{path}: the weights cannot be read ({error}). The file is damaged or half copied: fetch it again."
        ) from None
    if empty:
        raise EncoderError(f"{path}: the weights file holds no weights. Fetch the model again.")
