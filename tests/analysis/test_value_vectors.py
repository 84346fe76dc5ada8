"""What neurons say by their value vectors, also neurons that are silent at the fact's prompts."""

import torch

from knedit.analysis.sheet import Notes
from knedit.analysis.value_vectors import measure
from knedit.models.model import wrap_model
from knedit.models.prompting import encode_prompt
from knedit.records import Prompt
from tests.tiny_models import network, tokenizer_of


def test_a_neuron_that_never_fires_has_the_rank_that_its_value_vector_gives() -> None:
    net = network("opt normed after")
    for block in net.model.decoder.layers:
        torch.nn.init.constant_(block.fc1.bias, -1e4)
    model = wrap_model(net, tokenizer_of("opt normed after"))
    query = encode_prompt(model, Prompt.make(1, "attribute", "the capital of France is {object}", "Paris"))
    notes = Notes()
    measure(model, [query], [query], [(0, 3)], [(1, 5), (1, 6)], notes)
    ranks = {(note.series, note.key): note.value for note in notes.found if note.metric == "rank"}
    words = torch.stack([model.output_embedding(token).double() for token in range(model.n_embeddings)])
    expected = {}
    for series, layer, index in (("neurons", 0, 3), ("random", 1, 5), ("random", 1, 6)):
        logits = words @ model.value_vectors(layer, [index])[0].double()
        expected[series, f"{layer}:{index}"] = float((logits > logits[query.answers[0]]).sum() + 1)
    assert ranks == expected
    assert set(expected.values()) != {1.0}
