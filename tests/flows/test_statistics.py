"""Statistics of a checkpoint: what is counted, what is kept and found again, and what a killed run left."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from knedit.catalog.store import Catalog
from knedit.checkpoints.moments import read_moments, write_moments
from knedit.editing.statistics import Statistics
from knedit.errors import EditError, FactsError
from knedit.flows import statistics
from knedit.flows.checkpoint import add_checkpoint, load_checkpoint
from knedit.flows.sources import Source, choose_source
from knedit.flows.statistics import find_statistics, folder_of, kept_editions, load_statistics, take_statistics
from knedit.flows.tally import Standing
from knedit.models.hooks import watched_inputs
from knedit.models.model import Model
from knedit.starter.held_out import held_out_text
from knedit.starter.prose import prose
from tests.flows.making import open_catalog, save_model

SHA = "ab" * 32


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KNEDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with open_catalog(tmp_path) as opened:
        yield opened


@pytest.fixture
def model(catalog: Catalog, tmp_path: Path) -> Model:
    return load_checkpoint(add_checkpoint(catalog, save_model("llama", tmp_path / "base")), device="cpu")


def source_of(catalog: Catalog, folder: Path, tokens: int = 60) -> Source:
    path = folder / "text.txt"
    path.write_text("\n".join("the capital of France is Paris . people live in Italy" for _ in range(9)))
    return choose_source(catalog, text=path, tokens=tokens)


def equal(one: Statistics, other: Statistics) -> bool:
    pairs = [(getattr(one, kind)[layer], getattr(other, kind)[layer]) for kind in statistics.KINDS for layer in (0, 2)]
    return all(torch.equal(a.total, b.total) and a.count == b.count for a, b in pairs)


def test_text_is_counted_up_to_the_limit_and_without_first_tokens(
    catalog: Catalog, model: Model, tmp_path: Path
) -> None:
    source = Source("own", ("the capital of France is Paris", "people live in Italy"), (), tokens=8)
    take_statistics(model, SHA, [1], source)
    with torch.no_grad():
        rows = []
        for text in ("the capital of France is Paris", "people live"):
            tokens = model.tokenizer(text)["input_ids"]
            with watched_inputs([model.downs[1]]) as seen:
                model.read(torch.tensor([tokens]))
            rows.append(seen[0][0][0, 1:].double())
    keys = torch.cat(rows)
    found = load_statistics(SHA, [1])
    assert (found.text[1].count, found.subjects[1].count) == (6, 0)
    assert torch.allclose(found.text[1].total, keys.T @ keys, atol=1e-6)


def test_what_is_kept_is_found_again_and_only_what_is_missing_is_counted(
    catalog: Catalog, model: Model, tmp_path: Path
) -> None:
    asked = []

    def source() -> Source:
        asked.append(True)
        return source_of(catalog, tmp_path)

    first = find_statistics(model, SHA, [0, 2], source, progress=lambda _: None)
    assert {path.name for path in folder_of(SHA).iterdir()} == {"layer-0000.safetensors", "layer-0002.safetensors"}
    assert equal(find_statistics(model, SHA, [0, 2], source, progress=lambda _: None), first)
    assert len(asked) == 1
    find_statistics(model, SHA, [0, 1, 2], source, progress=lambda _: None)
    assert len(asked) == 2
    assert set(kept_editions(SHA, [0, 1, 2, 3])) == {0, 1, 2}
    assert equal(load_statistics(SHA, [0, 2]), first)


def test_statistics_of_the_text_of_another_version_of_knedit_are_counted_anew(
    catalog: Catalog, model: Model, tmp_path: Path
) -> None:
    own = replace(choose_source(catalog), sampled=2)
    take_statistics(model, SHA, [0], replace(own, tokens=50))
    take_statistics(model, SHA, [1], replace(own, tokens=50, own_text="an older one"))
    take_statistics(model, SHA, [2], source_of(catalog, tmp_path))
    assert set(kept_editions(SHA, [0, 1, 2])) == {0, 2}
    about, tables = read_moments(folder_of(SHA) / "layer-0000.safetensors") or ({}, {})
    untold = {key: value for key, value in about.items() if key != "own_text"}  # as versions wrote that did not tell
    write_moments(folder_of(SHA) / "layer-0000.safetensors", tables, untold)
    assert set(kept_editions(SHA, [0, 1, 2])) == {2}
    find_statistics(model, SHA, [0, 1, 2], lambda: replace(own, tokens=50), progress=lambda _: None)
    assert set(kept_editions(SHA, [0, 1, 2])) == {0, 1, 2}


def test_a_killed_run_goes_on_where_it_last_kept_its_count(
    catalog: Catalog, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(catalog, tmp_path)
    monkeypatch.setattr(statistics, "_AT_ONCE", 20)
    monkeypatch.setattr(statistics, "_WINDOWS", 2)
    whole: list[Standing] = []
    take_statistics(model, SHA, [0, 2], source, progress=whole.append)
    expected = load_statistics(SHA, [0, 2])
    (folder_of(SHA) / "layer-0000.safetensors").unlink()
    (folder_of(SHA) / "layer-0002.safetensors").unlink()

    def kill(standing: Standing) -> None:
        if standing.facts_done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_statistics(model, SHA, [0, 2], source, progress=kill, keep_every=0)
    assert [path.name for path in folder_of(SHA).iterdir()] == ["partial.safetensors"]
    told: list[Standing] = []
    take_statistics(model, SHA, [0, 2], source, progress=told.append)
    assert [one.facts_done for one in told] == list(range(5, whole[-1].facts + 1))
    assert equal(load_statistics(SHA, [0, 2]), expected)
    assert not (folder_of(SHA) / "partial.safetensors").exists()


def test_what_another_source_left_is_not_gone_on_with(catalog: Catalog, model: Model, tmp_path: Path) -> None:
    def kill(standing: Standing) -> None:
        if standing.facts_done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_statistics(model, SHA, [0], source_of(catalog, tmp_path), progress=kill, keep_every=0)
    told: list[Standing] = []
    take_statistics(model, SHA, [0], source_of(catalog, tmp_path, tokens=50), progress=told.append)
    assert told[0].facts_done == 0


def test_the_default_source_is_knedits_text_and_both_catalogs_subjects(catalog: Catalog) -> None:
    source = choose_source(catalog)
    subjects = {subject for _, subject in source.asked}
    assert {"France", "Oslo"} < subjects
    assert len(subjects) > 100
    assert set(prose()) < set(source.texts)
    assert not any(paragraph and paragraph in held_out_text() for paragraph in source.texts)
    assert choose_source(catalog).edition == source.edition
    assert choose_source(catalog, tokens=7).edition != source.edition


def test_a_source_that_holds_nothing_is_refused(catalog: Catalog, model: Model, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(FactsError, match="the text is empty"):
        choose_source(catalog, text=tmp_path / "empty.txt")
    with pytest.raises(FactsError, match="the text cannot be read"):
        choose_source(catalog, text=tmp_path / "latin.txt")
    with pytest.raises(FactsError, match="no facts of the data set"):
        choose_source(catalog, datasets=["none"])
    with pytest.raises(EditError, match="there is nothing to count"):
        take_statistics(model, SHA, [0], Source("nothing", (), ()))
    with pytest.raises(EditError, match="the model has no layer 7"):
        take_statistics(model, SHA, [7], choose_source(catalog))
    with pytest.raises(EditError, match="the statistics hold no layer 3"):
        load_statistics(SHA, [3])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["bert", "t5", "mixtral"])
def test_other_kinds_of_models_are_counted_too(name: str, catalog: Catalog, tmp_path: Path) -> None:
    one = load_checkpoint(add_checkpoint(catalog, save_model(name, tmp_path / name)), device="cpu")
    take_statistics(one, SHA, [1], source_of(catalog, tmp_path))
    found = load_statistics(SHA, [1])
    assert found.subjects[1].count > 0
    assert (found.text[1].count > 0) is (name != "t5")
