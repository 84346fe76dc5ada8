import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from knedit.catalog.answers import PromptOutcome, RunSummary
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import (
    AttributedFact,
    AttributionRun,
    CoarseCount,
    NeuronScore,
    Prompt,
    PromptAttribution,
    show_id,
)
from tests.catalog.making import (
    CAPITAL,
    CONFIG,
    CURRENCY,
    MODEL,
    NOON,
    PARIS,
    PARIS_GENERATE,
    PARIS_IS,
    PARIS_PARA,
    PARIS_SEAT,
    RUN,
    TOKYO,
    TOKYO_IS,
    YEN,
    YEN_IS,
    attribution,
    checkpoint,
    fill_run,
    score,
)


def test_a_run_comes_back_whole(catalog: Catalog) -> None:
    catalog.add_checkpoint(MODEL)
    assert catalog.open_run(RUN) == RUN
    assert catalog.runs() == [RUN]
    assert AttributionRun.identify(MODEL.id, catalog.runs()[0].config) == RUN.id


def test_a_run_opened_again_keeps_when_it_began(catalog: Catalog) -> None:
    catalog.add_checkpoint(MODEL)
    catalog.open_run(RUN)
    catalog.finish_run(RUN.id, NOON)
    assert catalog.open_run(replace(RUN, started_at=NOON, version="9.9")) == replace(RUN, finished_at=NOON)


def test_moments_come_back_in_utc_whatever_zone_they_came_in(catalog: Catalog) -> None:
    catalog.add_checkpoint(MODEL)
    catalog.open_run(RUN)
    catalog.finish_run(RUN.id, NOON.astimezone(timezone(timedelta(hours=5, minutes=30))))
    (found,) = catalog.runs()
    assert found == replace(RUN, finished_at=NOON)
    assert found.finished_at is not None
    assert (found.finished_at.utcoffset(), found.started_at.utcoffset()) == (timedelta(0), timedelta(0))


def test_a_moment_without_a_time_zone_is_refused(catalog: Catalog) -> None:
    naive = datetime(2024, 5, 17, 12)  # noqa: DTZ001
    catalog.add_checkpoint(MODEL)
    with pytest.raises(CatalogError):
        catalog.open_run(replace(RUN, started_at=naive))
    catalog.open_run(RUN)
    with pytest.raises(CatalogError, match="has no time zone"):
        catalog.finish_run(RUN.id, naive)


def test_finishing_an_unknown_run_is_refused(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match="There is no run 0000000000000007 in the catalog"):
        catalog.finish_run(7, NOON)


def test_runs_come_newest_first_and_by_checkpoint(catalog: Catalog) -> None:
    other = catalog.add_checkpoint(checkpoint("another"))
    catalog.add_checkpoint(MODEL)
    newer = AttributionRun(AttributionRun.identify(MODEL.id, {}), MODEL.id, {}, "0.1.0", NOON)
    elsewhere = AttributionRun(1, other.id, CONFIG, "0.1.0", NOON + timedelta(days=1))
    for run in (RUN, elsewhere, newer):
        catalog.open_run(run)
    assert catalog.runs() == [elsewhere, newer, RUN]
    assert catalog.runs(MODEL.id) == [newer, RUN]
    assert catalog.runs(12345) == []


def test_attributions_come_back_with_their_scores_highest_first(catalog: Catalog) -> None:
    fill_run(catalog)
    given = [attribution(PARIS_IS, 3.0), attribution(PARIS_SEAT, 0.0, "answer-missing")]
    scores = [
        score(PARIS_IS, 1, 2, 0.5),
        score(PARIS_IS, 0, 7, 3.0),
        score(PARIS_IS, 1, 1, 0.5),
        score(PARIS_IS, 0, 0, -1e-300),
    ]
    catalog.put_attributions(given, scores)
    assert catalog.attributed_prompts(RUN.id) == {PARIS_IS.id, PARIS_SEAT.id}
    assert catalog.attributions(RUN.id) == sorted(given, key=lambda one: one.prompt_id)
    assert catalog.scores(RUN.id, PARIS_IS.id) == [scores[1], scores[2], scores[0], scores[3]]
    assert catalog.scores(RUN.id, PARIS_SEAT.id) == []
    assert (catalog.attributed_prompts(8), catalog.attributions(8), catalog.scores(8, 9)) == (set(), [], [])


def test_putting_attributions_again_replaces_nothing_and_adds_no_score(catalog: Catalog) -> None:
    fill_run(catalog)
    catalog.put_attributions([attribution(PARIS_IS)], [score(PARIS_IS, 0, 1, 1.0)])
    catalog.put_attributions(
        [attribution(PARIS_IS, 9.0), attribution(TOKYO_IS)],
        [score(PARIS_IS, 0, 1, 9.0), score(PARIS_IS, 0, 2, 9.0), score(TOKYO_IS, 0, 1, 1.0)],
    )
    assert catalog.attributions(RUN.id) == sorted(
        [attribution(PARIS_IS), attribution(TOKYO_IS)], key=lambda one: one.prompt_id
    )
    assert catalog.scores(RUN.id, PARIS_IS.id) == [score(PARIS_IS, 0, 1, 1.0)]
    assert catalog.scores(RUN.id, TOKYO_IS.id) == [score(TOKYO_IS, 0, 1, 1.0)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_and_peaks_that_are_no_numbers_are_refused_and_nothing_stays(catalog: Catalog, bad: float) -> None:
    fill_run(catalog)
    with pytest.raises(CatalogError, match=r"NeuronScore\.score"):
        catalog.put_attributions([attribution(PARIS_IS)], [score(PARIS_IS, 0, 1, 1.0), score(PARIS_IS, 0, 2, bad)])
    with pytest.raises(CatalogError, match=r"PromptAttribution\.peak"):
        catalog.put_attributions([attribution(PARIS_IS, bad)], [])
    assert catalog.attributions(RUN.id) == []


@pytest.mark.parametrize(("layer", "index"), [(-1, 0), (0, -1), (0, 1.5)])
def test_a_neuron_that_cannot_be_is_refused(catalog: Catalog, layer: int, index: int) -> None:
    fill_run(catalog)
    with pytest.raises(CatalogError):
        catalog.put_attributions([attribution(PARIS_IS)], [score(PARIS_IS, layer, index, 1.0)])
    assert catalog.attributions(RUN.id) == []


def test_scores_without_their_attribution_are_refused(catalog: Catalog) -> None:
    fill_run(catalog)
    catalog.put_attributions([attribution(PARIS_IS)], [])
    with pytest.raises(CatalogError, match="1 prompts have scores but no attribution"):
        catalog.put_attributions([], [score(PARIS_IS, 0, 1, 1.0)])
    assert catalog.scores(RUN.id, PARIS_IS.id) == []


def test_attributions_of_an_unknown_run_or_prompt_are_refused(catalog: Catalog) -> None:
    fill_run(catalog)
    with pytest.raises(CatalogError, match=r"(?i)foreign key"):
        catalog.put_attributions([replace(attribution(PARIS_IS), run_id=5)], [])
    with pytest.raises(CatalogError, match=r"(?i)foreign key"):
        catalog.put_attributions([replace(attribution(PARIS_IS), prompt_id=5)], [])


def test_numbers_of_numpy_are_kept_as_numbers(catalog: Catalog) -> None:
    fill_run(catalog)
    one = NeuronScore(RUN.id, PARIS_IS.id, np.int64(1), np.int32(5), np.float32(0.5))  # type: ignore[arg-type]
    catalog.put_attributions([attribution(PARIS_IS)], [one])
    assert catalog.scores(RUN.id, PARIS_IS.id) == [score(PARIS_IS, 1, 5, 0.5)]
    assert list(catalog.coarse_counts(RUN.id, 0.2)) == [CoarseCount(PARIS.id, CAPITAL.id, 1, 5, 1, 0.5)]


def fill_scores(catalog: Catalog) -> tuple[list[PromptAttribution], list[NeuronScore]]:
    attributions = [
        attribution(PARIS_IS, 1.0),
        attribution(PARIS_SEAT, 2.0, "inexact"),
        attribution(PARIS_PARA, 5.0, "unlikely"),
        attribution(PARIS_GENERATE, 0.0),
        attribution(TOKYO_IS, 4.0),
        attribution(YEN_IS, -1.0),
    ]
    scores = [
        *(score(PARIS_IS, 0, 3, 1.0), score(PARIS_IS, 1, 7, 0.5), score(PARIS_IS, 1, 9, 0.25)),
        *(score(PARIS_SEAT, 0, 3, 2.0), score(PARIS_SEAT, 1, 7, 0.75), score(PARIS_SEAT, 1, 9, 1.0)),
        *(score(PARIS_PARA, 0, 3, 5.0), score(PARIS_GENERATE, 0, 3, 0.0)),
        *(score(TOKYO_IS, 1, 7, 4.0), score(TOKYO_IS, 1, 9, 1.0), score(YEN_IS, 0, 3, 5.0)),
    ]
    fill_run(catalog)
    catalog.put_attributions(attributions, scores)
    return attributions, scores


def counted(attributions: list[PromptAttribution], scores: list[NeuronScore], threshold: float) -> list[CoarseCount]:
    """Count as coarse_counts does, in plain Python."""
    prompts: dict[int, Prompt] = {p.id: p for p in (PARIS_IS, PARIS_SEAT, PARIS_PARA, PARIS_GENERATE, TOKYO_IS, YEN_IS)}
    relation = {PARIS.id: CAPITAL.id, TOKYO.id: CAPITAL.id, YEN.id: CURRENCY.id}
    peaks = {one.prompt_id: one.peak for one in attributions if one.status in ("ok", "inexact") and one.peak > 0}
    found: dict[tuple[int, int, int], list[float]] = {}
    for one in scores:
        if one.prompt_id in peaks and one.score >= threshold * peaks[one.prompt_id]:
            found.setdefault((prompts[one.prompt_id].fact_id, one.layer, one.index), []).append(one.score)
    return [
        CoarseCount(fact, relation[fact], layer, index, len(values), sum(values))
        for (fact, layer, index), values in sorted(found.items())
    ]


def test_coarse_counts_are_of_prompts_that_count_and_neurons_that_reach_the_threshold(catalog: Catalog) -> None:
    fill_scores(catalog)
    assert sorted(catalog.coarse_counts(RUN.id, 0.5), key=lambda one: (one.fact_id, one.layer, one.index)) == sorted(
        [
            CoarseCount(PARIS.id, CAPITAL.id, 0, 3, 2, 3.0),
            CoarseCount(PARIS.id, CAPITAL.id, 1, 7, 1, 0.5),
            CoarseCount(PARIS.id, CAPITAL.id, 1, 9, 1, 1.0),
            CoarseCount(TOKYO.id, CAPITAL.id, 1, 7, 1, 4.0),
        ],
        key=lambda one: (one.fact_id, one.layer, one.index),
    )


@pytest.mark.parametrize("threshold", [0, 0.2, 0.25, 0.375, 0.5, 1, 1.5])
def test_coarse_counts_equal_counting_by_hand_at_any_threshold(catalog: Catalog, threshold: float) -> None:
    attributions, scores = fill_scores(catalog)
    assert list(catalog.coarse_counts(RUN.id, threshold)) == counted(attributions, scores, threshold)


def test_coarse_counts_of_another_run_do_not_mix(catalog: Catalog) -> None:
    fill_scores(catalog)
    other = catalog.open_run(AttributionRun(77, MODEL.id, {}, "0.1.0", NOON))
    catalog.put_attributions(
        [replace(attribution(YEN_IS), run_id=other.id)], [replace(score(YEN_IS, 0, 0, 1.0), run_id=other.id)]
    )
    assert list(catalog.coarse_counts(other.id, 0.2)) == [CoarseCount(YEN.id, CURRENCY.id, 0, 0, 1, 1.0)]
    assert list(catalog.coarse_counts(78, 0.2)) == []


def test_attributed_facts_include_those_whose_prompts_gave_nothing(catalog: Catalog) -> None:
    fill_scores(catalog)
    assert {one.fact_id: one for one in catalog.attributed_facts(RUN.id)} == {
        PARIS.id: AttributedFact(PARIS.id, CAPITAL.id, 2),
        TOKYO.id: AttributedFact(TOKYO.id, CAPITAL.id, 1),
        YEN.id: AttributedFact(YEN.id, CURRENCY.id, 0),
    }


def test_runs_are_counted_by_status_newest_first(catalog: Catalog) -> None:
    fill_scores(catalog)
    later = catalog.open_run(AttributionRun(77, MODEL.id, {}, "0.1.0", NOON))
    counts = {"inexact": 1, "ok": 4, "unlikely": 1}
    whole = [RunSummary(later, "tiny", 0, {}), RunSummary(RUN, "tiny", 3, counts)]
    assert catalog.run_summaries() == catalog.run_summaries(MODEL.id) == whole
    assert catalog.run_summaries(5) == []


def test_outcomes_of_a_status_come_worst_first_and_limited(catalog: Catalog) -> None:
    fill_run(catalog)
    large = replace(attribution(PARIS_IS, 1.0, "inexact"), completeness_error=0.5)
    small = replace(attribution(YEN_IS, 1.0, "inexact"), completeness_error=0.25)
    lost = PromptAttribution(RUN.id, TOKYO_IS.id, 0.0, None, 0.0, "unusable", "too long")
    catalog.put_attributions([small, lost, large, attribution(PARIS_SEAT)], [])
    worst = [PromptOutcome("capital", PARIS, PARIS_IS, large), PromptOutcome("currency", YEN, YEN_IS, small)]
    assert catalog.outcomes(RUN.id, "inexact") == worst
    assert catalog.outcomes(RUN.id, "inexact", limit=1) == worst[:1]
    assert catalog.outcomes(RUN.id, "unusable") == [PromptOutcome("capital", TOKYO, TOKYO_IS, lost)]


def test_a_run_is_found_by_the_beginning_of_its_id(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match="knedit attribute"):
        catalog.find_run("abcd")
    fill_run(catalog)
    assert catalog.find_run(show_id(RUN.id)[:6]) == RUN
    catalog.open_run(AttributionRun(RUN.id ^ 1, MODEL.id, {}, "0.1.0", NOON))
    with pytest.raises(CatalogError, match=f'2 runs begin with "{show_id(RUN.id)[:6]}"'):
        catalog.find_run(show_id(RUN.id)[:6])
    for wrong in ("ffff", "abc", "newest"):
        with pytest.raises(CatalogError, match=f'There is no run "{wrong}"'):
            catalog.find_run(wrong)


ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys
from datetime import UTC, datetime
from knedit.catalog.store import Catalog
from knedit.records import *

with Catalog(sys.argv[1]) as catalog:
    relation = Relation.make("capital")
    checkpoint = Checkpoint(1, "tiny", "", "ab", "gpt2", 2, 16)
    run = AttributionRun(5, 1, {}, "0", datetime.now(UTC))
    facts = [Fact(n, relation.id, f"Land {n}", "Town") for n in range(2000)]
    prompts = [Prompt(n, n, "attribute", "{object}", "Town") for n in range(2000)]
    catalog.import_facts([relation, *facts, *prompts])
    catalog.add_checkpoint(checkpoint)
    catalog.open_run(run)
    print("ready", flush=True)
    for n in range(2000):
        scores = [NeuronScore(5, n, layer, index, 1.0) for layer in range(10) for index in range(100)]
        catalog.put_attributions([PromptAttribution(5, n, 0.5, 0.0, 1.0)], scores)
        print(n, flush=True)
"""


@pytest.mark.parametrize("after", [1, 4])
def test_a_killed_writer_leaves_whole_prompts_only(database: str, after: int) -> None:
    child = subprocess.Popen([sys.executable, "-c", WRITER, database], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert child.stdout is not None
        written = [child.stdout.readline() for _ in range(after + 1)]
    finally:
        os.kill(child.pid, signal.SIGKILL)
        rest = child.communicate()[0]
    told = {int(line) for line in [*written[1:], *rest.splitlines()] if line.strip().isdigit()}
    with Catalog(database) as catalog:
        done = catalog.attributed_prompts(5)
        assert done >= told
        assert 0 < len(done) < 2000
        assert {len(catalog.scores(5, prompt)) for prompt in done} == {1000}
        assert sum(count.prompts for count in catalog.coarse_counts(5, 0.5)) == 1000 * len(done)
