"""Noise lent to a network, so that an attribution can be averaged over many slightly different networks.

`noisegrad` multiplies the weights (Bykov et al., AAAI 2022), `smoothgrad` adds to the input embeddings (Smilkov et al.,
2017), `fusiongrad` does both (Bykov et al.). Transformers bear far less than the σ = 0.2 of those papers' convolutional
networks, and noise is kept off their norms, biases, embeddings and head. Knows no prompts and no attribution.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from knedit.models.model import Model

_SAMPLED_TOKENS = 4096


@contextmanager
def noisegrad(model: Model, sigma: float, seed: int) -> Iterator[None]:
    """Multiply every entry of the blocks' matrices by a draw from N(1, σ²) while the body runs.

    The original weights are set aside and put back as they are, also when the body raises: this needs room for a
    second copy of them. One seed gives the same noise on the same kind of device.
    """
    matrices = _matrices(model)
    originals = [matrix.data for matrix in matrices]
    try:
        for number, (matrix, original) in enumerate(zip(matrices, originals, strict=True)):
            matrix.data = _multiplied(original, sigma, derive_seed(seed, "matrix", number))
        yield
    finally:
        for matrix, original in zip(matrices, originals, strict=True):
            matrix.data = original


@contextmanager
def smoothgrad(model: Model, sigma: float, seed: int) -> Iterator[None]:
    """Add noise from N(0, (σ·s)²) to the input embeddings while the body runs, s their standard deviation.

    A token gets the same noise wherever it stands, in whatever batch: unlike Smilkov et al.'s pixels, equal tokens of
    one prompt are moved together.
    """
    embedding = model.net.get_input_embeddings()
    scale = sigma * _spread(embedding)
    drawn: dict[int, Tensor] = {}

    def noise_of(token: int, width: int) -> Tensor:
        if token not in drawn:
            generator = torch.Generator().manual_seed(derive_seed(seed, "token", token))
            drawn[token] = torch.randn(width, generator=generator)
        return drawn[token]

    def add(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        tokens, places = args[0].unique(return_inverse=True)
        noise = torch.stack([noise_of(token, output.shape[-1]) for token in tokens.tolist()])
        return (output.float() + scale * noise.to(output.device)[places]).to(output.dtype)

    handle = embedding.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def fusiongrad(model: Model, sigma: float, seed: int) -> Iterator[None]:
    """Lend the noise of `noisegrad` and of `smoothgrad`, both of strength σ, while the body runs."""
    with noisegrad(model, sigma, seed), smoothgrad(model, sigma, seed):
        yield


SMOOTHINGS: Mapping[str, Callable[[Model, float, int], AbstractContextManager[None]]] = {
    "noisegrad": noisegrad,
    "smoothgrad": smoothgrad,
    "fusiongrad": fusiongrad,
}


def sample_seeds(seed: int, samples: int) -> tuple[int, ...]:
    """Return the seed of each sample of a smoothed attribution."""
    return tuple(derive_seed(seed, "sample", number) for number in range(samples))


def derive_seed(seed: int, *path: str | int) -> int:
    """Return a 63-bit seed for one use of many: seeds of neighbouring numbers have nothing in common."""
    digest = hashlib.sha256("/".join(str(part) for part in (seed, *path)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _matrices(model: Model) -> list[nn.Parameter]:
    """Return the blocks' weights of two or more axes, each once, without embeddings (of positions) and biases."""
    found: dict[int, nn.Parameter] = {}
    for block in model.blocks:
        for module in block.modules():
            if isinstance(module, nn.Embedding):
                continue
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.ndim >= 2 and not name.endswith("bias"):
                    found.setdefault(id(parameter), parameter)
    return list(found.values())


def _multiplied(weight: Tensor, sigma: float, seed: int) -> Tensor:
    generator = torch.Generator(device=weight.device).manual_seed(seed)
    noise = torch.randn(weight.shape, generator=generator, device=weight.device, dtype=torch.float32)
    return noise.mul_(sigma).add_(1).mul_(weight).to(weight.dtype)


@torch.no_grad()
def _spread(embedding: nn.Module) -> float:
    """Return the standard deviation of a token embedding's entries, over 4096 tokens of its vocabulary at most."""
    count = len(embedding.get_parameter("weight"))
    tokens = torch.linspace(0, count - 1, min(count, _SAMPLED_TOKENS)).round().long()
    return float(embedding(tokens.to(embedding.get_parameter("weight").device)).float().std())
