"""What a status means to every flow, and selections used by name."""

from dataclasses import replace
from pathlib import Path

import pytest

from knedit.attribution.refine import Thresholds
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError, EditError, FactsError
from knedit.flows.attribute import Wish, attribute
from knedit.flows.checkpoint import add_checkpoint, load_checkpoint
from knedit.flows.choices import Choices
from knedit.flows.curate import meant_facts, meant_prompts
from knedit.flows.edit import read_edit, solve_edit
from knedit.flows.evaluate import choose_probes
from knedit.flows.facts import export_facts
from knedit.flows.goals import Wishes, find_goals
from knedit.flows.plan import plan_edit
from knedit.flows.refine import refine_checkpoint
from knedit.records import Fact, RequestedRewrite, show_id
from tests.flows.making import LENIENT, QUICK, attributed, open_catalog, save_model

ANY = Choices("embedding", "zero", roles=("fact", "relation", "generic"))


def fact(catalog: Catalog, reference: str) -> Fact:
    return catalog.find_fact(reference)


def retire(catalog: Catalog, *references: str) -> None:
    catalog.set_fact_status([fact(catalog, one).id for one in references], "retired", by="Ada")


def test_retired_facts_and_prompts_are_not_attributed(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        retire(catalog, "capital/Japan")
        france = fact(catalog, "capital/France")
        asked = catalog.prompts([france.id], roles=["attribute"])
        catalog.set_prompt_status([asked[0].id], "retired", by="Ada")
        checkpoint = add_checkpoint(catalog, save_model("bert", tmp_path / "base"))
        model = load_checkpoint(checkpoint, device="cpu")
        report = attribute(catalog, checkpoint, model, method=QUICK)
        done = catalog.attributed_prompts(report.run.id)
        assert report.facts == 6
        of_france = {one.id for one in catalog.prompts([france.id])}
        assert done & of_france == {one.id for one in asked[1:]}
        with pytest.raises(FactsError, match=r"Japan – Tokyo is retired .*knedit facts status [0-9a-f]{16} proposed"):
            attribute(catalog, checkpoint, model, method=QUICK, wish=Wish(facts=("capital/Japan",)))


def test_what_is_retired_later_counts_no_more_when_it_is_refined_again(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        checkpoint, _ = attributed(catalog, save_model("bert", tmp_path / "base"))
        retire(catalog, "capital/Japan")
        france = fact(catalog, "capital/France")
        asked = catalog.prompts([france.id], roles=["attribute"])
        catalog.set_prompt_status([one.id for one in asked[1:]], "retired", by="Ada")
        _, refined, neurons = refine_checkpoint(catalog, checkpoint, replace(LENIENT, min_prompts=1))
        assert len(refined) == 6
        assert [one.prompts for one in refined if one.fact_id == france.id] == [1]
        (run,) = catalog.runs()
        peaks = {one.prompt_id: one.peak for one in catalog.attributions(run.id)}
        high = [
            (one.layer, one.index)
            for one in catalog.scores(run.id, asked[0].id)
            if one.score >= LENIENT.threshold * peaks[asked[0].id]
        ]
        assert sorted((one.layer, one.index) for one in neurons if one.fact_id == france.id) == sorted(high)


def test_a_run_whose_facts_are_all_retired_refines_to_nothing(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        checkpoint, _ = attributed(catalog, save_model("gpt2", tmp_path / "base"))
        catalog.set_fact_status([one.id for one in catalog.facts()], "retired", by="Ada")
        _, refined, neurons = refine_checkpoint(catalog, checkpoint, Thresholds())
        assert (refined, neurons) == ([], [])


@pytest.mark.parametrize("status", ["protected", "retired"])
def test_protected_and_retired_facts_are_no_edits_target(tmp_path: Path, status: str) -> None:
    with open_catalog(tmp_path) as catalog:
        catalog.set_fact_status([fact(catalog, "capital/France").id], status, by="Ada")
        for wish in (Wishes(updates=["capital/France=Rome"]), Wishes(erasures=["capital/France"])):
            with pytest.raises(EditError, match=f"France – Paris is {status} .*knedit facts status"):
                find_goals(catalog, wish)


def test_an_edit_is_not_carried_out_once_its_fact_is_protected(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        checkpoint, model = attributed(catalog, save_model("gpt2", tmp_path / "base"))
        edit = plan_edit(catalog, checkpoint, lambda _: model, Wishes(erasures=["capital/France"]), ANY)
        assert solve_edit(read_edit(catalog, edit), model)
        catalog.set_fact_status([fact(catalog, "capital/France").id], "protected", by="Ada")
        with pytest.raises(EditError, match=f"France – Paris is protected .edit {show_id(edit.id)}"):
            solve_edit(read_edit(catalog, edit), model)


def test_an_evaluation_asks_protected_facts_and_nothing_retired(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        checkpoint, model = attributed(catalog, save_model("gpt2", tmp_path / "base"))
        edit = plan_edit(catalog, checkpoint, lambda _: model, Wishes(erasures=["capital/France"]), ANY)
        retire(catalog, "country/Oslo")
        shut = catalog.prompts([fact(catalog, "capital/France").id], roles=["attribute"])[0]
        catalog.set_prompt_status([shut.id], "retired", by="Ada")
        asked = [one.probe.prompt for one in choose_probes(catalog, read_edit(catalog, edit))]
        assert shut.id not in {one.id for one in asked}
        facts = {one.fact_id for one in asked}
        assert fact(catalog, "capital/Spain").id in facts
        assert fact(catalog, "country/Oslo").id not in facts


def test_what_is_retired_is_exported_only_if_asked(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        retire(catalog, "capital/Japan")
        prompt = catalog.prompts([fact(catalog, "country/Oslo").id])[0]
        catalog.set_prompt_status([prompt.id], "retired", by="Ada")
        assert export_facts(catalog, tmp_path / "out.jsonl") == 6
        assert export_facts(catalog, tmp_path / "all.jsonl", retired=True) == 7
        rows = [export_facts(catalog, tmp_path / f"{one}.csv", retired=one) for one in (False, True)]
        assert rows == [33 - 6 - 1, 33]


def test_a_selection_is_attributed_exported_and_erased_without_what_is_retired(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        chosen = [fact(catalog, one).id for one in ("capital/France", "capital/Italy", "country/Oslo")]
        catalog.label_facts([*chosen, fact(catalog, "capital/Japan").id], "mine", by="Ada")
        retire(catalog, "capital/Japan")
        catalog.save_selection("mine", {"labels": ["mine"]}, by="Ada")
        assert export_facts(catalog, tmp_path / "out.jsonl", selection="mine") == 3
        assert export_facts(catalog, tmp_path / "two.jsonl", selection="mine", relation="capital") == 2
        checkpoint = add_checkpoint(catalog, save_model("gpt2", tmp_path / "base"))
        model = load_checkpoint(checkpoint, device="cpu")
        first = attribute(catalog, checkpoint, model, method=QUICK, wish=Wish(selections=("mine",), limit=1))
        rest = attribute(catalog, checkpoint, model, method=QUICK, wish=Wish(selections=("mine",)))
        assert (first.facts, rest.facts, rest.already) == (2, 3, 2)
        refine_checkpoint(catalog, checkpoint, LENIENT)
        goals = find_goals(catalog, Wishes(selections=["mine"]))
        assert [(one.operation, one.target) for one in goals] == [
            ("erase", "capital/France"),
            ("erase", "capital/Italy"),
            ("erase", "country/Oslo"),
        ]
        by_name = plan_edit(catalog, checkpoint, lambda _: model, Wishes(selections=["mine"]), ANY)
        one_by_one = Wishes(erasures=["capital/France", "capital/Italy", "country/Oslo"])
        assert plan_edit(catalog, checkpoint, lambda _: model, one_by_one, ANY) == by_name


def test_a_selection_is_rewritten_as_its_data_set_requests(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        france, italy = (fact(catalog, f"capital/{one}") for one in ("France", "Italy"))
        catalog.import_facts(
            [
                RequestedRewrite(france.id, "counterfact", "1", "Rome"),
                RequestedRewrite(france.id, "zsre", "9", "Rome"),
                RequestedRewrite(italy.id, "counterfact", "2", "Oslo"),
            ]
        )
        catalog.save_selection("both", {"facts": [show_id(france.id), show_id(italy.id)]}, by="Ada")
        goals = find_goals(catalog, Wishes(rewrites=["both"]))
        assert [(one.target, one.new) for one in goals] == [("capital/France", "Rome"), ("capital/Italy", "Oslo")]
        catalog.import_facts([RequestedRewrite(italy.id, "zsre", "3", "Tokyo")])
        with pytest.raises(EditError, match=r"2 requested rewrites .*capital/Italy.*--update capital/Italy=NEW"):
            find_goals(catalog, Wishes(rewrites=["both"]))


def test_selections_of_nothing_are_refused_where_something_is_to_be_done(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        catalog.save_selection("none", {"labels": ["unheard of"]}, by="Ada")
        catalog.save_selection("over", {"statuses": ["retired"]}, by="Ada")
        retire(catalog, "capital/Japan")
        for wish in (Wishes(selections=["none"]), Wishes(rewrites=["none"])):
            with pytest.raises(FactsError, match=r"the selection has no facts .none.*knedit selections show none"):
                find_goals(catalog, wish)
        with pytest.raises(FactsError, match="all 1 facts of the selection are retired"):
            find_goals(catalog, Wishes(selections=["over"]))
        with pytest.raises(FactsError, match="the selection has no facts"):
            export_facts(catalog, tmp_path / "out.jsonl", selection="none")
        with pytest.raises(CatalogError, match=r'no selection "nine".*Did you mean none'):
            export_facts(catalog, tmp_path / "out.jsonl", selection="nine")
        assert not (tmp_path / "out.jsonl").exists()


def test_facts_are_meant_by_name_relation_selection_and_status(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        oslo, france = fact(catalog, "country/Oslo"), fact(catalog, "capital/France")
        capitals = [one.id for one in catalog.facts(relation="capital")]
        catalog.save_selection("spain", {"statuses": ["protected"]}, by="Ada")
        assert meant_facts(catalog, ["country/Oslo"], relations=["capital"]) == [oslo.id, *capitals]
        assert meant_facts(catalog, ["capital/France"], relations=["capital"])[0] == france.id
        assert meant_facts(catalog, selections=["spain"]) == [fact(catalog, "capital/Spain").id]
        assert len(meant_facts(catalog, before="proposed")) == 6
        with pytest.raises(FactsError, match="no facts are named"):
            meant_facts(catalog)
        with pytest.raises(FactsError, match=r"there are no such facts .status approved"):
            meant_facts(catalog, before="approved")
        with pytest.raises(CatalogError, match="Did you mean capital"):
            meant_facts(catalog, relations=["captial"])


def test_prompts_are_meant_by_id_and_by_fact_and_role(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        prompts = catalog.prompts([fact(catalog, "capital/France").id])
        of_role = [one for one in prompts if one.role == "paraphrase"]
        first = show_id(prompts[0].id)
        assert meant_prompts(catalog, [first], facts=["capital/France"], roles=["paraphrase"]) == [prompts[0], *of_role]
        assert meant_prompts(catalog, [first], facts=["capital/France"]) == prompts
        with pytest.raises(FactsError, match="no prompts are named"):
            meant_prompts(catalog, facts=["capital/France"], roles=["implied"])
