"""Rivals that the peers' scripts do not hold: what a competent user would write. One line of JSON each.

`encode-once`: frozen encoder, mean of the tokens, scikit-learn's logistic regression. `pipeline`: transformers'
`pipeline`. `sorted`: batches of similar length in float32. `peer`: the peer's Trainer script with its steps timed, and
with layers unfrozen from the top if asked. `gemm`: how fast a GPU multiplies.
"""

import argparse
import csv
import json
import random
import runpy
import sys
import time
from pathlib import Path
from typing import Any

from clock import StepClock, cpu_seconds

BATCH = 32


def read(path: Path) -> list[tuple[str, str]]:
    """Texts and labels of a CSV file."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [(row["text"], row["label"]) for row in csv.DictReader(stream)]


def sorted_batches(tokenizer: Any, texts: list[str]) -> Any:
    """Batches of similar length, padded: the texts' numbers, and the model's inputs."""
    encoded = tokenizer(texts, truncation=True, max_length=256)["input_ids"]
    order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
    for begin in range(0, len(order), BATCH):
        numbers = order[begin : begin + BATCH]
        yield numbers, tokenizer.pad({"input_ids": [encoded[i] for i in numbers]}, return_tensors="pt")


def encode_once(a: argparse.Namespace) -> dict[str, Any]:
    """Encode all rows once, fit a classifier for each strength of regularisation, choose on a fifth of the rows."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer, model = AutoTokenizer.from_pretrained(a.model), AutoModel.from_pretrained(a.model).eval()
    train, test = read(a.train), read(a.test)
    random.Random(0).shuffle(train)
    cpu, wall = time.process_time(), time.perf_counter()
    texts = [text for text, _ in (*train, *test)]
    means = torch.empty(len(texts), model.config.hidden_size)
    with torch.inference_mode():
        for numbers, inputs in sorted_batches(tokenizer, texts):
            states, mask = model(**inputs).last_hidden_state, inputs["attention_mask"].unsqueeze(-1)
            means[numbers] = (states * mask).sum(1) / mask.sum(1)
    x, y = means.numpy(), [label for _, label in (*train, *test)]
    fitted, held = len(train) * 4 // 5, len(train)
    tried = []
    for power in range(-a.settings // 2, a.settings - a.settings // 2):
        classifier = LogisticRegression(C=10.0**power, max_iter=1000).fit(x[:fitted], y[:fitted])
        tried.append((classifier.score(x[fitted:held], y[fitted:held]), classifier.score(x[held:], y[held:])))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu_s": cpu, "wall_s": wall, "test_score": {"accuracy": max(tried)[1]}, "settings_tried": len(tried)}


def pipeline(a: argparse.Namespace) -> dict[str, Any]:
    """Predict with transformers' pipeline, batches of 32 in the order of the file."""
    import torch
    import transformers

    torch.set_num_threads(1)
    texts = [text for text, _ in read(a.file)]
    classify = transformers.pipeline("text-classification", model=str(a.model), batch_size=BATCH, device=-1)
    classify(texts[:BATCH])
    cpu, wall = time.process_time(), time.perf_counter()
    labels = [said["label"] for said in classify(texts)]
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, "labels": labels}


def by_length(a: argparse.Namespace) -> dict[str, Any]:
    """Predict in float32, batches of 32 of similar length."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(1)
    texts = [text for text, _ in read(a.file)]
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    model = AutoModelForSequenceClassification.from_pretrained(a.model).eval()

    def predicted(some: list[str]) -> list[str]:
        labels = [""] * len(some)
        with torch.inference_mode():
            for numbers, inputs in sorted_batches(tokenizer, some):
                for number, best in zip(numbers, model(**inputs).logits.argmax(-1).tolist(), strict=True):
                    labels[number] = model.config.id2label[best]
        return labels

    predicted(texts[:BATCH])
    cpu, wall = time.process_time(), time.perf_counter()
    labels = predicted(texts)
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, "labels": labels}


def peer(a: argparse.Namespace) -> None:
    """Run the peer's script as it is, its Trainer given a callback that times the steps; adds a second line of JSON.

    ``worked_cpu_s`` is training and all that follows it: the scoring of dev and test rows.

    With ``--gradual`` another callback opens one part after the other until half of training: the head and the pooler
    first, then the layers from the top, then the embeddings, as our ``gradual`` does. The optimizer is made while
    everything is trainable, so that its groups hold what opens later.
    """
    from transformers.trainer import Trainer

    clock = StepClock("cuda" if "cuda" in a.options else "cpu")
    callbacks = [_timing(clock), *([_unfreezing()] if a.gradual else [])]
    usual = Trainer.__init__

    def made(self: Trainer, *args: Any, **settings: Any) -> None:
        usual(self, *args, **settings)
        for callback in callbacks:
            self.add_callback(callback)

    Trainer.__init__ = made  # type: ignore[method-assign]  # the script itself is left as it is
    sys.argv = [str(a.script), *a.options]
    runpy.run_path(str(a.script), run_name="__main__")
    print(json.dumps(clock.told() | {"worked_cpu_s": cpu_seconds() - clock.begun}))


def _timing(clock: StepClock) -> Any:
    import transformers

    class Timing(transformers.TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.stepped(last=state.global_step == state.max_steps)

    return Timing()


def _unfreezing() -> Any:
    import transformers

    class Unfreezing(transformers.TrainerCallback):
        opened = -1

        def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            body = model.base_model
            parts = [[body.pooler], *([layer] for layer in reversed(body.encoder.layer)), [body.embeddings]]
            number = min(int(2 * (len(parts) - 1) * state.global_step / state.max_steps), len(parts) - 1)
            if number != self.opened:
                self.opened = number
                body.requires_grad_(False)
                for module in (module for part in parts[: number + 1] for module in part):
                    module.requires_grad_(True)

    return Unfreezing()


def gemm(a: argparse.Namespace) -> dict[str, Any]:
    """Floating-point operations a second of one large bfloat16 product on the GPU."""
    import torch

    size, times = 8192, 50
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        left @ right
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(times):
        left @ right
    torch.cuda.synchronize()
    return {"flop_a_second": 2 * size**3 * times / (time.perf_counter() - begun)}


def main() -> None:
    """Run one rival."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    once = verbs.add_parser("encode-once")
    once.add_argument("--train", type=Path, required=True)
    once.add_argument("--test", type=Path, required=True)
    once.add_argument("--settings", type=int, default=9)
    for verb in (once, verbs.add_parser("pipeline"), verbs.add_parser("sorted")):
        verb.add_argument("--model", type=Path, required=True)
        verb.add_argument("--file", type=Path)
    trainer = verbs.add_parser("peer")
    trainer.add_argument("--gradual", action="store_true")
    trainer.add_argument("script", type=Path)
    trainer.add_argument("options", nargs=argparse.REMAINDER)
    verbs.add_parser("gemm")
    a = parser.parse_args()
    if a.verb == "peer":
        peer(a)
        return
    found = {"encode-once": encode_once, "pipeline": pipeline, "sorted": by_length, "gemm": gemm}[a.verb](a)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
