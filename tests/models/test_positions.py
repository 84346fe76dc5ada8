"""Places in a prompt by name, for a causal and a masked model."""

from typing import Any

import pytest

from knedit.errors import KneditError
from knedit.models.model import Model, wrap_model
from knedit.models.prompting import encode_prompt
from knedit.records import Prompt
from tests.tiny_models import network, tokenizer

SUBJECT = "Kenya Nairobi"


@pytest.fixture(scope="module")
def causal() -> Model:
    return wrap_model(network("gpt2"), tokenizer(masked=False))


@pytest.fixture(scope="module")
def masked() -> Model:
    return wrap_model(network("bert"), tokenizer(masked=True))


def neurons(model: Model, where: str, text: str = f"the big {SUBJECT} is {{object}} .", **more: Any) -> Any:
    prompt = Prompt.make(1, "attribute", text, "Paris and")
    return encode_prompt(model, prompt, where=where, **({"subject": SUBJECT} | more)).neurons


@pytest.mark.parametrize(
    ("where", "found"),
    [("answer", None), ("last", (4,)), ("subject", (2, 3)), ("subject-last", (3,)), ("1", (1,)), ("-1", (4,))],
)
def test_a_causal_models_places(causal: Model, where: str, found: tuple[int, ...] | None) -> None:
    assert neurons(causal, where) == found


@pytest.mark.parametrize(
    ("where", "found"),
    [("answer", None), ("last", (8,)), ("subject", (3, 4)), ("subject-last", (4,)), ("1", (1,)), ("-1", (9,))],
)
def test_a_masked_models_places_count_its_special_tokens(
    masked: Model, where: str, found: tuple[int, ...] | None
) -> None:
    assert neurons(masked, where) == found


def test_a_subject_told_twice_is_meant_where_it_stands_last(causal: Model) -> None:
    assert neurons(causal, "subject", "Kenya of big Kenya is {object}", subject="Kenya") == (3,)


@pytest.mark.parametrize(
    ("where", "more", "words"),
    [
        ("subject", {"subject": "Norway"}, "does not stand in the prompt"),
        ("subject-last", {"subject": None}, "does not stand in the prompt"),
        ("5", {}, "not among the prompt's tokens 0 … 4"),
        ("-6", {}, "not among the prompt's tokens 0 … 4"),
        ("middle", {}, "there is no position 'middle'"),
    ],
)
def test_a_place_that_is_not_there_gets_one_clear_error(
    causal: Model, where: str, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(KneditError, match=words):
        neurons(causal, where, **more)
