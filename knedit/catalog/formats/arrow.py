"""Facts in Apache Arrow's formats: a Parquet file, and a folder that `datasets` of Hugging Face saved to disk.

The columns are those of `rows`. Needs pyarrow (the extra `export`); never needs `datasets`, and runs nothing of theirs.
"""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from knedit.catalog.formats.rows import Record, columns, records_of
from knedit.catalog.formats.shapes import Glimpse
from knedit.catalog.formats.streams import LONGEST, Fault, each, parse, reader, unrepeated
from knedit.catalog.formats.values import BrokenError, listing, mapping, text
from knedit.errors import FactsError

BATCH = 1000
LARGEST_GROUP = 2**29  # bytes of a row group once unpacked: what has to be in memory at a time

_CURE = "The file is damaged or of another format: fetch it again."


def fits_parquet(glimpse: Glimpse) -> bool:
    return glimpse.kind == "other" and glimpse.suffix in (".parquet", ".pq")


def fits_folder(glimpse: Glimpse) -> bool:
    return glimpse.has("dataset_dict.json") or (glimpse.has("state.json") and glimpse.has("dataset_info.json"))


@reader
def read_parquet(path: Path, fault: Fault) -> Iterator[Record]:
    """Yield each row's relation, fact, prompt and source."""
    with path.open("rb"):
        pass
    return unrepeated(_rows(path, _parquet_batches, fault))


@reader
def read_folder(path: Path, fault: Fault) -> Iterator[Record]:
    """Yield each row's relation, fact, prompt and source, of all splits of the data set."""
    for folder in _splits(path):
        for file in _named(folder, "state.json", "_data_files", "filename"):
            yield from unrepeated(_rows(file, _stream_batches, fault))


def arrow() -> Any:
    """Return pyarrow; raise FactsError, naming the extra, where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise FactsError(
            "Parquet and Arrow files need pyarrow", cure='Install it: pip install "knedit[export]"'
        ) from None
    return pyarrow


def _splits(path: Path) -> list[Path]:
    if not (path / "dataset_dict.json").is_file():
        return [path]
    return _named(path, "dataset_dict.json", "splits", None)


def _named(folder: Path, file: str, key: str, part: str | None) -> list[Path]:
    """Return the paths in `folder` that a JSON file of it lists; one that leads elsewhere raises FactsError."""
    where = folder / file
    with where.open("rb") as opened:
        content = opened.read(LONGEST + 1)
    try:
        if len(content) > LONGEST:
            raise BrokenError(f"The file is larger than {LONGEST:,} bytes", _CURE)
        found = listing(mapping(parse(content), "The file", (key,))[key], f'Its "{key}"')
        names = [text(mapping(one, "A file", (part,))[part] if part else one, "A name") for one in found]
        if outside := [name for name in names if PurePosixPath(name).name != name or name == ".."]:
            raise BrokenError(f'The name "{outside[0]}" leads out of the folder', _CURE)
    except BrokenError as broken:
        error = FactsError(broken.what, str(where), broken.cure)
    else:
        return [folder / name for name in names]
    raise error


def _rows(path: Path, batches: Callable[[Any, Path], Iterator[Any]], fault: Fault) -> Iterator[Record]:
    """Yield the rows' records; where the file breaks off, that is a fault."""
    library, number = arrow(), 0
    try:
        for batch in batches(library, path):
            names = columns(batch.schema.names)
            _only_texts(library, batch.schema)
            cells = [(f"{path}, row {number + at + 1}", (names, batch, at)) for at in range(batch.num_rows)]
            number += batch.num_rows
            yield from each(cells, _row, fault)
        return
    except BrokenError as broken:
        raise FactsError(broken.what, str(path), broken.cure) from None
    except (library.ArrowException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        broken_off = FactsError(f"The file cannot be read after row {number}: {_first_line(error)}", str(path), _CURE)
    fault(broken_off)


def _row(cell: tuple[list[str], Any, int]) -> list[Record]:
    names, batch, at = cell
    try:
        row = {name: batch.column(place)[at].as_py() for place, name in enumerate(names)}
    except ValueError:
        raise BrokenError("A text of the row is not UTF-8", _CURE) from None
    return records_of(row)


def _parquet_batches(library: Any, path: Path) -> Iterator[Any]:
    with library.parquet.ParquetFile(path) as file:
        for group in range(file.metadata.num_row_groups):
            if (size := file.metadata.row_group(group).total_byte_size) > LARGEST_GROUP:
                raise BrokenError(f"A row group of {size:,} bytes is too large", "Write it with smaller row groups.")
        yield from file.iter_batches(batch_size=BATCH)


def _stream_batches(library: Any, path: Path) -> Iterator[Any]:
    with library.OSFile(str(path)) as file, library.ipc.open_stream(file) as stream:
        for batch in stream:
            if batch.nbytes > LARGEST_GROUP:
                raise BrokenError(f"A batch of {batch.nbytes:,} bytes is too large", "Write it in smaller batches.")
            batch.validate(full=True)
            yield batch


def _only_texts(library: Any, schema: Any) -> None:
    types = library.types
    for field in schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        if not (types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind)):
            raise BrokenError(f'The column "{field.name}" is of type {kind}', "Write texts only.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
