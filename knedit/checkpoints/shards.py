"""The weights that a checkpoint's folder loads: one `model.safetensors`, or shards under an index.

Knows nothing of architectures, and hands nothing to a network. What transformers would load is found by its rules;
where two sets of weights lie in one folder, so that two programs might load different ones, both are refused.
"""

from collections.abc import Sequence
from pathlib import Path

from knedit.checkpoints.folder import PICKLES, matches, reach, reading
from knedit.checkpoints.header import TensorPlace, read_header
from knedit.checkpoints.slices import Matrix, read_bits
from knedit.checkpoints.strict_json import read_json
from knedit.dtypes import PLAIN_FLOATS, Floats, widen
from knedit.errors import CheckpointError

__all__ = ["INDEX", "SINGLE", "TensorPlace", "find_matrix", "read_places", "read_slices", "weight_files", "weight_set"]

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def weight_files(folder: Path) -> list[str]:
    """Return the names of the safetensors files that loading `folder` reads, sorted. Raises CheckpointError."""
    if not folder.is_dir():
        raise CheckpointError("There is no such folder", str(folder))
    _refuse_other_name(folder)
    with reading(folder):
        single, index = ((folder / name).exists() for name in (SINGLE, INDEX))
    files = sorted(set(_weight_map(folder).values())) if index else [SINGLE]
    if single and files != [SINGLE]:
        cure = f"Remove the one you do not mean; transformers loads {SINGLE}."
        raise CheckpointError(f"The folder has two sets of weights, {SINGLE} and shards", str(folder), cure)
    if not single and not index:
        _refuse_without_weights(folder)
    return files


def weight_set(folder: Path) -> list[str]:
    """Return `weight_files(folder)` and, where there is one, the index."""
    return weight_files(folder) + ([INDEX] if (folder / INDEX).exists() else [])


def read_places(folder: Path) -> dict[str, TensorPlace]:
    """Return where each tensor of the checkpoint in `folder` lies, by name, in the order of files and bytes.

    Raises CheckpointError for missing, pickled, ambiguous or malformed weights, and for an index that disagrees
    with the shards' headers.
    """
    places: dict[str, TensorPlace] = {}
    for file in weight_files(folder):
        for place in read_header(reach(folder, file), file):
            if place.name in places:
                raise CheckpointError(f"Tensor {place.name!r} is in two shards", str(folder / file))
            places[place.name] = place
    if (folder / INDEX).exists():
        _check_index(folder, places)
    return places


def read_slices(folder: Path, place: TensorPlace, axis: int, indices: Sequence[int]) -> Floats:
    """Return the slices `indices` along `axis` of the matrix at `place`, widened exactly: (n, D).

    Along axis 1 a slice is a column (a value vector of a Linear's weight [D, F]), along axis 0 a row (of a Conv1D's
    weight [F, D]). float64 for F64, else float32; in the order of `indices`. Raises CheckpointError.
    """
    matrix = find_matrix(folder, place, axis, indices)
    path = reach(folder, place.file)
    with reading(path):
        return widen(read_bits(path, matrix, axis, indices), place.dtype)


def find_matrix(
    folder: Path,
    place: TensorPlace,
    axis: int,
    indices: Sequence[int],
    *,
    member: int | None = None,
    span: tuple[int, int] | None = None,
) -> Matrix:
    """Return the matrix of plain floats at `place`, which has the slices `indices` along `axis`.

    `member` chooses a matrix of a stack [E, R, C]; with `span` the slices begin and end there along the other axis,
    as where several weights are fused in one. Raises CheckpointError where there is no such thing.
    """
    where = f"{place.name} in {folder}"
    if place.dtype not in PLAIN_FLOATS:
        cure = "Take the checkpoint it was quantised from."
        raise CheckpointError(f"The tensor is stored as {place.dtype}, not as plain floats", where, cure)
    if len(place.shape) != (2 if member is None else 3) or axis not in (0, 1):
        raise CheckpointError(f"A tensor of shape {place.shape} has no rows or columns along axis {axis}", where)
    if member is not None and not 0 <= member < place.shape[0]:
        raise CheckpointError(f"There is no matrix {member} in the stack of shape {place.shape}", where)
    shape = place.shape[-2:]
    wrong = [index for index in indices if not 0 <= index < shape[axis]]
    if wrong:
        raise CheckpointError(f"There is no slice {wrong[0]} along axis {axis} of shape {shape}", where)
    return _cut(place, axis, member or 0, span or (0, shape[1 - axis]), where)


def _cut(place: TensorPlace, axis: int, member: int, span: tuple[int, int], where: str) -> Matrix:
    rows, columns = place.shape[-2:]
    first, last = span
    if not 0 <= first < last <= (rows if axis == 1 else columns):
        raise CheckpointError(f"The slices of shape {place.shape} do not reach from {first} to {last}", where)
    whole = Matrix(place.begin, rows, columns, columns, place.dtype)
    skipped = member * rows * columns + first * (columns if axis == 1 else 1)
    begin = place.begin + skipped * whole.size
    if axis == 1:
        return Matrix(begin, last - first, columns, columns, place.dtype)
    return Matrix(begin, rows, last - first, columns, place.dtype)


def _weight_map(folder: Path) -> dict[str, str]:
    path = folder / INDEX
    table = read_json(reach(folder, INDEX)).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise CheckpointError("The index has no weight_map", str(path), "Fetch the checkpoint again.")
    for file in table.values():
        plain = isinstance(file, str) and file.isprintable() and not set(file) & set("/\\:")
        if not plain or file.startswith(".") or not file.endswith(".safetensors"):
            raise CheckpointError(f"The index names {file!r}, which is no shard of this folder", str(path))
    return table


def _check_index(folder: Path, places: dict[str, TensorPlace]) -> None:
    table = _weight_map(folder)
    found = {name: place.file for name, place in places.items()}
    if table != found:
        name = min(name for name in table.keys() | found.keys() if table.get(name) != found.get(name))
        what = f"Tensor {name!r} is in {table.get(name)} by the index, in {found.get(name)} by the shards"
        raise CheckpointError(what, str(folder / INDEX), "Fetch the checkpoint again.")


def _refuse_other_name(folder: Path) -> None:
    config = read_json(reach(folder, "config.json"), strict=False) if (folder / "config.json").exists() else {}
    named = config.get("transformers_weights")
    if named not in (None, SINGLE, INDEX):
        what = f"config.json loads the weights from {named!r} (transformers_weights)"
        raise CheckpointError(what, str(folder), f"Save the model with its weights in {SINGLE}.")


def _refuse_without_weights(folder: Path) -> None:
    with reading(folder):
        names = sorted(path.name for path in folder.iterdir())
    pickles = [name for name in names if matches(name.lower(), PICKLES)]
    ggufs = [name for name in names if name.lower().endswith(".gguf")]
    if ggufs:
        what = f"The folder has only GGUF weights, {ggufs[0]}, which cannot be edited where they lie"
        raise CheckpointError(what, str(folder), "Edit the checkpoint it was converted from, then convert the result.")
    if pickles:
        what = f"The folder has only pickle weights, {', '.join(pickles[:3])}, which run code when loaded"
        raise CheckpointError(what, str(folder), "Convert them to safetensors with a tool you trust.")
    if "adapter_model.safetensors" in names:
        raise CheckpointError("The folder holds an adapter, no model", str(folder), "Merge it into its base first.")
    raise CheckpointError("The folder has no weights", str(folder), f"It needs {SINGLE}, or {INDEX} with its shards.")
