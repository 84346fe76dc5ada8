from pathlib import Path

import pytest

from knedit.catalog.formats.registry import FORMATS, NEURON_FORMATS, detect, find_format
from knedit.errors import FactsError
from tests.catalog.formats import making


@pytest.mark.parametrize(("name", "make"), making.EVERY, ids=[make.__name__ for _, make in making.EVERY])
def test_every_format_is_known_by_its_shape(tmp_path: Path, name: str, make: making.Make) -> None:
    assert detect(make(tmp_path), FORMATS if name in FORMATS else NEURON_FORMATS) == name


def test_every_format_has_a_sample() -> None:
    assert {name for name, _ in making.EVERY} == {*FORMATS, *NEURON_FORMATS}


def test_one_file_of_a_folder_is_known_too(tmp_path: Path) -> None:
    files = {
        making.pararel(tmp_path) / "trex_lms_vocab/P1.jsonl": "pararel",
        making.lama(tmp_path) / "TREx/P1.jsonl": "lama",
        making.kn_paper(tmp_path) / "query_pairs.json": "kn-paper",
        making.lre(tmp_path) / "factual/home.json": "lre",
        making.saved_dataset(tmp_path) / "train": "datasets",
    }
    assert {path: detect(path) for path in files} == files


def test_a_broken_first_record_does_not_hide_the_format(tmp_path: Path) -> None:
    path = making.counterfact(tmp_path)
    path.write_text("{\n\n" + path.read_text())
    assert detect(path) == "counterfact"


def test_a_shape_that_nobody_knows_is_told_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Hill")
    making.write_json(tmp_path / "some.json", [1, 2])
    making.write_json(tmp_path / "other.json", "text")
    for path in (tmp_path / "notes.txt", tmp_path / "some.json", tmp_path / "other.json"):
        with pytest.raises(FactsError, match=r"looks like no known format .*--format: knedit-jsonl, csv, parquet,"):
            detect(path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FactsError, match="looks like no known format"):
        detect(empty)


def test_a_shape_that_fits_twice_is_told_with_both(tmp_path: Path) -> None:
    making.pararel(tmp_path)
    making.lama(tmp_path)
    (tmp_path / "lama/trex_lms_vocab").mkdir()
    (tmp_path / "lama/pattern_data/graphs_json").mkdir(parents=True)
    with pytest.raises(FactsError, match=r"looks like pararel, lama .*--format: pararel, lama\."):
        detect(tmp_path / "lama")


def test_a_path_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FactsError, match="The file cannot be read: No such file"):
        detect(tmp_path / "nowhere.jsonl")


def test_a_misspelt_format_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(FactsError, match=r'There is no format "pararell".*Did you mean "pararel"'):
        find_format("pararell")
