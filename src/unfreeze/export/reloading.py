"""Load a saved model as a stranger would, and write its logits on a probe: the other process of ``check_reload``.

Usage: python -m unfreeze.export.reloading MODEL PROBE ANSWER {sequence,token} THREADS
"""

import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Load, compute in float32, write the logits.

    Args:
        arguments: the model's folder, the probe's file, the answer's file, the head's kind, the number of threads.
    """
    folder, probe, answer, kind, threads = arguments
    import torch
    import transformers
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(int(threads))
    settings = (Path(folder) / "config.json").read_text(encoding="utf-8")
    if '"unfreeze-encoder"' in settings:
        import unfreeze.encoders.pooled  # registers our own heads; plain transformers refuses them
    if '"unfreeze-adapted"' in settings:
        import unfreeze.encoders.bottlenecks  # noqa: F401  # likewise
    name = {"sequence": "AutoModelForSequenceClassification", "token": "AutoModelForTokenClassification"}[kind]
    model = getattr(transformers, name).from_pretrained(folder, trust_remote_code=False, use_safetensors=True)
    with torch.inference_mode():
        save_file({"logits": model.eval()(**load_file(probe)).logits}, answer)


if __name__ == "__main__":
    main(sys.argv[1:])
