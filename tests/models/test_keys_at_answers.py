"""Keys where answers are due are what the method `activation` gives, token for token."""

import pytest
import torch

from knedit.attribution.attribute_prompt import attribute_queries
from knedit.attribution.method import Method
from knedit.models.model import Model, wrap_model
from knedit.models.planting import keys_at_answers
from knedit.models.prompting import Query, encode_text
from tests.tiny_models import network, tokenizer_of

ASKED = [("the capital of France is", "Paris"), ("people of Oslo live in", "the big city"), ("France is", "a city")]


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "mixtral", "t5"])
def test_values_where_the_answer_is_due_are_the_scores_of_the_method_activation(name: str) -> None:
    model = wrap_model(network(name), tokenizer_of(name))
    queries = [_query(model, text, answer) for text, answer in ASKED]
    assert any(len(query.answers) > 1 for query in queries)
    values = keys_at_answers(model, queries)
    for number, expected in enumerate(attribute_queries(model, queries, Method("activation"))):
        found = torch.stack([values[layer][number] for layer in range(model.layout.n_layers)])
        torch.testing.assert_close(found, expected.scores, rtol=1e-4, atol=1e-5)


def _query(model: Model, text: str, answer: str) -> Query:
    if model.encoder_decoder:
        return encode_text(model, f"{text} <extra_id_0>", answer)
    if model.masked:
        return encode_text(model, f"{text} {' '.join(['[MASK]'] * len(answer.split()))}", answer)
    return encode_text(model, text, f" {answer}")
