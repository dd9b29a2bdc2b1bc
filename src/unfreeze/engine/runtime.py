"""How this process computes: device, number of threads, precision. Decided once, stored with every trial.

The number of threads changes the last bits of a result (pytorch/pytorch#88718), so a resumed trial uses the number it
began with.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from unfreeze.engine.machine import reuse_freed_memory, usable_cores
from unfreeze.errors import SettingsError

Precision = Literal["fp32", "bf16-matmul", "bf16-autocast"]
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True, slots=True)
class Runtime:
    """How this process computes.

    Attributes:
        device: "cpu" or "cuda".
        threads: number of threads of one operation.
        precision: "fp32"; "bf16-matmul" (tensors stay float32, matrix products round their inputs to bfloat16: 3.5 to 4
            times faster with AMX tiles); "bf16-autocast" (1.5 to 1.8 times faster where the processor has bfloat16
            vectors but no tiles). Weights, optimizer and layer norms are float32 in all three.
    """

    device: str
    threads: int
    precision: Precision

    @contextmanager
    def computing(self, *, backward: bool = False) -> Iterator[None]:
        """While it holds, matrix products use this precision.

        Args:
            backward: for a backward pass, which computes in the types that the forward pass left behind.
        """
        import torch

        products: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # not in torch's stubs
        before = products.fp32_precision
        products.fp32_precision = "bf16" if self.precision == "bf16-matmul" else "ieee"
        casts = self.precision == "bf16-autocast" and not backward
        try:
            with torch.autocast(self.device, torch.bfloat16, enabled=casts):
                yield
        finally:
            products.fp32_precision = before


def prepare_process(threads: int | None = None, precision: str = "auto") -> Runtime:
    """Settle how this process computes. To be called before torch is imported, where that can be arranged.

    Args:
        threads: threads of one operation; None for the cores this process may use, or OMP_NUM_THREADS.
        precision: "auto" (bfloat16 where the processor supports it), "fp32" or "bf16".

    Raises:
        SettingsError: a precision that does not exist, or fewer than one thread.
    """
    if precision not in PRECISIONS:
        raise SettingsError(f"--precision is one of {', '.join(PRECISIONS)}; got {precision!r}")
    if threads is not None and threads < 1:
        raise SettingsError(f"--threads must be at least 1; got {threads}")
    if "torch" not in sys.modules:
        # Threads that spin while they wait cost up to 60 times on small operations when cores are shared.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    number = threads or _threads_asked_for() or usable_cores()
    torch.set_num_threads(number)
    reuse_freed_memory()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Runtime(device, number, _chosen(precision, device))


def _threads_asked_for() -> int:
    """What OMP_NUM_THREADS says, 0 where it says nothing usable; it may be a list, one number a nesting level."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def _chosen(precision: str, device: str) -> Precision:
    """The fastest bfloat16 that the processor has, unless float32 is asked for."""
    import torch

    if precision == "fp32":
        return "fp32"
    if device == "cuda":
        return "bf16-autocast" if precision == "bf16" or torch.cuda.is_bf16_supported() else "fp32"
    if torch.cpu._is_amx_tile_supported():
        return "bf16-matmul"
    if precision == "bf16" or torch.cpu._is_avx512_bf16_supported():
        return "bf16-autocast"
    return "fp32"
