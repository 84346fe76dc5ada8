"""What a model says without the subject: the probability that an erased answer is brought down to.

The subject is replaced by words that could be anyone or anything. Knows no solve. Source: the bound is knedit's own;
ascent on the likelihood has none, and zeroing takes more than the fact.
"""

from collections.abc import Sequence
from itertools import product

import torch

from knedit.editing.wishes import Wish
from knedit.models.model import Model
from knedit.models.planting import Planting, plantable
from knedit.models.prompting import encode_prompt
from knedit.records import Prompt

NEUTRAL = ("it", "this", "that one", "someone")
_AT_ONCE = 32  # texts of a base pass, which holds what every block takes in


@torch.no_grad()
def subject_free(model: Model, wish: Wish, texts: Sequence[str], neutral: Sequence[str] = NEUTRAL) -> list[float]:
    """Return, for each text that holds the wish's subject, its answer's mean probability with neutral words instead."""
    prompts = [
        Prompt.make(0, "attribute", without_subject(text, wish.subject, word), wish.answer)
        for text, word in product(texts, neutral)
    ]
    queries = [encode_prompt(model, prompt) for prompt in prompts]
    chances = [0.0] * len(queries)
    groups = plantable(model, queries)
    for some in [group[n : n + _AT_ONCE] for group in groups for n in range(0, len(group), _AT_ONCE)]:
        planting = Planting(model, [queries[number] for number in some], ())
        for row, number in enumerate(some):
            places = [place for place, _ in planting.answers[row]]
            tokens = [token for _, token in planting.answers[row]]
            spread = model.logits(planting.base.hidden[row, places]).double().log_softmax(-1)
            chances[number] = float(spread[range(len(tokens)), tokens].sum().exp())
    rows = torch.tensor(chances, dtype=torch.float64).view(len(texts), len(neutral))
    return [float(chance) for chance in rows.mean(1)]


def forgotten_at(
    model: Model, wish: Wish, texts: Sequence[str], neutral: Sequence[str], *, margin: float, share: float
) -> tuple[float, ...]:
    """Return what each text's answer is brought down to, as `bounds_of` has it of its prior, or of what is enough."""
    priors = [max(prior, wish.enough) for prior in subject_free(model, wish, texts, neutral)]
    return bounds_of(priors, margin=margin, share=share)


def bounds_of(priors: Sequence[float], *, margin: float, share: float) -> tuple[float, ...]:
    """Return what each text's answer is brought down to: `margin` times its prior, and no text's more than is usual.

    Priors of one fact's texts differ a thousandfold, and those of unseen wordings with them: the prior that a `share`
    of the texts lie below is the most for each.
    """
    usual = sorted(priors)[int(share * len(priors))]
    return tuple(min(margin * prior, usual) for prior in priors)


def without_subject(text: str, subject: str, word: str) -> str:
    """Return a text with a word for the subject's last mention, with a capital where a sentence begins."""
    before, mention, after = text.rpartition(subject)
    assert mention
    begins = not before.strip() or before.rstrip()[-1:] in ".!?"
    return before + (word[:1].upper() + word[1:] if begins else word) + after
