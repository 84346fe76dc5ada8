from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.experiments import Experiment, ExperimentPart, ExperimentValue
from knedit.records import show_id
from tests.catalog.making import (
    CAPITAL,
    EDIT,
    EVENING,
    MODEL,
    MORNING,
    NOON,
    PARIS,
    REFINEMENT,
    YEN,
    fill_edit,
    fill_refinement,
)

CONFIG = {"facts": ["capital/France"], "seed": 3}
ID = Experiment.identify(MODEL.id, "suppress-amplify", CONFIG, refinement_id=REFINEMENT.id)
EXPERIMENT = Experiment(ID, MODEL.id, REFINEMENT.id, None, "suppress-amplify", CONFIG, "0.1.0", MORNING)
OF_PARIS = ExperimentPart(ID, "capital/France", CAPITAL.id, PARIS.id, "ok", None, 0.25, NOON)
OF_YEN = ExperimentPart(ID, "currency/Japan", None, YEN.id, "no neurons", "The refinement kept none", 0.0, NOON)
VALUES = [
    ExperimentValue(ID, "capital/France", "effect", "fact", "before", 0.5),
    ExperimentValue(ID, "capital/France", "effect", "fact", "change ratio", None, "nothing to divide by"),
    ExperimentValue(ID, "capital/France", "prompts", "a", "before", -0.125),
]


def fill_experiment(catalog: Catalog) -> None:
    fill_refinement(catalog)
    catalog.open_experiment(EXPERIMENT)
    catalog.put_experiment_part(OF_PARIS, VALUES)


def everything(catalog: Catalog) -> tuple[object, Sequence[ExperimentPart], Sequence[ExperimentValue]]:
    return catalog.experiments(), catalog.experiment_parts(ID), catalog.experiment_values(ID)


def test_an_experiment_comes_back_as_it_was_put_in_by_part_series_key_and_metric(catalog: Catalog) -> None:
    fill_refinement(catalog)
    assert catalog.open_experiment(EXPERIMENT) == EXPERIMENT
    assert catalog.put_experiment_part(OF_YEN)
    assert catalog.put_experiment_part(OF_PARIS, VALUES[::-1])
    assert everything(catalog) == ([EXPERIMENT], [OF_PARIS, OF_YEN], VALUES)
    assert catalog.experiment_values(ID, series="prompts") == VALUES[2:]
    assert (catalog.experiment_parts(3), catalog.experiment_values(3)) == ([], [])


def test_a_part_that_is_there_is_left_as_it_is_values_and_all(catalog: Catalog) -> None:
    fill_experiment(catalog)
    changed = [replace(VALUES[0], value=0.75), replace(VALUES[0], key="new")]
    assert not catalog.put_experiment_part(replace(OF_PARIS, seconds=9.0), changed)
    assert everything(catalog) == ([EXPERIMENT], [OF_PARIS], VALUES)
    assert catalog.put_experiment_part(replace(OF_PARIS, seconds=9.0), changed, replace=True)
    assert everything(catalog) == ([EXPERIMENT], [replace(OF_PARIS, seconds=9.0)], changed)


def test_an_experiment_is_begun_once_finished_and_can_begin_anew(catalog: Catalog) -> None:
    fill_experiment(catalog)
    catalog.finish_experiment(ID, EVENING)
    assert catalog.open_experiment(replace(EXPERIMENT, started_at=NOON)) == replace(EXPERIMENT, finished_at=EVENING)
    catalog.clear_experiment(ID)
    assert everything(catalog) == ([EXPERIMENT], [], [])
    with pytest.raises(CatalogError, match="There is no experiment 0000000000000003"):
        catalog.finish_experiment(3, NOON)


def test_experiments_are_told_by_checkpoint_and_name_the_newest_first(catalog: Catalog) -> None:
    fill_edit(catalog)
    later = replace(EXPERIMENT, id=5, name="consistency", edit_id=EDIT.id, refinement_id=None, started_at=NOON)
    for one in (EXPERIMENT, later):
        catalog.open_experiment(one)
    assert catalog.experiments(MODEL.id) == [later, EXPERIMENT]
    assert catalog.experiments(name="consistency") == [later]
    assert catalog.experiments(3) == []
    assert catalog.find_experiment(show_id(ID)[:6]) == EXPERIMENT
    with pytest.raises(CatalogError, match=r'There is no experiment "beef" in the catalog. Name one of '):
        catalog.find_experiment("beef")


def test_what_hangs_on_nothing_or_is_no_number_is_refused_whole(catalog: Catalog) -> None:
    fill_refinement(catalog)
    with pytest.raises(CatalogError, match=r"(?i)refuses the records|foreign key"):
        catalog.put_experiment_part(OF_PARIS)
    catalog.open_experiment(EXPERIMENT)
    for values, told in (
        ([replace(VALUES[0], value=float("nan"))], r"cannot keep nan as ExperimentValue\.value"),
        ([replace(VALUES[0], part="another")], '1 values are not of the part "capital/France"'),
        ([replace(VALUES[0], key="k" * 501)], "(?i)check"),
    ):
        with pytest.raises(CatalogError, match=told):
            catalog.put_experiment_part(OF_PARIS, values)
    assert everything(catalog) == ([EXPERIMENT], [], [])


def test_an_id_tells_checkpoint_name_configuration_refinement_and_edit_apart() -> None:
    ids = {
        ID,
        Experiment.identify(3, "suppress-amplify", CONFIG, refinement_id=REFINEMENT.id),
        Experiment.identify(MODEL.id, "update", CONFIG, refinement_id=REFINEMENT.id),
        Experiment.identify(MODEL.id, "suppress-amplify", {}, refinement_id=REFINEMENT.id),
        Experiment.identify(MODEL.id, "suppress-amplify", CONFIG),
        Experiment.identify(MODEL.id, "suppress-amplify", CONFIG, refinement_id=REFINEMENT.id, edit_id=EDIT.id),
    }
    assert len(ids) == 6


def test_a_catalog_with_unfinished_experiments_and_values_that_are_no_numbers_says_so(catalog: Catalog) -> None:
    from tests.catalog.test_checking import harm

    fill_experiment(catalog)
    catalog.finish_experiment(ID, EVENING)
    assert [one for one in catalog.check() if "experiment" in one.what] == []
    harm(
        catalog,
        "UPDATE experiment_values SET value = 1.79e308 WHERE metric = 'before' AND series = 'effect'",
        "UPDATE experiments SET finished_at = NULL",
        "DELETE FROM refinements",
    )
    found = {(one.check, one.what, one.where) for one in catalog.check() if "experiment" in one.what}
    where = f"experiment {ID:016x}, part capital/France, series effect, key fact, metric before"
    assert found == {
        ("ranges", "1 values of experiments are no numbers", where),
        ("unfinished", "1 experiments never finished", f"experiment {ID:016x}"),
        ("orphans", "1 of experiments refer to refinements that are not there", f"experiment {ID:016x}"),
    }


def test_two_halves_of_an_experiment_become_one_and_contradictions_are_told(catalog: Catalog, tmp_path: Path) -> None:
    with Catalog(str(tmp_path / "other.db")) as other:
        fill_experiment(catalog)
        fill_experiment(other)
        catalog.put_experiment_part(OF_YEN)
        other.finish_experiment(ID, EVENING)
        third = replace(OF_PARIS, part="more")
        other.put_experiment_part(third, [replace(VALUES[0], part="more")])
        told: list[object] = []
        catalog.merge(other, told.append)
        assert told == []
        assert catalog.experiments() == [replace(EXPERIMENT, finished_at=EVENING)]
        assert catalog.experiment_parts(ID) == [OF_PARIS, OF_YEN, third]
        assert len(catalog.experiment_values(ID)) == 4
        other.clear_experiment(ID)
        other.put_experiment_part(replace(OF_PARIS, seconds=7.0), [*VALUES[:2], replace(VALUES[2], value=0.5)])
        catalog.merge(other, told.append)
    assert [(one.words, one.field, one.ours, one.theirs) for one in told] == [  # type: ignore[attr-defined]
        (
            f"experiment {ID:016x}, part capital/France",
            "experiment_values",
            "3 rows",
            "3 rows, 2 of them alike",
        )
    ]
    assert catalog.experiment_values(ID)[:3] == VALUES
