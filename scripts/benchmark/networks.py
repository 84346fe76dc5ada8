"""The networks that are measured, and prompts for them.

Random weights in the shape of BERT-base, GPT-2 (124M) and a Llama of a billion parameters, since speed does not depend
on what a network knows; and SmolLM2-135M, which knows something. `tiny` shrinks each to two layers, to see that
everything runs. Knows neither clocks nor contestants.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from knedit.catalog.formats.knedit_jsonl import read
from knedit.cli.demo import packaged_model
from knedit.flows.facts import starter_file
from knedit.models.loading import load_model
from knedit.models.model import Model, wrap_model
from knedit.models.precision import PRECISIONS
from knedit.models.prompting import Query, encode_prompt, usable
from knedit.records import Prompt

LENGTH = 12
MASK = 103
_TINY: Mapping[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_BILLION: Mapping[str, Any] = {
    "num_hidden_layers": 16,
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 8192,
    "vocab_size": 128_256,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
}


def _bert(tiny: bool) -> Any:
    shape: dict[str, Any] = {"vocab_size": 200, **_TINY} if tiny else {}
    return transformers.BertForMaskedLM(transformers.BertConfig(**shape))


def _gpt2(tiny: bool) -> Any:
    shape: dict[str, Any] = {
        "n_layer": 2,
        "n_embd": 32,
        "n_head": 4,
        "vocab_size": 200,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**(shape if tiny else {})))


def _llama(tiny: bool) -> Any:
    shape: Mapping[str, Any] = {**_BILLION, **_TINY, "num_key_value_heads": 2, "vocab_size": 200} if tiny else _BILLION
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape))


_RANDOM: Mapping[str, Callable[[bool], Any]] = {"bert-base": _bert, "gpt2": _gpt2, "llama-1b": _llama}


def network(name: str, *, device: str = "cpu", dtype: str = "float32", tiny: bool = False) -> Model:
    """Return a network, frozen, so that no contestant keeps what only weight gradients would need.

    A tiny SmolLM2 is a tiny random Llama. Raises ModelError if SmolLM2's package is not installed.
    """
    if name == "smollm2" and not tiny:
        model = load_model(packaged_model(), device=device, dtype=dtype)
    else:
        torch.manual_seed(0)
        with torch.device(device):
            net = _RANDOM["llama-1b" if name == "smollm2" else name](tiny).eval()
        net.to(dtype=PRECISIONS[dtype])
        model = wrap_model(net, numbers_tokenizer(net.config.vocab_size, masked=name == "bert-base"), source=name)
    model.net.requires_grad_(False)
    return model


def numbers_tokenizer(size: int, *, masked: bool) -> Any:
    """Return a tokenizer to which the text "17 5" is the tokens 17 and 5; a masked model's 103 is [MASK]."""
    words = {str(token): token for token in range(size)}
    if masked:
        words["[MASK]"] = words.pop(str(MASK))
    numbers = Tokenizer(models.WordLevel(words, unk_token="0"))
    numbers.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = ["input_ids", "token_type_ids", "attention_mask"] if masked else ["input_ids", "attention_mask"]
    fast: Any = transformers.PreTrainedTokenizerFast
    more = {"mask_token": "[MASK]"} if masked else {}
    return fast(tokenizer_object=numbers, model_input_names=names, **more)


def random_queries(model: Model, number: int, *, seed: int = 0) -> list[Query]:
    """Return prompts of 12 random tokens whose answer is what the network says; in BERT's the tenth is the mask."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(MASK + 1, model.net.config.vocab_size, (number, LENGTH), generator=draw)
    at = LENGTH - 3 if model.masked else LENGTH - 1
    if model.masked:
        tokens[:, at] = MASK
    with torch.no_grad():
        said = [int(model.net(row[None].to(model.device)).logits[0, at].argmax()) for row in tokens]
    return [Query(tuple(row), (answer,), (at,)) for row, answer in zip(tokens.tolist(), said, strict=True)]


def starter_queries(model: Model, *, length: int | None = None) -> list[Query]:
    """Return the queries of all starter prompts that the model can be asked, or of those with `length` tokens."""
    prompts = [p for p in read(starter_file()) if isinstance(p, Prompt) and p.role == "attribute" and usable(model, p)]
    queries = [encode_prompt(model, prompt) for prompt in prompts]
    return [q for q in queries if length is None or (len(q.tokens) == length and len(q.answers) == 1)]


def queries_for(name: str, model: Model, number: int, *, tiny: bool = False) -> list[Query]:
    """Return 12-token prompts with one answer token: SmolLM2's from the starter facts, the others' random."""
    if name == "smollm2" and not tiny:
        return spread(starter_queries(model, length=LENGTH), number)
    return random_queries(model, number)


def spread(queries: Sequence[Query], number: int) -> list[Query]:
    """Return `number` of the queries, evenly spaced, so that all relations are among them; all, if there are fewer."""
    taken = min(number, len(queries))
    return [queries[place * len(queries) // taken] for place in range(taken)]
