"""What an edit adds to a weight as two low matrices: exact where they may be, else the nearest there are."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from knedit.checkpoints.adapter import AdaptedModule, Added, adapter_config, factors_of, write_adapter
from knedit.errors import CheckpointError
from tests.checkpoints.making import listing, sha256


def added(indices: tuple[int, ...], *, depth: int = 5, rank: int | None = None, seed: int = 0) -> Added:
    """Return random vectors that are exact in float32, of this rank if one is given."""
    chance = np.random.default_rng(seed)
    vectors = chance.integers(-8, 9, (len(indices), depth)).astype(np.float64)
    if rank:
        vectors = chance.normal(size=(len(indices), rank)) @ chance.normal(size=(rank, depth))
    return Added(indices, vectors)


def whole(one: Added, width: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    matrix = np.zeros((one.vectors.shape[1], width))
    matrix[:, list(one.indices)] = one.vectors.T
    return matrix


def test_without_a_limit_the_product_is_exactly_what_is_added() -> None:
    module = AdaptedModule("h.0.mlp", 9, {0: added((1, 4, 8))})
    (found,) = factors_of([module])
    assert (found.rank, found.error, found.largest) == (3, 0, 0)
    assert {found.a.dtype, found.b.dtype} == {np.dtype(np.float32)}
    assert np.array_equal(found.b @ found.a, whole(module.added[0], 9))
    assert np.array_equal(factors_of([module], 7)[0].a, found.a)


def test_a_lower_rank_is_the_nearest_and_its_error_is_told() -> None:
    module = AdaptedModule("h.0.mlp", 9, {0: added((0, 1, 4, 8))})
    (found,), matrix = factors_of([module], 2), whole(module.added[0], 9)
    missed = found.b.astype(np.float64) @ found.a - matrix
    sizes = np.linalg.svd(matrix, compute_uv=False)
    assert (found.a.shape, found.b.shape, found.rank) == ((2, 9), (5, 2), 2)
    assert found.error == pytest.approx(np.sqrt((sizes[2:] ** 2).sum() / (sizes**2).sum()), rel=1e-5)
    assert found.error == pytest.approx(np.linalg.norm(missed) / np.linalg.norm(matrix), rel=1e-5)
    assert found.largest == pytest.approx(np.abs(missed).max(), rel=1e-5)
    assert found.error > 0.1


def test_what_has_a_low_rank_loses_nothing_at_it() -> None:
    (found,) = factors_of([AdaptedModule("h.0.mlp", 9, {0: added((0, 1, 4, 8), rank=2)})], 2)
    assert (found.rank, found.error < 1e-6) == (2, True)


def test_experts_share_a_rank_and_each_has_its_own_product() -> None:
    own = {0: added((1,), seed=1), 2: added((0, 3, 5), seed=2)}
    other = AdaptedModule("h.1.experts", 9, {1: added((2,))}, 3, "down_proj")
    found, second = factors_of([AdaptedModule("h.0.experts", 9, own, 3, "down_proj"), other])
    a, b = found.a.reshape(3, 3, 9), found.b.reshape(5, 3, 3)
    products = np.einsum("ore,eri->eoi", b, a)
    assert (found.rank, second.rank) == (3, 3)
    assert np.array_equal(products, np.stack([whole(own[0], 9), np.zeros((5, 9)), whole(own[2], 9)]))


def test_the_folder_holds_matrices_configuration_note_and_sums(tmp_path: Path) -> None:
    modules = [AdaptedModule("h.0.mlp", 9, {0: added((1, 4, 8))}), AdaptedModule("h.3.mlp", 9, {0: added((2,))})]
    factors = factors_of(modules)
    config = adapter_config(factors, base_model_name_or_path="tests/base", fan_in_fan_out=True)
    write_adapter(tmp_path / "lora", factors, config, "# A note\n")
    tensors = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    assert {name: table.shape for name, table in tensors.items()} == {
        "base_model.model.h.0.mlp.lora_A.weight": (3, 9),
        "base_model.model.h.0.mlp.lora_B.weight": (5, 3),
        "base_model.model.h.3.mlp.lora_A.weight": (1, 9),
        "base_model.model.h.3.mlp.lora_B.weight": (5, 1),
    }
    told = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert (told["r"], told["lora_alpha"], told["rank_pattern"], told["alpha_pattern"]) == (
        *(3, 3),
        *({"h.3.mlp": 1}, {"h.3.mlp": 1}),
    )
    assert (told["target_modules"], told["target_parameters"]) == (["h.0.mlp", "h.3.mlp"], None)
    names = sorted(set(listing(tmp_path / "lora")) - {"SHA256SUMS"})
    assert names == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    sums = "".join(f"{sha256(tmp_path / 'lora' / name)}  {name}\n" for name in names)
    assert (tmp_path / "lora" / "SHA256SUMS").read_text() == sums
    with pytest.raises(CheckpointError, match="The output folder exists"):
        write_adapter(tmp_path / "lora", factors, config, "# Another\n")
    assert [path.name for path in tmp_path.iterdir()] == ["lora"]
