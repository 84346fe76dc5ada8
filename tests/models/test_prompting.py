"""From wordings to tokens, with tokenizers that space, open and close a text in different ways."""

from typing import Any

import pytest
import transformers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from knedit.errors import ModelError
from knedit.models.model import Model, wrap_model
from knedit.models.prompting import (
    Blank,
    Query,
    blank_text,
    closing_tokens,
    encode_prompt,
    encode_text,
    ends_in_answer,
    first_token,
    token_count,
    usable,
)
from knedit.records import Prompt
from tests.tiny_models import SPEAKING, VOCABULARY, network, sentinel_tokenizer, tokenizer

CLS, SEP, MASK = 2, 3, 4
SPACED = [
    "[UNK]",
    "[MASK]",
    "<s>",
    "</s>",
    "the",
    "▁the",
    "▁capital",
    "▁is",
    "▁a",
    "a",
    "city:",
    "▁city:",
    "Paris",
    "▁Paris",
]


@pytest.fixture(scope="module")
def causal() -> Model:
    return wrap_model(network("gpt2"), tokenizer(masked=False))


@pytest.fixture(scope="module")
def masked() -> Model:
    return wrap_model(network("bert"), tokenizer(masked=True))


@pytest.fixture(scope="module")
def filling() -> Model:
    return wrap_model(network("t5"), sentinel_tokenizer())


def spaced(name: str, template: str = "$A", **names: str) -> Model:
    """Return a model whose tokenizer tells `Paris` from ` Paris`, and frames a text as `template` says."""
    places = {word: number for number, word in enumerate(SPACED)}
    words = Tokenizer(models.WordLevel(places, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    words.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(token, places[token]) for token in ("<s>", "</s>")]
    )
    fast: Any = transformers.PreTrainedTokenizerFast
    mask = AddedToken("[MASK]", lstrip=True)
    return wrap_model(network(name), fast(tokenizer_object=words, unk_token="[UNK]", mask_token=mask, **names))


def ids(text: str) -> tuple[int, ...]:
    return tuple(VOCABULARY[word] for word in text.split())


def places(text: str) -> tuple[int, ...]:
    return tuple(SPACED.index(word) for word in text.split())


def ask(text: str, answer: str | None) -> Prompt:
    return Prompt.make(1, "attribute", text, answer)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("the capital is {object}", True),
        ("the capital is {object}.", True),
        ("the capital is {object} .", True),
        ('they call it "{object}".', True),
        ("they call it «{object}»!", True),
        ("is it ({object})?", True),
        ("is it {object}…", True),
        ("the capital is {object} now", False),
        ("the capital is {object}, now", False),
        ("the capital is {object},", False),
        ("{object}", False),
        (" {object}.", False),
        ("{object} is the capital", False),
        ("the capital is", False),
        ("", False),
    ],
)
def test_a_text_ends_in_its_answer_closing_marks_aside(text: str, ends: bool) -> None:
    assert ends_in_answer(text) is ends


def test_who_can_be_asked_what(causal: Model, masked: Model) -> None:
    prompts = [
        ask("it is {object} .", "Rome"),
        ask("{object} is big", "Rome"),
        ask("it is", "Rome"),
        ask("a {object}", None),
    ]
    assert [usable(causal, prompt) for prompt in prompts] == [True, False, False, False]
    assert [usable(masked, prompt) for prompt in prompts] == [True, True, False, False]


def test_a_causal_prompt_reads_up_to_the_answer(causal: Model) -> None:
    found = encode_prompt(causal, ask("the capital of France is {object} .", "Paris"))
    assert found == Query(ids("the capital of France is"), ids("Paris"), (4,))


def test_a_causal_answer_of_several_tokens_is_teacher_forced(causal: Model) -> None:
    found = encode_prompt(causal, ask("people speak {object}", "the old language"))
    assert found == Query(ids("people speak the old"), ids("the old language"), (1, 2, 3))


def test_an_encoder_reads_a_sentinel_and_the_decoder_is_led_by_it(filling: Model) -> None:
    blank, close = SPEAKING["<extra_id_0>"], SPEAKING["</s>"]
    middle = ask("they speak {object} .", "the old language")
    context = (*ids("they speak"), blank, *ids("."), close)
    assert usable(filling, middle)
    expected = Query((0, blank, *ids("the old")), ids("the old language"), (1, 2, 3), context=context)
    assert encode_prompt(filling, middle) == expected
    assert encode_text(filling, "they speak <extra_id_0> .", "the old language") == expected
    assert blank_text(filling, "they speak {object} .") == Blank((0, blank), (), context)
    assert blank_text(filling, "they speak") == Blank((0, blank), (), (*ids("they speak"), blank, close))
    assert closing_tokens(filling) == {SPEAKING["<extra_id_1>"], close}


@pytest.mark.parametrize("text", ["they speak", "<extra_id_0> speak <extra_id_0>"])
def test_an_encoder_needs_one_sentinel(filling: Model, text: str) -> None:
    with pytest.raises(ModelError, match=r"the prompt has [02] sentinels, not one"):
        encode_text(filling, text, "Rome")


def test_an_encoder_decoder_whose_tokenizer_has_no_sentinels_is_refused() -> None:
    model = wrap_model(network("t5"), tokenizer(masked=False))
    with pytest.raises(ModelError, match="no <extra_id_0>"):
        encode_text(model, "they speak <extra_id_0>", "Rome")


def test_a_masked_prompt_has_one_mask_for_each_token_of_the_answer(masked: Model) -> None:
    assert encode_prompt(masked, ask("{object} is a city", "Paris")) == Query(
        (CLS, MASK, *ids("is a city"), SEP), ids("Paris"), (1,)
    )
    assert encode_prompt(masked, ask("they speak {object} .", "the old language")) == Query(
        (CLS, *ids("they speak"), MASK, MASK, MASK, *ids("."), SEP), ids("the old language"), (3, 4, 5)
    )


def test_a_text_is_read_as_it_stands(causal: Model, masked: Model) -> None:
    assert encode_text(causal, "the capital of", " Spain is") == Query(
        ids("the capital of Spain"), ids("Spain is"), (2, 3)
    )
    found = encode_text(masked, "the [MASK] of [MASK]", " Spain is ")
    assert found == Query((CLS, *ids("the"), MASK, *ids("of"), MASK, SEP), ids("Spain is"), (2, 4))


def test_the_answers_token_is_the_one_that_its_place_asks_for() -> None:
    model = spaced("gpt2")
    assert encode_prompt(model, ask("the capital is {object}", "Paris")) == Query(
        places("the ▁capital ▁is"), places("▁Paris"), (2,)
    )
    assert encode_text(model, "the capital is", " Paris").answers == places("▁Paris")
    filled = spaced("bert")
    assert encode_prompt(filled, ask("the {object} is", "Paris")) == Query(
        places("the [MASK] ▁is"), places("▁Paris"), (1,)
    )
    assert encode_prompt(filled, ask("{object} is", "Paris")) == Query(places("[MASK] ▁is"), places("Paris"), (0,))


def test_an_answer_that_would_melt_into_the_prompt_is_tokenised_apart() -> None:
    found = encode_prompt(spaced("gpt2"), ask("the city:{object}", "Paris"))
    assert found == Query(places("the ▁city:"), places("Paris"), (1,))


@pytest.mark.parametrize(
    ("template", "opening"),
    [("<s> $A", "<s>"), ("$A </s>", ""), ("<s> $A </s>", "<s>"), ("</s> $A </s>", "</s>"), ("$A </s> </s>", "")],
)
def test_an_opening_token_is_read_and_a_closing_one_is_not(template: str, opening: str) -> None:
    model = spaced("llama", template, bos_token="<s>", eos_token="</s>")
    first = places(opening)
    start = len(first)
    assert encode_prompt(model, ask("the capital is {object} .", "Paris a")) == Query(
        (*first, *places("the ▁capital ▁is ▁Paris")), places("▁Paris ▁a"), (start + 2, start + 3)
    )
    assert encode_prompt(model, ask("the city:{object}", "Paris")) == Query(
        (*first, *places("the ▁city:")), places("Paris"), (start + 1,)
    )
    assert blank_text(model, "the capital is {object} .") == Blank((*first, *places("the ▁capital ▁is")), ())
    assert token_count(model, "Paris a") == 2
    assert first_token(model, "Paris a") == SPACED.index("▁Paris")


def test_a_spaced_answer_counts_alike_where_the_tokenizer_opens_every_text_with_a_space() -> None:
    """As Llama 2's tokenizer.json does: ` Paris` by itself would be two spaces and a word."""
    pieces = ["<unk>", "<s>", "▁", "▁▁", "▁P", "▁Paris", "P", "aris", "▁a", "a", "▁is", "is"]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    merges = [("▁", "P"), ("▁P", "aris"), ("▁", "▁"), ("▁", "a"), ("▁", "is")]
    words = Tokenizer(
        models.BPE(
            {**numbers, **{c: 20 + n for n, c in enumerate("rs")}, "i": 30, "ar": 31, "ari": 32},
            [("a", "r"), ("ar", "i"), ("ari", "s"), ("i", "s"), *merges],
            unk_token="<unk>",
        )
    )
    words.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast: Any = transformers.PreTrainedTokenizerFast
    model = wrap_model(network("llama"), fast(tokenizer_object=words, unk_token="<unk>", bos_token="<s>"))
    assert encode_prompt(model, ask("a {object}", "Paris")) == Query((1, numbers["▁a"]), (numbers["▁Paris"],), (1,))
    assert (token_count(model, "Paris"), first_token(model, "Paris")) == (1, numbers["▁Paris"])
    assert (token_count(model, "Paris is"), first_token(model, "Paris is")) == (2, numbers["▁Paris"])


@pytest.mark.parametrize("answer", ["Atlantis", "the Atlantis"])
def test_an_answer_outside_the_vocabulary_is_refused(causal: Model, masked: Model, answer: str) -> None:
    for model in (causal, masked):
        with pytest.raises(ModelError, match=f"{answer}' is not in the model's vocabulary"):
            encode_prompt(model, ask("the city is {object}", answer))
        with pytest.raises(ModelError, match="vocabulary"):
            token_count(model, answer)


def test_an_empty_prompt_or_answer_is_refused(causal: Model, masked: Model) -> None:
    for model in (causal, masked):
        for text in ("", " \n"):
            with pytest.raises(ModelError, match="the prompt is empty"):
                encode_text(model, text, "Rome")
            with pytest.raises(ModelError, match="the answer is empty"):
                encode_text(model, "the [MASK]", text)


def test_a_prompt_of_which_the_tokenizer_leaves_nothing_is_refused() -> None:
    model = wrap_model(network("gpt2"), tokenizer(masked=False))
    model.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("~", "")
    with pytest.raises(ModelError, match="the prompt has no tokens"):
        encode_text(model, "~~", "Rome")


@pytest.mark.parametrize(
    ("text", "answer", "words"),
    [
        ("the [MASK] of Spain", "big city", "1 mask tokens and the answer 2 tokens"),
        ("the [MASK] [MASK] of Spain", "city", "2 mask tokens and the answer 1 tokens"),
        ("the city of Spain", "city", "0 mask tokens and the answer 1 tokens"),
    ],
)
def test_masks_and_answer_must_be_equal_in_number(masked: Model, text: str, answer: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        encode_text(masked, text, answer)


def test_a_masked_model_whose_tokenizer_has_no_mask_is_refused() -> None:
    model = wrap_model(network("bert"), tokenizer(masked=False))
    with pytest.raises(ModelError, match="no mask token"):
        encode_text(model, "the city", "Rome")


def test_a_prompt_may_fill_the_models_positions_but_not_more(causal: Model, masked: Model) -> None:
    assert len(encode_text(causal, "the " * 40, "Rome").tokens) == 40
    assert len(encode_text(causal, "the " * 38, "Rome is big").tokens) == 40
    assert len(encode_text(masked, "the " * 37 + "[MASK]", "Rome").tokens) == 40
    for model, text, answer in (
        (causal, "the " * 41, "Rome"),
        (causal, "the " * 39, "Rome is big"),
        (masked, "the " * 38 + "[MASK]", "Rome"),
    ):
        with pytest.raises(ModelError, match="the prompt has 41 tokens, the model takes 40"):
            encode_text(model, text, answer)


def test_robertas_positions_begin_after_the_padding_token() -> None:
    """It has 42 positions, and those from 1, padding_idx + 1, on are used."""
    model = wrap_model(network("roberta"), tokenizer(masked=True))
    query = encode_text(model, "the " * 38 + "[MASK]", "Rome")
    assert len(query.tokens) == 41
    with pytest.raises(ModelError, match="the prompt has 42 tokens, the model takes 41"):
        encode_text(model, "the " * 39 + "[MASK]", "Rome")


def test_a_text_to_go_on_from_ends_at_its_blank(causal: Model, masked: Model) -> None:
    assert blank_text(causal, "the capital of {object} .") == Blank(ids("the capital of"), ())
    assert blank_text(causal, "in Japan people live") == Blank(ids("in Japan people live"), ())
    assert blank_text(masked, "the {object} .") == Blank((CLS, *ids("the"), MASK, *ids("."), SEP), (2,))
    assert blank_text(masked, "in Japan") == Blank((CLS, *ids("in Japan"), SEP), ())


def test_a_text_to_go_on_from_must_have_tokens_and_fit(causal: Model, masked: Model) -> None:
    with pytest.raises(ModelError, match="the prompt has no tokens"):
        blank_text(causal, "{object} is a city")
    for model in (causal, masked):
        with pytest.raises(ModelError, match="the model takes 40"):
            blank_text(model, "the " * 41)
