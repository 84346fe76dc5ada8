"""Parquet and saved data sets that are damaged, of other types, or lead elsewhere."""

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from knedit.catalog.formats import arrow
from knedit.errors import FactsError
from knedit.records import Fact, Relation
from tests.catalog.formats import making

CAPITAL = Relation.make("capital")
LIMA, OSLO = (Fact.make(CAPITAL.id, *pair) for pair in (("Peru", "Lima"), ("Norway", "Oslo")))


def table(folder: Path, **columns: Any) -> Path:
    path = folder / "facts.parquet"
    pa.parquet.write_table(pa.table(columns), path, row_group_size=1)
    return path


def test_a_broken_row_is_told_and_the_next_is_read(tmp_path: Path) -> None:
    subjects = ["Peru", None, "Norway"]
    path = table(tmp_path, relation=["capital"] * 3, subject=subjects, object=["Lima", "Paris", "Oslo"])
    faults: list[FactsError] = []
    assert list(arrow.read_parquet(path, faults.append)) == [CAPITAL, LIMA, OSLO]
    assert [(fault.what, fault.where) for fault in faults] == [("The subject is null", f"{path}, row 2")]


def test_bytes_that_are_not_utf8_are_told_with_their_row(tmp_path: Path) -> None:
    subject = pa.array([b"Peru", b"\xff"]).cast(pa.binary()).view(pa.string())
    path = table(tmp_path, relation=["capital"] * 2, subject=subject, object=["Lima", "Paris"])
    faults: list[FactsError] = []
    assert list(arrow.read_parquet(path, faults.append)) == [CAPITAL, LIMA]
    assert [(fault.what, fault.where) for fault in faults] == [("A text of the row is not UTF-8", f"{path}, row 2")]


def test_columns_may_be_of_categories(tmp_path: Path) -> None:
    key = pa.array(["capital", "capital"]).dictionary_encode()
    path = table(tmp_path, relation=key, subject=["Peru", "Norway"], object=["Lima", "Oslo"])
    assert list(arrow.read_parquet(path)) == [CAPITAL, LIMA, OSLO]


def test_columns_of_another_type_or_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FactsError, match='The column "object" is of type int64'):
        list(arrow.read_parquet(table(tmp_path, relation=["a"], subject=["b"], object=[1])))
    with pytest.raises(FactsError, match='There is no column "sub" of facts'):
        list(arrow.read_parquet(table(tmp_path, relation=["a"], sub=["b"], object=["c"])))


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "facts.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(FactsError, match="The file cannot be read after row 0"):
        list(arrow.read_parquet(path))


def test_a_saved_data_set_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    path = making.saved_dataset(tmp_path)
    for name in ("../outside", "/etc/passwd", ".."):
        making.write_json(path / "dataset_dict.json", {"splits": [name]})
        with pytest.raises(FactsError, match="leads out of the folder"):
            list(arrow.read_folder(path))


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = making.parquet(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(FactsError, match=r'Parquet and Arrow files need pyarrow\..*pip install "knedit\[export\]"'):
        list(arrow.read_parquet(path))
