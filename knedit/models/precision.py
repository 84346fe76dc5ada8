"""The precisions a model computes in: the dtype of its weights, and whether float32 products may be cut to TF32.

Knows no networks; numbers are rounded by `knedit.dtypes`. TF32 keeps 10 bits of a factor's mantissa and is a mode of
NVIDIA's matrix units, not a dtype.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from knedit.dtypes import cast

PRECISIONS: Mapping[str, torch.dtype | None] = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "auto": None,
}
STORED = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}


def rounded_once(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `values` as `dtype` with the bits that a file of it gets: rounded once, where torch goes by float32.

    Raises CheckpointError when a value is not finite before or after; values that are of `dtype` stay as they are.
    """
    if values.dtype == dtype:
        return values
    plain = values.detach().to("cpu", torch.float64 if values.dtype == torch.float64 else torch.float32)
    return torch.from_numpy(cast(plain.numpy(), STORED[dtype])).to(values.device, dtype)


@contextmanager
def tf32_products(wanted: bool) -> Iterator[None]:
    """Let CUDA multiply float32 matrices in TF32 while the body runs, where `wanted`; forbid it where not."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = wanted
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
