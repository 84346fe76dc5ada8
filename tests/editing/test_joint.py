"""Whole plans on tiny networks: wishes come true, the network stays as it was, failures have names."""

import math
from dataclasses import replace

import pytest
import torch

from knedit.editing import groups, prior
from knedit.editing.apply import edited
from knedit.editing.around import Mixture, Neighbours, Region, Surroundings
from knedit.editing.groups import alike, mean_keys
from knedit.editing.joint import Plan, solve_wishes
from knedit.editing.prior import bounds_of, subject_free, without_subject
from knedit.editing.recipe import ROUNDS, Recipe, crowded, default_layers, widened
from knedit.editing.solution import Solution
from knedit.editing.solve import ValueChange
from knedit.editing.statistics import Moment, Noise, Statistics
from knedit.editing.targets import Search, Sought, Target
from knedit.editing.wishes import Context, Variety, Wish, contexts_of, reworded
from knedit.errors import EditError
from knedit.evaluation.metrics import answer
from knedit.models.model import Model, wrap_model
from knedit.models.planting import keys_at_sites
from knedit.models.prompting import encode_prompt
from knedit.records import Prompt
from tests.tiny_models import TINY, network, tokenizer_of

SENTENCES = ("people live in the old city .", "they speak the language of Norway .", "Kenya is big !")
SUBJECTS = ("Japan", "Italy", "Spain", "Kenya", "Norway")
RECIPE = Recipe(
    (0, 1),
    columns=12,
    decoys=4,
    neutral=("it", "this"),
    search=Search(steps=80, reach=1, stop=0.2, slack=0.2),
    variety=Variety(prefixes=1, wordings=1),
    erasing=Variety(prefixes=1, wordings=1),
)
WISH = Wish("France", "France", ("the capital city of France {object}",), "Rome", "Paris", (), "capital")
FORGET = Wish("Japan", "Japan", ("the capital of Japan is {object}",), None, "Tokyo", (), "capital")


def tiny(name: str) -> Model:
    return wrap_model(network(name), tokenizer_of(name))


def around(model: Model) -> Surroundings:
    queries = [
        encode_prompt(model, prompt(f"the capital of {s} is {{object}}", "Rome"), where="subject", subject=s)
        for s in SUBJECTS
    ]
    keys = keys_at_sites(model, queries, RECIPE.layers)
    moments = {layer: Moment.empty(model.layout.ffn_width) for layer in RECIPE.layers}
    for layer, moment in moments.items():
        moment.add(keys[layer])
    statistics = Statistics("", moments, moments, moments)
    return Surroundings(statistics, SENTENCES, {"capital": Neighbours(SUBJECTS, keys)}.get)


def prompt(text: str, said: str) -> Prompt:
    return Prompt.make(0, "attribute", text, said)


def chance(model: Model, text: str, said: str) -> tuple[float, bool]:
    (found,) = answer(model, [encode_prompt(model, prompt(text, said))])
    return found.probability, found.correct


@pytest.mark.parametrize("name", TINY)
def test_an_update_raises_the_new_answer_on_few_columns_and_leaves_the_network_as_it_was(name: str) -> None:
    model = tiny(name)
    rare, _ = chance(model, WISH.texts[0], "Rome")
    before = {key: value.clone() for key, value in model.net.state_dict().items()}
    found = solve_wishes(model, [WISH], around(model), RECIPE)
    assert [change.layer for change in found.changes] == [0, 1]
    assert all(len(change.indices) <= 12 and change.new.dtype == torch.float64 for change in found.changes)
    with edited(model, found.changes):
        probability, correct = chance(model, WISH.texts[0], "Rome")
    assert probability > 5 * rare
    assert correct or model.masked  # the other tokens of a random bidirectional network undo much
    assert all(torch.equal(value, before[key]) for key, value in model.net.state_dict().items())


def test_the_same_plan_is_solved_alike_again_and_several_facts_together() -> None:
    model = tiny("llama")
    wishes = [WISH, Wish("Spain", "Spain", ("the capital city of Spain {object}",), "Oslo", None, (), "capital")]
    first, again = (solve_wishes(model, wishes, around(model), RECIPE) for _ in range(2))
    for one, other in zip(first.changes, again.changes, strict=True):
        assert (one.layer, one.indices) == (other.layer, other.indices)
        assert torch.equal(one.new, other.new)
    with edited(model, first.changes):
        said = [chance(model, wish.texts[0], wish.answer)[1] for wish in wishes]
    assert said == [True, True]


def test_an_erasure_brings_the_answer_down_to_what_is_said_without_the_subject() -> None:
    model = tiny("gpt2")
    known = max(
        ("Tokyo", "Paris", "big", "the", "city", "speak"), key=lambda word: chance(model, FORGET.texts[0], word)[0]
    )
    wish = Wish("Japan", "Japan", FORGET.texts, None, known, (), "capital")
    (prior,) = subject_free(model, wish, wish.texts, RECIPE.neutral)
    bound = min(prior, chance(model, wish.texts[0], known)[0])
    with edited(model, solve_wishes(model, [wish], around(model), RECIPE).changes):
        assert chance(model, wish.texts[0], known)[0] <= bound


def test_what_else_is_asked_of_the_subject_moves_less_where_it_is_told_to_stay() -> None:
    model = tiny("llama")
    beside = "people speak in France {object}"
    told, asked = wrote(model, [replace(WISH, besides=((beside, "big"),)), WISH], beside)
    assert told[0] < 0.5 * asked[0]
    assert told[1] > 20 * chance(model, WISH.texts[0], "Rome")[0]


def wrote(model: Model, wishes: list[Wish], text: str) -> list[tuple[float, float]]:
    """Return for each wish how far (KL) it moves what is said after a text, and its answer's probability then."""
    query = encode_prompt(model, prompt(text, "big"))
    before = spread_of(model, query.tokens)
    found = []
    for wish in wishes:
        with edited(model, solve_wishes(model, [wish], around(model), RECIPE).changes):
            after = spread_of(model, query.tokens)
            moved = float((before.exp() * (before - after)).sum())
            found.append((moved, chance(model, wish.texts[0], wish.answer)[0]))
    return found


def spread_of(model: Model, tokens: tuple[int, ...]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.net(torch.tensor([tokens])).logits[0, -1]
    return logits.double().log_softmax(-1)


def test_a_budget_for_the_whole_plan_is_kept() -> None:
    model = tiny("llama")
    wishes = [WISH, Wish("Spain", "Spain", ("the capital city of Spain {object}",), "Oslo", None, (), "capital")]
    recipe = Recipe((0, 1), columns=8, shared=True, decoys=0, search=RECIPE.search, variety=RECIPE.variety)
    found: Solution = solve_wishes(model, wishes, around(model), recipe)
    assert [len(change.indices) for change in found.changes] == [8, 8]


def test_a_subject_that_is_not_in_its_prompt_and_a_wish_that_changes_nothing_are_named() -> None:
    model = tiny("llama")
    with pytest.raises(EditError, match="does not hold the subject 'Oslo'"):
        solve_wishes(model, [Wish("x", "Oslo", WISH.texts, "Rome")], around(model), RECIPE)
    still = Recipe((0, 1), columns=4, search=Search(steps=0), rounds=0, variety=RECIPE.variety)
    with pytest.raises(EditError, match="changes nothing"):
        solve_wishes(model, [WISH], around(model), still)


def test_a_search_that_does_not_converge_is_told() -> None:
    model = tiny("llama")
    brief = Recipe((0, 1), columns=4, search=Search(steps=1, good=0.01), variety=RECIPE.variety)
    (solved,) = solve_wishes(model, [WISH], around(model), brief).solved
    assert (solved.target.converged, solved.target.steps) == (False, 1)


def test_contexts_begin_with_the_facts_own_prompts_and_take_other_facts_wordings() -> None:
    wordings = reworded([("{object} is the capital of Spain", "Spain"), ("in Spain {object}", "Kenya")], "France")
    assert wordings == ("{object} is the capital of France",)
    wish = Wish("t", "France", ("the capital of France is {object}",), "Rome", None, ("France has {object}",))
    found = contexts_of(wish, SENTENCES, Variety(prefixes=1, wordings=2, own_weight=3))
    assert found[0] == Context("the capital of France is {object}", 3)
    assert [context.text.endswith("the capital of France is {object}") for context in found] == [True, True, False]
    assert found[2].text.endswith(" France has {object}")
    assert found == contexts_of(wish, SENTENCES, Variety(prefixes=1, wordings=2, own_weight=3))


def test_forgetting_looks_right_behind_the_subject_too() -> None:
    forget = Wish("t", "France", ("France, {object}",), None, "Paris")
    texts = [context.text for context in contexts_of(forget, SENTENCES, Variety(prefixes=0, wordings=0, bare=True))]
    assert texts == ["France, {object}", "France ({object}", "France: {object}", "France {object}", "France – {object}"]
    recipe = Recipe((0, 1))
    assert recipe.variety_of(forget, at_answer=False).bare
    assert not recipe.variety_of(forget, at_answer=True).bare
    assert not recipe.variety_of(WISH, at_answer=False).bare


def test_wordings_are_asked_once_more_behind_other_sentences() -> None:
    ways = ("France has {object}", "in France {object}", "they say France {object}")
    wish = Wish("t", "France", ("the capital of France is {object}",), None, "Paris", ways)
    sentences = [f"{number} ." for number in range(8)]
    few, more = ([c.text for c in contexts_of(wish, sentences, Variety(1, 3, behind=n))] for n in (0, 2))
    assert more[: len(few)] == few
    assert [text.partition(" . ")[2] for text in more[len(few) :]] == list(ways[:2])
    before = [text.partition(" . ")[0] for text in more if " . " in text]
    assert len(set(before)) == len(before) == 1 + 2 + 2
    assert len(contexts_of(wish, sentences[:4], Variety(1, 3, behind=2))) == len(few)


def test_many_texts_without_the_subject_are_asked_a_few_at_a_time_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny("llama")
    texts = [f"{before}the capital of Japan is {{object}}" for before in ("", "it is so big . ", "in Kenya ")]
    one_by_one = [subject_free(model, FORGET, [text], RECIPE.neutral)[0] for text in texts]
    monkeypatch.setattr(prior, "_AT_ONCE", 4)
    assert subject_free(model, FORGET, texts, RECIPE.neutral) == pytest.approx(one_by_one, rel=1e-4)


def test_a_neutral_word_takes_a_capital_where_a_sentence_begins() -> None:
    assert without_subject("France has {object}", "France", "it") == "It has {object}"
    assert without_subject("so big. France has {object}", "France", "it") == "so big. It has {object}"
    assert without_subject("the capital of France is {object}", "France", "it") == "the capital of it is {object}"


def test_what_the_edited_network_still_lacks_is_corrected_and_the_target_tells_what_is_left() -> None:
    model = tiny("llama")
    once = replace(RECIPE, rounds=0, variety=Variety(prefixes=3, wordings=1))
    held = replace(once, rounds=4, holding=Search(steps=40, reach=1, stop=0.05, slack=0.05))
    first, corrected = (solve_wishes(model, [WISH], around(model), recipe) for recipe in (once, held))
    left = [loss_of_own_prompt(model, solution) for solution in (first, corrected)]
    assert left[0] > 0.05
    assert left[1] < left[0]
    assert corrected.solved[0].target.left < first.solved[0].target.left
    assert [change.indices for change in corrected.changes] == [change.indices for change in first.changes]


def loss_of_own_prompt(model: Model, solution: Solution) -> float:
    with edited(model, solution.changes):
        probability, _ = chance(model, WISH.texts[0], "Rome")
    return -math.log(probability)


def test_a_plan_of_many_facts_has_more_layers_the_next_ones_above() -> None:
    assert widened((3, 4, 5, 6, 7, 8), 30, 1) == (3, 4, 5, 6, 7, 8)
    assert widened((3, 4, 5, 6, 7, 8), 30, 25) == (3, 4, 5, 6, 7, 8)
    assert widened((3, 4, 5, 6, 7, 8), 30, 100) == tuple(range(3, 11))
    assert widened((3, 4, 5, 6, 7, 8), 30, 250) == tuple(range(3, 15))
    assert widened((3, 4, 5, 6, 7, 8), 30, 5000) == tuple(range(3, 21))
    assert widened((0, 1), 3, 1000) == (0, 1, 2)
    assert widened((10, 11), 12, 1000) == (6, 7, 8, 9, 10, 11)


def test_default_layers_are_low_at_the_subject_and_the_topmost_at_the_answer() -> None:
    assert default_layers(30) == (3, 4, 5, 6, 7, 8)
    assert default_layers(30, at_answer=True) == (24, 25, 26, 27, 28, 29)
    assert (default_layers(4, at_answer=True), default_layers(1, at_answer=True)) == ((2, 3), (0,))


def test_a_masked_models_fact_is_changed_where_its_answer_is_due_and_nowhere_else() -> None:
    model = tiny("bert")
    assert model.at_answer
    solution = solve_wishes(model, [WISH], around(model), RECIPE)
    asked = encode_prompt(model, prompt(WISH.texts[0], "Rome"), where="answer")
    before = keys_at_sites(model, [asked], RECIPE.layers)
    (solved,) = solution.solved
    first = min(change.layer for change in solution.changes)
    assert torch.cosine_similarity(solved.keys[first][0], before[first][0].double(), dim=0) > 0.5


def test_a_layer_where_the_subject_moves_no_neuron_is_left_out_and_all_of_them_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny("gpt2")

    def silent(*layers: int) -> None:
        def chosen(plan: Plan, noise: Noise, keys: torch.Tensor, layer: int) -> tuple[tuple[int, ...], float]:
            return original(plan, noise, torch.zeros_like(keys) if layer in layers else keys, layer)

        monkeypatch.setattr(Plan, "_columns", chosen)

    original = Plan._columns
    silent(1)
    solution = solve_wishes(model, [WISH], around(model), RECIPE)
    assert [change.layer for change in solution.changes] == [0]
    assert (solution.solved[0].columns[1], solution.solved[0].editability[1]) == ((), 0.0)
    silent(0, 1)
    with pytest.raises(EditError, match=r"the subject moves no neuron of the layers \(France\)"):
        solve_wishes(model, [WISH], around(model), RECIPE)


def test_a_key_that_is_nothing_on_a_layers_columns_is_given_nothing_there() -> None:
    def planned() -> Plan:
        model = tiny("gpt2")
        plan = Plan(model, around(model), replace(RECIPE, rounds=0), [WISH])
        plan.search([WISH])
        return plan

    plan, silent = planned(), planned()
    (one,) = silent.solved
    silent.solved[0] = replace(one, keys={n: torch.cat([keys, torch.zeros_like(keys)]) for n, keys in one.keys.items()})
    for change, same in zip(plan.changes(), silent.changes(), strict=True):
        torch.testing.assert_close(change.new, same.new)


def test_prompts_count_besides_where_facts_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(mixture: Mixture, region: Region, count: int, *, besides: int = 0) -> None:
        seen.append((region.others, count, besides))
        original(mixture, region, count, besides=besides)

    seen: list[tuple[list[str], int, int]] = []
    original = Mixture.add_region
    monkeypatch.setattr(Mixture, "add_region", counted)
    model = tiny("llama")
    wishes = [replace(WISH, relation="told"), replace(FORGET, relation="forgotten")]
    plan = Plan(model, around(model), replace(RECIPE, rounds=0), wishes)
    plan.search(wishes)
    plan.changes()
    assert sorted(seen) == [([], 1, 0), ([], 1, 2)]


def test_a_search_asks_for_no_gradient_of_the_networks_own() -> None:
    model = tiny("llama")
    asking = [parameter for parameter in model.net.parameters() if parameter.requires_grad]
    assert asking
    Plan(model, around(model), RECIPE, [WISH]).search([WISH])
    assert all(parameter.grad is None and parameter.requires_grad for parameter in asking)


@pytest.mark.parametrize("rounds", [0, ROUNDS])
def test_changes_that_are_asked_for_once_are_the_same_and_let_go_of_what_they_are_solved_from(rounds: int) -> None:
    def planned() -> Plan:
        model = tiny("llama")
        plan = Plan(model, around(model), replace(RECIPE, rounds=rounds), [WISH, FORGET])
        plan.search([WISH, FORGET])
        return plan

    plan, frugal = planned(), planned()
    for change, same in zip(plan.changes(), frugal.changes(once=True), strict=True):
        assert torch.equal(change.new, same.new)
    kept = () if rounds == 0 else RECIPE.layers
    assert tuple(frugal._mixture._totals) == kept
    assert [tuple(one.keys) for one in frugal.solved] == [kept, kept]
    assert [one.target.left for one in frugal.solved] == [one.target.left for one in plan.solved]
    assert plan.changes()


def test_a_plan_tells_how_many_wishes_have_been_searched() -> None:
    model = tiny("llama")
    wishes = [WISH, Wish("Spain", "Spain", ("the capital city of Spain {object}",), "Oslo", None, (), "capital")]
    heard: list[int] = []
    solve_wishes(model, wishes, around(model), replace(RECIPE, together=1, rounds=0), searched=heard.append)
    assert heard == [1, 2]


def test_contexts_whose_keys_are_unlike_the_first_are_solved_for_a_key_of_their_own() -> None:
    own, far = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.2]])
    keys = {0: torch.cat([own, far, own + 0.1 * far, 2 * far]), 1: torch.cat([own, far, own, far])}
    assert alike(keys) == ((0, 2), (1, 3))
    assert alike({0: torch.cat([own, own + 0.1 * far])}) == ((0, 1),)
    means = mean_keys(keys[0].double(), (2.0, 1.0, 2.0, 1.0), ((0, 2), (1, 3)))
    torch.testing.assert_close(means, torch.cat([own + 0.05 * far, 1.5 * far]).double())


def test_the_more_facts_the_more_layers_and_text_and_the_less_may_one_cost() -> None:
    one, many = (Recipe((3, 4)).for_facts(30, n) for n in (1, 500))
    assert (one.layers, many.layers) == ((3, 4), tuple(range(3, 9)))
    assert one.pricing.text < Recipe((3,)).pricing.text * 1.5
    assert many.pricing.text == Recipe((3,)).for_facts(30, 10_000).pricing.text > 150 * Recipe((3,)).pricing.text
    assert (Recipe((3,)).for_facts(30, 99).together, many.together) == (2, 1)
    assert [round(crowded(n), 1) for n in (0, 3, 12, 60)] == [1, 2.2, 9, 121]
    forgotten = Recipe((3,)).for_facts(30, 60, n_erased=60)
    assert forgotten.pricing.text == pytest.approx(Recipe((3,)).pricing.text * crowded(30))
    assert forgotten.layers == Recipe((3,)).for_facts(30, 60).layers
    assert forgotten.pricing.asked_by > 5 * Recipe((3,)).for_facts(30, 2, n_erased=2).pricing.asked_by > 0
    assert many.pricing.asked_by == 0
    assert 0 < one.search.worth < 5e-4 < many.search.worth < Recipe((3,)).for_facts(30, 10).search.worth
    assert (one.holding.worth, many.holding.worth) == (one.search.worth, many.search.worth)
    assert (one.rounds, many.rounds, many.in_full().rounds) == (ROUNDS, 0, ROUNDS)
    assert (one.ridge, Recipe((3,)).for_facts(30, 99).ridge, many.in_full().ridge) == (0, 0, 0)
    assert 0 < Recipe((3,)).for_facts(30, 200).ridge < many.ridge == Recipe((3,)).for_facts(30, 5_000).ridge
    assert (many.in_full().search.worth, many.in_full().holding.worth) == (0, 0)
    assert one.search.stop < 0.13 < many.search.stop < many.holding.stop
    assert (many.search.slack, many.search.good) == pytest.approx((2 * one.search.slack, 1), rel=0.01)


def test_a_fact_that_would_cost_too_much_is_given_up_and_told() -> None:
    model = tiny("llama")
    dear = replace(RECIPE, search=replace(RECIPE.search, worth=1e6), rounds=0)
    wishes = [WISH, Wish("Spain", "Spain", ("the capital city of Spain {object}",), "Oslo", None, (), "capital")]
    with pytest.raises(EditError, match="would harm the rest too much"):
        solve_wishes(model, wishes, around(model), dear)
    some = replace(RECIPE, search=replace(RECIPE.search, worth=30), rounds=0)
    limited, free = (solve_wishes(model, wishes, around(model), recipe).solved for recipe in (some, RECIPE))
    assert all(0 < one.target.steps < other.target.steps for one, other in zip(limited, free, strict=True))
    assert not any(one.target.converged for one in limited)


def test_forgetting_is_never_given_up_whatever_it_costs() -> None:
    model = tiny("llama")

    def searched(worth: float) -> Target:
        plan = Plan(model, around(model), replace(RECIPE, search=replace(RECIPE.search, worth=worth)), [FORGET])
        plan.search([FORGET])
        return plan.solved[0].target

    free, dear = searched(0.0), searched(1e6)
    assert (dear.converged, dear.given_up, dear.left) == (True, False, 0)
    assert dear.steps == free.steps > 0


def test_what_is_forgotten_is_looked_at_in_the_end_and_not_corrected() -> None:
    model = tiny("llama")
    short = replace(RECIPE, search=Search(steps=1, reach=0.01, good=0.0))
    once, held = (solve_wishes(model, [FORGET], around(model), replace(short, rounds=n)) for n in (0, 4))
    assert all(torch.equal(one.new, other.new) for one, other in zip(once.changes, held.changes, strict=True))
    found = held.solved[0].target
    assert not found.converged
    texts = [one.text for one in contexts_of(FORGET, SENTENCES, RECIPE.variety_of(FORGET, at_answer=False))]
    priors = subject_free(model, FORGET, texts, RECIPE.neutral)
    allowed = [bound / RECIPE.margin for bound in bounds_of(priors, margin=RECIPE.margin, share=RECIPE.usual)]
    with edited(model, held.changes):
        said = [chance(model, text, FORGET.answer)[0] for text in texts]
    lacking = [math.log(probability / most) for probability, most in zip(said, allowed, strict=True)]
    assert found.worst == pytest.approx(max(lacking), abs=1e-4)
    assert found.left == once.solved[0].target.left


def test_forgetting_asks_no_other_wordings_that_begin_with_a_subject_of_one_token() -> None:
    def asked(name: str, wish: Wish) -> list[int]:
        model = tiny(name)
        recipe = replace(RECIPE, erasing=Variety(prefixes=1, wordings=2, bare=True), variety=Variety(1, 2))
        sought = Plan(model, around(model), recipe, [wish])._sought_of(wish)
        assert len(sought.weights) == len(sought.queries)
        assert sought.operation == "update" or len(sought.priors) == len(sought.queries)
        return [-1 if query.neurons is None else query.neurons[-1] for query in sought.queries]

    others = ("Japan has the capital {object}", "Japan has the capital city {object}")
    wish = replace(FORGET, texts=("Japan has {object}", "the capital of Japan is {object}"), wordings=others)
    first, *rest = asked("llama", wish)
    assert first == 0
    assert rest
    assert 0 not in rest
    assert asked("llama", replace(wish, new="Rome")).count(0) > 1
    assert asked("bert", wish) == [-1] * 5  # it is edited at the answer, and asked all


@pytest.mark.parametrize(
    ("text", "new", "told"),
    [
        ("Japan has {object}", None, (1, 2, 3)),
        ("Japan has {object}", "Rome", (0, 1, 2, 3)),
        ("the capital of Japan is {object}", None, (0, 1, 2, 3)),
    ],
)
def test_where_two_keys_are_too_dear_one_speaks_for_all_but_what_is_forgotten_at_the_texts_beginning(
    text: str, new: str | None, told: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "alike", lambda _: ((0,), (1, 2, 3)))
    monkeypatch.setattr(groups, "APART", 1e9)
    model = tiny("llama")
    wish = replace(FORGET, new=new, texts=(text,))
    plan = Plan(model, around(model), replace(RECIPE, variety=Variety(3, 0), erasing=Variety(3, 0), rounds=0), [wish])
    plan.search([wish])
    assert plan._groups == [(told,)]
    assert [len(keys) for keys in plan.solved[0].keys.values()] == [1, 1]
    assert plan.changes()


def test_no_wording_may_say_what_few_say_without_the_subject() -> None:
    priors = [1e-2, 4e-2, 1e-5, 1e-3, 2e-6]
    assert bounds_of(priors, margin=0.05, share=0.25) == pytest.approx((1e-5, 1e-5, 5e-7, 1e-5, 1e-7))
    assert bounds_of(priors, margin=0.05, share=0.8) == pytest.approx([0.05 * prior for prior in priors])
    assert bounds_of([0.5], margin=0.1, share=0.25) == pytest.approx((0.05,))


def test_an_answer_that_is_unlikely_enough_is_not_searched_further_whatever_its_prior() -> None:
    model = tiny("llama")
    recipe = replace(RECIPE, margin=0.1, usual=0.25)
    plain, enough = (
        Plan(model, around(model), recipe, [FORGET])._sought_of(replace(FORGET, enough=least)).priors
        for least in (0.0, 0.5)
    )
    assert max(plain) < 0.02
    assert enough == pytest.approx([0.05] * len(plain))
    found = solve_wishes(model, [WISH, replace(FORGET, enough=0.99)], around(model), RECIPE).solved[1]
    assert found.target.converged
    assert not any(offset.any() for offset in found.target.offsets.values())
    many = [replace(FORGET, target=str(number), enough=0.99) for number in range(7)]
    with pytest.raises(EditError, match=r"changes nothing.*need not be forgotten") as caught:
        solve_wishes(model, many, around(model), RECIPE)
    assert caught.value.where == "0; 1; 2; 3; 4; and 2 more"


SPAIN = Wish("Spain", "Spain", ("the capital city of Spain {object}",), "Oslo", None, (), "capital")


def test_what_cannot_be_solved_is_left_out_and_what_was_found_for_the_others_is_not_searched_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny("llama")
    lame = Wish("x", "Oslo", WISH.texts, "Rome")  # its subject is not in its prompt
    searched: list[str] = []
    search, changes = Plan._sought_of, Plan.changes

    def noted(plan: Plan, wish: Wish) -> Sought:
        searched.append(wish.target)
        return search(plan, wish)

    def stubborn(plan: Plan) -> tuple[ValueChange, ...]:
        found = changes(plan)
        for number, one in enumerate(plan.solved):
            if one.wish is SPAIN:
                plan.solved[number] = replace(one, target=replace(one.target, converged=False, given_up=True))
        return found

    monkeypatch.setattr(Plan, "_sought_of", noted)
    monkeypatch.setattr(Plan, "changes", stubborn)
    found = solve_wishes(model, [SPAIN, lame, WISH], around(model), replace(RECIPE, together=1), skip=True)
    assert [one.wish for one in found.solved] == [WISH]
    assert list(found.lost) == ["x", "Spain"]
    assert "would harm the rest more than many others' together, and was given up" in found.lost["Spain"]
    assert sorted(searched) == ["France", "Spain", "x"]
    assert all(set(change.indices) <= set(found.solved[0].columns[change.layer]) for change in found.changes)
    with edited(model, found.changes):
        assert chance(model, WISH.texts[0], "Rome")[0] > 0.5
    nothing = solve_wishes(model, [SPAIN, lame], around(model), RECIPE, skip=True)
    assert (nothing.changes, nothing.solved, sorted(nothing.lost)) == ((), (), ["Spain", "x"])


def test_facts_searched_side_by_side_are_all_in_the_plan_once_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    chosen = Plan._columns

    def some(plan: Plan, noise: Noise, keys: torch.Tensor, layer: int) -> tuple[tuple[int, ...], float]:
        return ((), 0.0) if silent(keys, layer) else chosen(plan, noise, keys, layer)

    monkeypatch.setattr(Plan, "_columns", some)
    asked = [(wish.subject, prompt(wish.texts[0], "Oslo")) for wish in (WISH, SPAIN)]
    own = keys_at_sites(
        model, [encode_prompt(model, one, where="subject", subject=s) for s, one in asked], RECIPE.layers
    )

    def silent(keys: torch.Tensor, layer: int) -> bool:
        france, spain = torch.cosine_similarity(keys.mean(0), own[layer].double())
        return bool(spain > france)

    plan = Plan(model, around(model), RECIPE, [WISH, SPAIN])
    assert plan.try_search([WISH, SPAIN]) == {"Spain": "the subject moves no neuron of the layers"}
    assert [one.wish for one in plan.solved] == [WISH]
    assert len(plan.changes()) == len(RECIPE.layers)


def test_wishes_of_several_relations_are_solved_together_in_any_order() -> None:
    model = tiny("llama")
    surroundings = around(model)
    other = replace(surroundings, neighbours=lambda _: surroundings.neighbours("capital"))
    wishes = [WISH, Wish("Spain", "Spain", ("the capital city of Spain {object}",), "Oslo", None, (), "seat")]
    first, second = (solve_wishes(model, some, other, RECIPE) for some in (wishes, wishes[::-1]))
    assert [one.wish.target for one in second.solved] == ["Spain", "France"]
    for one, two in zip(first.changes, second.changes, strict=True):
        assert one.indices == two.indices
        torch.testing.assert_close(one.new, two.new, rtol=1e-5, atol=1e-6)


def test_columns_that_earlier_edits_changed_are_changed_again_unless_they_are_barred() -> None:
    model = tiny("llama")
    plain = solve_wishes(model, [WISH], around(model), RECIPE).changes[0]
    others = [column for column in range(model.layout.ffn_width) if column not in plain.indices][:3]
    spent = replace(around(model), spent={0: frozenset(others)}, barred={0: frozenset(others[:1])})
    found = solve_wishes(model, [WISH], spent, RECIPE)
    assert set(found.changes[0].indices) == {*plain.indices, *others[1:]}
    assert found.changes[1].indices == solve_wishes(model, [WISH], around(model), RECIPE).changes[1].indices
    with edited(model, found.changes):
        assert chance(model, WISH.texts[0], "Rome")[1]
