"""A fine-tuned model as a folder: saved whole, checked by loading it in a fresh process, and used for predictions."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from unfreeze.compare.material import Material
from unfreeze.compare.trials import Trained
from unfreeze.data.example import Example
from unfreeze.data.words import split_words
from unfreeze.encoders.loading import Encoder
from unfreeze.encoders.silence import quiet
from unfreeze.engine.batches import canonical_batches, collate
from unfreeze.engine.prediction import logits_of
from unfreeze.engine.runtime import Runtime, prepare_process
from unfreeze.errors import EncoderError, SettingsError, StorageError
from unfreeze.files import MANIFEST, digest_of, publish_folder, read_json, write_json, write_text
from unfreeze.tasks import Prediction, Task, task_named

ABOUT, CARD = "unfreeze.json", "README.md"
CLASSES = {"sequence": "AutoModelForSequenceClassification", "token": "AutoModelForTokenClassification"}


def save_model(trained: Trained, material: Material, *, folder: Path, card: str, beside: Path | None = None) -> None:
    """Write a model folder that ``from_pretrained`` loads: weights, configuration, tokenizer, model card.

    Args:
        trained: what to save.
        material: its task and tokenizer.
        folder: appears whole or not at all.
        card: the model card, Markdown.
        beside: a folder whose content comes along; None for nothing.

    Raises:
        StorageError: it could not be written.
    """
    encoder, task = material.encoder, material.task
    tokenizer = encoder.for_words().tokenizer if task.kind == "token" else encoder.tokenizer
    about = {"task": task.name, "labels": list(task.labels), "window": encoder.window, "encoder": encoder.name}

    def fill(into: Path) -> None:
        with quiet():
            trained.model.save_pretrained(into)  # type: ignore[operator]
            tokenizer.save_pretrained(into)
        write_json(into / ABOUT, about)
        write_text(into / CARD, card)
        if beside is not None:
            shutil.copytree(beside, into, dirs_exist_ok=True)
        for path in (path for path in into.rglob("*") if path.is_file()):  # safetensors makes its files for their owner
            path.chmod((into / CARD).stat().st_mode)

    publish_folder(folder, fill)


def save_card(folder: Path, card: str) -> None:
    """Give a saved model another card, and leave the rest of it alone.

    The manifest is written last: after a crash between the two the folder counts as damaged, and is saved anew.

    Args:
        folder: of a model that ``save_model`` saved.
        card: Markdown.

    Raises:
        StorageError: it could not be written.
    """
    write_text(folder / CARD, card)
    manifest = read_json(folder / MANIFEST)
    manifest["files"][CARD] = digest_of(folder / CARD)
    write_json(folder / MANIFEST, manifest)


def loads_with(model: nn.Module, *, kind: str, folder: str) -> str:
    """The line of code that loads a saved model; plain transformers where its class can express the head."""
    line = f'transformers.{CLASSES[kind]}.from_pretrained("{folder}")'
    standard = type(model).__module__.startswith("transformers.")
    return line if standard else f"import {type(model).__module__}; {line}"


def check_reload(model: nn.Module, material: Material, *, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """Load a saved model in a fresh process and compare its logits with those of the model in memory.

    Args:
        model: the one that was saved.
        material: a few of its shortest rows are the probe.
        folder: where it was saved.
        runtime: its number of threads is used on both sides; both compute in float32.

    Returns:
        ``equal``, and ``largest_difference`` of any logit.

    Raises:
        StorageError: it does not load, or gives other logits.
    """
    places = canonical_batches(material.features)[0][:8]
    probed, pad = [material.features[i] for i in places], int(model.config.pad_token_id or 0)  # type: ignore[union-attr,arg-type]
    inputs = collate(probed, pad_token_id=pad, device="cpu")
    model = model.to("cpu").eval()
    with torch.inference_mode():
        expected = model(**inputs).logits
    with tempfile.TemporaryDirectory() as temporary:
        probe, answer = Path(temporary) / "probe.safetensors", Path(temporary) / "logits.safetensors"
        save_file(inputs, probe)
        complaint = in_a_fresh_process(str(folder), str(probe), str(answer), material.task.kind, str(runtime.threads))
        if complaint:
            raise StorageError(f"{folder}: the saved model does not load again: {complaint}")
        loaded = load_file(answer)["logits"]
    same_shape = loaded.shape == expected.shape
    difference = float((loaded - expected).abs().max()) if same_shape else float("inf")
    if not difference <= 1e-5:  # NaN is no number at most 1e-5
        raise StorageError(
            f"{folder}: the saved model gives other logits after loading (they differ by {difference:g})"
        )
    return {"equal": bool(torch.equal(loaded, expected)), "largest_difference": difference}


def in_a_fresh_process(*arguments: str) -> str:
    """Have the probe answered by a process that knows nothing of this one; what it complains of, or nothing.

    Args:
        arguments: of ``unfreeze.export.reloading``.
    """
    command = [sys.executable, "-m", "unfreeze.export.reloading", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines()[-1:] or ["no message"])[0] if done.returncode else ""


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned model, ready to predict.

    Attributes:
        folder: where it is saved.
        task: with its labels.
        model: in float32, in evaluation mode.
        encoder: its tokenizer and window.
        runtime: how it computes.
    """

    folder: Path
    task: Task
    model: nn.Module
    encoder: Encoder
    runtime: Runtime

    def predict(self, texts: Sequence[str] | Sequence[Sequence[str]]) -> list[Any]:
        """Labels of texts, or entities as dictionaries with start, end, label and text.

        Args:
            texts: texts; for entities also lists of words.
        """
        examples = [_example(text, words=self.task.kind == "token") for text in texts]
        shown = [self.task.shown(e, p) for e, p in zip(examples, self.predictions(examples), strict=True)]
        return [row["entities"] if "entities" in row else row["prediction"] for row in shown]

    def predictions(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions with probabilities, in the order of the examples."""
        encoded = self.task.encode(examples, self.encoder)
        logits: list[np.ndarray] = logits_of(self.model, encoded.features, runtime=self.runtime)
        return self.task.decode(examples, encoded.features, logits=logits)

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the model folder to another place.

        Args:
            folder: made here; a model that unfreeze saved there is replaced.

        Raises:
            SettingsError: something else is there.
            StorageError: it could not be written.
        """
        path = Path(folder)
        if path.exists() and not (path / ABOUT).is_file() and (not path.is_dir() or any(path.iterdir())):
            raise SettingsError(f"{folder} exists and is no model that unfreeze saved; choose another folder")
        publish_folder(path, lambda into: _copy(self.folder, into))


def load_model(folder: str | Path, *, threads: int | None = None, precision: str = "auto") -> FineTuned:
    """Load a model that unfreeze saved.

    Args:
        folder: its folder, such as ``model`` in a comparison's output.
        threads: threads of one operation.
        precision: "auto", "fp32" or "bf16".

    Raises:
        EncoderError: the folder holds no such model.
    """
    path = Path(folder)
    if not (path / ABOUT).is_file():
        inside = path / "model" / ABOUT
        hint = f"; did you mean {path / 'model'}?" if inside.is_file() else ""
        raise EncoderError(f"{folder}: not a model that unfreeze saved (it has no {ABOUT}){hint}")
    runtime, about = prepare_process(threads, precision), _about(path)
    import unfreeze.encoders.bottlenecks
    import unfreeze.encoders.pooled  # noqa: F401  # both register what plain transformers does not know

    task = task_named(about["task"])(labels=tuple(about["labels"]))  # type: ignore[call-arg]
    usual = {"trust_remote_code": False, "local_files_only": True}
    try:
        with quiet():
            loader = getattr(transformers, CLASSES[task.kind])
            model = loader.from_pretrained(path, dtype=torch.float32, use_safetensors=True, **usual)
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, **usual)
    except (OSError, ValueError, RuntimeError) as error:
        raise EncoderError(f"{folder}: the model does not load: {str(error).splitlines()[0]}") from error
    config = model.config
    if tuple(config.id2label[i] for i in range(len(config.id2label))) != task.labels:
        raise EncoderError(
            f"{folder}: {ABOUT} and config.json name other labels, or in another order; save the model again"
        )
    encoder = Encoder(about["encoder"], path, config.model_type, config, tokenizer, about["window"], "")
    return FineTuned(path, task, model.to(runtime.device).eval(), encoder, runtime)


def _about(folder: Path) -> dict[str, Any]:
    """What unfreeze wrote about a model.

    Raises:
        EncoderError: it is not what was written.
    """
    about = read_json(folder / ABOUT)
    if not isinstance(about, dict) or not {"task", "labels", "window", "encoder"} <= about.keys():
        raise EncoderError(f"{folder / ABOUT}: damaged; it should tell task, labels, window and encoder")
    return about


def _example(text: str | Sequence[str], *, words: bool) -> Example:
    if not isinstance(text, str):
        joined, offsets, place = " ".join(text), [], 0
        for word in text:
            offsets.append((place, place + len(word)))
            place += len(word) + 1
        return Example(joined, None, tuple(text), tuple(offsets))
    return Example(text, None, *split_words(text)) if words else Example(text, None)


def _copy(source: Path, into: Path) -> None:
    shutil.copytree(source, into, ignore=shutil.ignore_patterns(MANIFEST), dirs_exist_ok=True)
