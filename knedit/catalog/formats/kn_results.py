"""Result files of Dai et al.'s code: scores of a fact's prompts (*.rlt.jsonl), neurons of facts (kn_bag-*.json).

Both are in the order of query_pairs.json, so a fact's key is its relation and place there, as kn_paper tells it.
Knows nothing of the facts themselves. Source: the code of "Knowledge Neurons in Pretrained Transformers", ACL 2022.
"""

import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unicodedata import category, normalize

from knedit.catalog.formats.kn_paper import DATASET, position_key
from knedit.catalog.formats.shapes import Glimpse
from knedit.catalog.formats.streams import Fault, each, lines, numbered_elements, parse, reader
from knedit.catalog.formats.values import BrokenError, kind, listing, mapping, parts, place, text
from knedit.errors import FactsError
from knedit.records import BLANK, Prompt, PublishedNeurons, PublishedScores

METHODS = ("ig_gold", "ig_pred", "base")  # integrated gradients of the answer and of the prediction; activations
GOLD, BASE = METHODS[0], METHODS[-1]  # by which kn_bag-*.json and the published baseline were found

FLOOR = 0.1  # of a prompt's highest score: their code stores nothing below it

_SCORES = "*.rlt.jsonl"
_NEURONS = re.compile(r"(base_)?kn_bag-([^/]+)\.json")
_ENDS = ("[CLS]", "[SEP]", "[PAD]")
_MASKS = re.compile(r"(\[MASK\])+")
_RELATION = re.compile(r"P\d+")


def fits_scores(glimpse: Glimpse) -> bool:
    return glimpse.has(_SCORES) or glimpse.path.name.endswith(".rlt.jsonl")


def fits_neurons(glimpse: Glimpse) -> bool:
    return glimpse.has("*kn_bag-*.json") or bool(_NEURONS.fullmatch(glimpse.path.name))


@reader
def read_scores(path: Path, fault: Fault) -> Iterator[PublishedScores]:
    """Yield every prompt's stored scores, by method; the file's name tells the relation, the line the fact."""
    for file in [path] if path.is_file() else sorted(path.glob(_SCORES)):
        found = _RELATION.findall(file.name)
        if not found:
            raise FactsError("The file's name holds no relation", str(file), "Name it as TREx-all-P101.rlt.jsonl.")
        numbered = ((f"{file}, line {number}", (number - 1, line)) for number, line in lines(file, fault))
        yield from each(numbered, partial(_scores, found[-1]), fault)


@reader
def read_neurons(path: Path, fault: Fault) -> Iterator[PublishedNeurons]:
    """Yield every fact's neurons, also where it has none, in the order of the facts."""
    for file in [path] if path.is_file() else sorted(path.glob("*kn_bag-*.json")):
        named = _NEURONS.fullmatch(file.name)
        if named is None:
            raise FactsError("The file's name holds no relation", str(file), "Name it as kn_bag-P101.json.")
        method = BASE if named[1] else GOLD
        yield from each(numbered_elements(file, fault), partial(_bag, method, named[2]), fault)


def told_words(scores: PublishedScores) -> tuple[str, str]:
    """Return prompt and answer of scores as `kept_words` returns those of the prompt that they are of."""
    tokens = [token for token in scores.tokens if token not in _ENDS]
    words = "".join(token.removeprefix("##") for token in tokens)
    return _plain(_MASKS.sub(BLANK, words)), _plain(scores.answer)


def kept_words(prompt: Prompt) -> tuple[str, str]:
    """Return a prompt's words and answer as BERT's tokens tell them: without blanks, case and accents."""
    return _plain(prompt.text), _plain(prompt.answer or "")


def _plain(words: str) -> str:
    parted = normalize("NFKD", words.casefold())
    return "".join(sign for sign in parted if not (sign.isspace() or category(sign).startswith("M")))


def neurons(value: Any) -> tuple[tuple[int, int], ...]:
    """Return a list of [layer, index]."""
    pairs = (parts(pair, "The parts of a neuron", 2) for pair in listing(value, "The neurons"))
    return tuple((place(layer, "The layer"), place(index, "The index")) for layer, index in pairs)


def _bag(method: str, relation: str, numbered: tuple[int, Any]) -> list[PublishedNeurons]:
    number, value = numbered
    return [PublishedNeurons(DATASET, position_key(relation, number), neurons(value), method)]


def _scores(relation: str, numbered: tuple[int, bytes]) -> list[PublishedScores]:
    number, line = numbered
    key, found = position_key(relation, number), list[PublishedScores]()
    for prompt, pair in enumerate(listing(parse(line), "The prompts")):
        told, stored = parts(pair, "The parts of a prompt", 2)
        tokens = mapping(told, "The first part", ("tokens", "gold_obj"))
        words = tuple(text(token, "A token") for token in listing(tokens["tokens"], "The tokens"))
        answer = text(tokens["gold_obj"], "The answer")
        by_method = {method: mapping(stored, "The second part", ()).get(method, []) for method in METHODS}
        found += [
            PublishedScores(DATASET, key, prompt, method, words, answer, _triplets(triplets))
            for method, triplets in by_method.items()
            if triplets
        ]
    return found


def _triplets(value: Any) -> tuple[tuple[int, int, float], ...]:
    triplets = (parts(triplet, "The parts of a score", 3) for triplet in listing(value, "The scores"))
    scores = {
        (place(layer, "The layer"), place(index, "The index")): _number(score) for layer, index, score in triplets
    }
    if len(scores) < len(value):
        raise BrokenError("A neuron stands twice among the scores of a prompt", "Give it one score.")
    return tuple((*neuron, score) for neuron, score in scores.items())


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BrokenError(f"The score is {kind(value)}", "Write a number.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BrokenError("The score is too great", "Write a number that a double can hold.")
    return number
