"""The precisions a model computes in: the dtype of its weights, and whether float32 products may be cut to TF32.

Knows no networks. TF32 keeps 10 bits of a factor's mantissa and is a mode of NVIDIA's matrix units, not a dtype.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

PRECISIONS: Mapping[str, torch.dtype | None] = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "auto": None,
}


@contextmanager
def tf32_products(wanted: bool) -> Iterator[None]:
    """Let CUDA multiply float32 matrices in TF32 while the body runs, where `wanted`; forbid it where not."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = wanted
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
