"""Each baseline against a literal loop, and integrals from it."""

import pytest
import torch

from knedit.attribution.attribute_prompt import attribute_queries
from knedit.attribution.base_pass import base_pass
from knedit.attribution.baselines import BASELINES
from knedit.attribution.method import Method
from knedit.errors import ModelError
from knedit.models.model import Model
from knedit.models.prompting import Query
from knedit.starter.sentences import edition, sentences
from tests.attribution.literal import FAMILIES, ask, neurons, tiny

TEXT = ("the capital of Japan is Tokyo .", "people speak a big language", "Oslo")


def w0(model: Model, query: Query, name: str, place: int = 0) -> torch.Tensor:
    return BASELINES[name](model, TEXT)(base_pass(model, [query], place), [query], place)


@pytest.mark.parametrize("name", FAMILIES)
def test_zero_is_nothing(name: str) -> None:
    model = tiny(name)
    query = ask(model)
    assert torch.equal(w0(model, query, "zero"), torch.zeros(model.layout.n_layers, 1, 1, model.layout.ffn_width))


@pytest.mark.parametrize("name", FAMILIES)
def test_mean_is_the_mean_over_all_words_of_the_text_but_a_causal_models_first(name: str) -> None:
    model = tiny(name)
    seen: list[torch.Tensor] = []
    for sentence in TEXT:
        tokens = model.tokenizer(sentence)["input_ids"]
        layers = torch.stack(neurons(model.net, tokens))
        words = [place for place, token in enumerate(tokens) if token not in model.tokenizer.all_special_ids]
        seen += [layers[:, place] for place in words if model.masked or place > 0]
    found = w0(model, ask(model), "mean")
    assert len(seen) == (13 if model.masked else 10)
    torch.testing.assert_close(found[:, 0, 0], torch.stack(seen).mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("answer", ["Paris", "Paris and Tokyo"])
@pytest.mark.parametrize("name", FAMILIES)
def test_mask_token_is_the_mean_over_prompts_with_one_word_hidden(name: str, answer: str) -> None:
    model = tiny(name)
    query = ask(model, answer=answer)
    place = len(query.answers) - 1
    hider = model.tokenizer.mask_token_id if model.masked else model.tokenizer.unk_token_id
    read = query.tokens if model.masked else query.tokens[: query.positions[place] + 1]
    seen = []
    for number, token in enumerate(read):
        if token not in model.tokenizer.all_special_ids:
            hidden = [*read[:number], hider, *read[number + 1 :]]
            seen.append(torch.stack(neurons(model.net, hidden))[:, query.positions[place]])
    found = w0(model, query, "mask-token", place)
    assert len(seen) == (8 if model.masked else 6 + len(query.answers))
    torch.testing.assert_close(found[:, 0, 0], torch.stack(seen).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("name", FAMILIES)
def test_scores_add_up_to_the_rise_from_any_baseline(name: str, baseline: str) -> None:
    model = tiny(name)
    query = ask(model)
    found = attribute_queries(model, [query], Method(rule="gauss", steps=48, baseline=baseline))[0]
    start = BASELINES[baseline](model, None)(base_pass(model, [query], 0), [query], 0)[:, 0, 0]
    for layer in range(model.layout.n_layers):
        rise = found.probability - probability_with(model, query, layer, start[layer])
        assert float(found.rise[layer]) == pytest.approx(rise, abs=1e-6)
    torch.testing.assert_close(found.scores.sum(-1), found.rise, rtol=0, atol=0.01 * float(found.rise.abs().max()))


def probability_with(model: Model, query: Query, layer: int, values: torch.Tensor) -> float:
    """Return the answer's probability by the whole network when one layer's neurons have other values."""

    def plant(_: object, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        changed = args[0].clone()
        changed[0, query.positions[0]] = values
        return (changed,)

    handle = model.downs[layer].register_forward_pre_hook(plant)
    with torch.no_grad():
        logits = model.net(torch.tensor([query.tokens])).logits[0, query.positions[0]]
    handle.remove()
    return float(logits.softmax(-1)[query.answers[0]])


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_has_each_prompts_own_baseline(name: str, baseline: str) -> None:
    model = tiny(name)
    queries = [ask(model, subject, "Rome") for subject in ("Japan", "Kenya")]
    method = Method(rule="midpoint", steps=3, baseline=baseline)
    together = attribute_queries(model, queries, method)
    for query, found in zip(queries, together, strict=True):
        alone = attribute_queries(model, [query], method)[0]
        torch.testing.assert_close(found.scores, alone.scores, rtol=1e-4, atol=1e-6)


def test_a_baseline_made_once_serves_many_calls() -> None:
    model = tiny("gpt2")
    method = Method(rule="midpoint", steps=3, baseline="mean", reference=TEXT)
    start = BASELINES["mean"](model, TEXT)
    found = attribute_queries(model, [ask(model)], method, start=start)[0]
    assert torch.equal(found.scores, attribute_queries(model, [ask(model)], method)[0].scores)


def test_a_text_of_single_words_has_no_mean_for_a_causal_model() -> None:
    with pytest.raises(ModelError, match="too few words for a mean"):
        BASELINES["mean"](tiny("gpt2"), ("Oslo", "Rome"))


def test_a_prompt_without_words_has_nothing_to_hide() -> None:
    model = tiny("bert")
    with pytest.raises(ModelError, match="no word to hide"):
        w0(model, Query((2, 4, 3), (20,), (1,)), "mask-token")


def test_a_tokenizer_without_any_hiding_token_is_refused() -> None:
    model = tiny("gpt2")
    query = ask(model)
    model.tokenizer.unk_token = None
    with pytest.raises(ModelError, match="no mask, end-of-text or unknown token"):
        w0(model, query, "mask-token")


def test_the_reference_text_is_forty_plain_sentences_of_known_edition() -> None:
    text = sentences()
    assert len(set(text)) == len(text) == 40
    assert all(sentence.isascii() and sentence.endswith(".") and len(sentence.split()) < 20 for sentence in text)
    assert edition() == "starter:f2c2e975428c"
