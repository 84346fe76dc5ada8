import logging
from dataclasses import replace
from pathlib import Path

import pytest

from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.flows.neurons import newest_refinement, warn_of_inconsistency
from knedit.records import Refinement
from tests.catalog.making import (
    EVENING,
    NOON,
    PARIS,
    PARIS_IS,
    PARIS_PARA,
    PARIS_SEAT,
    REFINEMENT,
    RUN,
    attribution,
    checkpoint,
    fill_run,
    score,
)


@pytest.fixture
def asked(tmp_path: Path) -> Catalog:
    catalog = Catalog(str(tmp_path / "facts.db"))
    fill_run(catalog)
    catalog.put_refinement(REFINEMENT, [], [])
    return catalog


def test_a_refinement_is_named_or_the_newest_of_a_checkpoint_or_of_the_only_one(asked: Catalog) -> None:
    newer = asked.put_refinement(Refinement(0x7777_0000_0000_0000, RUN.id, {}, EVENING), [], [])
    assert newest_refinement(asked, None) == newer
    assert newest_refinement(asked, "tiny") == newer
    assert newest_refinement(asked, None, f"{REFINEMENT.id:016x}") == REFINEMENT
    other = asked.add_checkpoint(checkpoint("another"))
    with pytest.raises(CatalogError, match="of another checkpoint"):
        newest_refinement(asked, "another", "7777")
    run = asked.open_run(replace(RUN, id=2, checkpoint_id=other.id))
    asked.put_refinement(Refinement(3, run.id, {}, NOON), [], [])
    with pytest.raises(CatalogError, match="several checkpoints are refined: another, tiny"):
        newest_refinement(asked, None)


def test_wordings_that_agree_little_are_warned_of(asked: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    prompts = (PARIS_IS, PARIS_SEAT, PARIS_PARA)
    asked.put_attributions(
        [attribution(prompt) for prompt in prompts],
        [score(prompt, 0, number, 1.0) for number, prompt in enumerate(prompts)],
    )
    with caplog.at_level(logging.WARNING, "knedit"):
        warn_of_inconsistency(asked, REFINEMENT, [PARIS.id])
        warn_of_inconsistency(asked, replace(REFINEMENT, config={}), [PARIS.id])
    assert caplog.messages == ["The wordings of capital/France agree little on its neurons (Jaccard 0.00)"]
