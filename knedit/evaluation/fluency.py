"""How a text reads, by its n-grams: the published fluency, and how much of it is said again.

Fluency is 100 · ½ · (⅔ H₂ + ⁴⁄₃ H₃), H_n the entropy in bits of the text's n-grams of words: a text that repeats itself
has little of it. Source: Zhang et al. 2018 as used by Meng et al., NeurIPS 2022 (there GE), whose texts are 100 tokens
drawn from the 5 likeliest. Words are runs of letters and digits, and single marks: knedit's own tokenizer, so figures
are near the published ones, not equal. Knows no catalog and no edits.
"""

import re
from collections import Counter
from math import log2

import torch

from knedit.models.hooks import frozen
from knedit.models.model import Model
from knedit.models.prompting import blank_text, closing_tokens

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_")
LENGTH, TOP = 100, 5


def fluency(text: str) -> float:
    """Return 100 times the weighted mean of the entropies of a text's bigrams and trigrams, in bits."""
    words = split_words(text)
    return 100 * (2 / 3 * entropy(words, 2) + 4 / 3 * entropy(words, 3)) / 2


def repetition(text: str) -> float:
    """Return the share of a text's trigrams of words that were there before in it, 0 where it has none."""
    grams = _grams(split_words(text), 3)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def split_words(text: str) -> list[str]:
    """Return the words and marks of a text."""
    return _WORD.findall(text)


def entropy(words: list[str], n: int) -> float:
    """Return the entropy in bits of the n-grams of some words, 0 where there is at most one."""
    grams = _grams(words, n)
    shares = [count / len(grams) for count in Counter(grams).values()]
    return -sum(share * log2(share) for share in shares)


def _grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[first : first + n]) for first in range(len(words) - n + 1)]


@torch.no_grad()
def draw(model: Model, text: str, *, seed: int, length: int = LENGTH) -> str:
    """Return a text with what the model goes on to say, each token drawn from the 5 likeliest: `length` tokens in all.

    The same seed draws the same text. Raises ModelError if the text is nothing, or more than the model takes.
    """
    chance = torch.Generator().manual_seed(seed)
    stops = closing_tokens(model)
    with frozen(model.net):
        given = list(blank_text(model, text).tokens)
        limit = min(length, model.max_tokens or length)
        feed, cache, written = given, None, list(given)
        while len(written) < limit:
            found = model.net(torch.tensor([feed], device=model.device), past_key_values=cache, use_cache=True)
            cache = found.past_key_values
            best = found.logits[0, -1].double().cpu().topk(TOP)
            token = int(best.indices[torch.multinomial(best.values.softmax(-1), 1, generator=chance)])
            if token in stops:
                break
            written.append(token)
            feed = [token]
    said: str = model.tokenizer.decode(written, skip_special_tokens=True)
    return said
