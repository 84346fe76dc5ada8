import pytest
import torch

from knedit.models.hooks import watched_inputs
from knedit.models.model import wrap_model
from knedit.models.prompting import Query
from knedit.models.token_activations import token_activations
from knedit.models.token_texts import token_pieces
from tests.tiny_models import MASKED, byte_tokenizer, network, tokenizer_of


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "albert of groups"])
def test_activations_at_every_token_are_what_the_down_projections_take(name: str) -> None:
    model = wrap_model(network(name), tokenizer_of(name))
    texts = ["the capital of France", "people live in a big old city of Japan", "Paris"]
    queries = [Query(tuple(model.tokenizer(text)["input_ids"]), (0,), (0,)) for text in texts]
    places = [(1, 7), (0, 3), (2, 20), (1, 8)]
    found = token_activations(model, queries, places)
    for query, rows in zip(queries, found, strict=True):
        downs = list(dict.fromkeys(model.downs))
        with torch.no_grad(), watched_inputs(downs) as seen:
            model.run(torch.tensor([query.tokens]))
        calls = [seen[downs.index(down)][model.downs[:n].count(down)][0] for n, down in enumerate(model.downs)]
        expected = torch.stack([calls[layer][:, index] for layer, index in places], 1)
        torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-5)


def test_a_texts_pieces_join_to_the_text_also_where_a_letter_is_two_tokens() -> None:
    net = network("qwen2")
    model = wrap_model(net, byte_tokenizer())
    text = "the café of Paris 日本!"
    pieces = token_pieces(model, model.tokenizer(text)["input_ids"])
    assert "".join(pieces) == text
    assert len(pieces) == len(model.tokenizer(text)["input_ids"])
    assert "" in pieces
    masked = wrap_model(network("bert"), tokenizer_of("bert"))
    assert "bert" in MASKED
    assert token_pieces(masked, masked.tokenizer("the city")["input_ids"]) == ["[CLS]", " the", " city", " [SEP]"]
