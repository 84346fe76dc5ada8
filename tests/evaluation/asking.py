"""Replies and cases made by hand, and a tiny model that can be asked them."""

import torch

from knedit.evaluation.cases import Ask, Case, Rewrite
from knedit.evaluation.replies import Reply, Told
from knedit.models.model import Model, wrap_model
from tests.tiny_models import network, tokenizer_of

REWRITE = Rewrite("1", "P36", "France", "the capital of France is {object}", "Paris", "Rome")
CASE = Case(
    REWRITE,
    paraphrases=("people speak of France and {object}", "France has a capital called {object}"),
    neighbours=(Ask("the big city of France is {object}", "Paris"), Ask("they live in {object}", "Paris")),
    siblings=(Ask("the capital of Japan is {object}", "Tokyo"),),
    same_subject=(Ask("people in France speak {object}", "language"),),
    implied=(Ask("people in France live in the city {object}", "Rome"),),
    generations=("people in France have",),
)


def tiny(name: str = "llama") -> Model:
    return wrap_model(network(name), tokenizer_of(name))


def reply(*losses: float, right: tuple[bool, ...] = (False,), top: int = 0) -> Reply:
    """Return a reply whose answers have these losses, the first of them these right tokens."""
    told = [Told(losses[0], right), *(Told(loss, (False,)) for loss in losses[1:])]
    return Reply(tuple(told), top, torch.zeros(1))
