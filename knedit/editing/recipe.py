"""How a plan is solved: the recipe, its layers, and how both change with the number of facts. Knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from knedit.editing.prior import NEUTRAL
from knedit.editing.statistics import Pricing
from knedit.editing.targets import Search
from knedit.editing.wishes import Variety, Wish

ROUNDS = 3  # of corrections


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides how wishes are solved.

    `columns` is the most columns of a layer that one fact may change (0: all of them); with `shared`, the most that
    the whole plan may. `tolerance` is how much facts may disturb each other for the sake of everything else, `ridge`
    how much less of their own change those are given whose change costs much. `together` facts are searched side by
    side; each is told from `decoys` near names. An erased answer is brought down to `margin` times what the model says
    with a `neutral` word for the subject, and to no more than it says so in a share `usual` of the texts; of a whole
    relation that is erased, to `margin` times what is `unlikely` enough. What the edited network says is then held
    against `holding`, a search of what is still missing, and corrected at most `rounds` times. Facts that are to be
    upheld are given back what they lost in at most `upheld` rounds, by the search `upholding`.
    """

    layers: tuple[int, ...]
    columns: int = 64
    shared: bool = False
    tolerance: float = 0.1
    ridge: float = 0.0
    together: int = 2
    decoys: int = 24
    margin: float = 0.05
    usual: float = 0.25
    unlikely: float = 0.05
    neutral: tuple[str, ...] = NEUTRAL
    search: Search = field(default_factory=Search)
    holding: Search = field(default_factory=lambda: Search(steps=8, stop=0.3, slack=0.8))
    rounds: int = ROUNDS
    upholding: Search = field(default_factory=lambda: Search(steps=8, stop=0.02))
    upheld: int = 3
    pricing: Pricing = field(default_factory=Pricing)
    variety: Variety = field(default_factory=Variety)
    erasing: Variety = field(default_factory=lambda: Variety(prefixes=5, wordings=8, behind=8, bare=True))

    def for_facts(self, n_layers: int, n_facts: int, n_erased: int = 0) -> "Recipe":
        """Return the recipe for so many facts of one model, those counted that its weights were given before.

        What an answer does to its own surroundings it does alone, but what all of them do to running text adds up: the
        more facts, the more layers share them, the more text counts beside the rest, and the less a fact may cost.
        `n_erased` of them are to be forgotten: to say less of one thing does less to running text than to say another,
        but the relations' prompts are worth as much more as text is, by its root. Measured on SmolLM2-135M, 50 facts of
        13 relations: 3 of 21 known other answers are lost, 4 at a third of that price, 7 without it.
        """
        crowd = crowded(n_facts - (1 - FORGOTTEN) * n_erased)
        asked_by = self.pricing.prompts * (crowd - 1) ** 0.5 if n_erased else 0.0
        price = replace(self.pricing, text=self.pricing.text * crowd, asked_by=asked_by)
        fall = (self.pricing.text / price.text) ** 0.5  # a price raises all damage
        dear = DEAR * min(n_facts / SOME, 1.0) ** 2 * fall
        share = min(n_facts / MANY, 1.0)
        search, holding = (_easier(one, share, dear) for one in (self.search, self.holding))
        layers = widened(self.layers, n_layers, n_facts)
        few = n_facts < UNCORRECTED  # corrections would take back what price and ridge have spared
        ridge, rounds = (0.0, self.rounds) if few else (RIDGE * min(n_facts / HUNDREDS, 1.0), 0)
        together = self.together if few else 1  # two side by side take 130 MB more in 18 layers of SmolLM2-135M
        one = replace(self, layers=layers, pricing=price, search=search, holding=holding, together=together)
        return replace(one, ridge=ridge, rounds=rounds)

    def in_full(self) -> "Recipe":
        """Return the recipe that gives no fact up, and corrects all of them, whatever that costs the rest."""
        search, holding = (replace(one, worth=0.0) for one in (self.search, self.holding))
        return replace(self, search=search, holding=holding, ridge=0.0, rounds=ROUNDS)

    def variety_of(self, wish: Wish, *, at_answer: bool) -> Variety:
        """Return how many contexts a wish is solved in; what is forgotten in one wording is easily said in another.

        Where edits act `at_answer`, keys are those of a wording more than of the subject: bare ones have keys of their
        own, which nobody asks by.
        """
        if wish.new is not None:
            return self.variety
        return replace(self.erasing, bare=self.erasing.bare and not at_answer)


FEW, CROWD, MOST = 3, 6, 360  # facts at which text counts twice as much, at which once more; how many times at most
FORGOTTEN = 0.5  # of an update, what an erasure counts for when running text is priced
UNCORRECTED = 100  # facts from which on answers that others disturb are not corrected
HUNDREDS, RIDGE = 500, 0.1  # the ridge of a plan of so many facts: half the perplexity for three answers in a hundred
MANY = 250  # facts of a plan at which answers may be half as sure
SURE = 0.3  # nats that an answer among so many may lack more
SOME, DEAR = 10, 0.015  # in plans of so many facts, one must gain so many nats for a unit of damage


def crowded(n_facts: float) -> float:
    """Return how many times the price of running text counts in a plan of so many facts.

    Measured on SmolLM2-135M with statistics of 5,000 tokens, 60 facts solved as 500 are: the perplexity rises by 0.74 %
    at 36 times, and by 0.31 % at 144, where one answer of fifty more is lost. With today's 20,000 it matters less.
    """
    return 1 + min(n_facts / FEW + (n_facts / CROWD) ** 2, MOST)


def _easier(search: Search, share: float, worth: float) -> Search:
    """Return a search that asks up to twice as much to be left, and nats for damage: answers need not be as sure."""
    return replace(
        search,
        stop=search.stop + share * max(search.stop, SURE),
        slack=search.slack * (1 + share),
        good=search.good * (1 + share),
        worth=search.worth + worth,
    )


def default_layers(n_layers: int, *, at_answer: bool = False) -> tuple[int, ...]:
    """Return the layers to edit where nobody swept them: a fifth of all, from a tenth of the way up.

    Measured on SmolLM2-135M, of whose 30 layers these are 3 to 8: above, an edit generalises less and harms more. Where
    edits act at the answer they are the topmost ones, two at least: below, the answer's place knows no subject yet.
    """
    if at_answer:
        return tuple(range(max(n_layers - max(round(n_layers / 5), 2), 0), n_layers))
    first = round(n_layers / 10)
    return tuple(range(first, min(first + max(round(n_layers / 5), 1), n_layers)))


def widened(layers: Sequence[int], n_layers: int, n_facts: int) -> tuple[int, ...]:
    """Return the layers that so many facts need together: up to three times what one does, the next ones above.

    Where there are none above, the next ones below follow.

    The more facts share a layer's columns, the more each answer costs the rest. Measured on SmolLM2-135M with
    statistics of 5,000 tokens: 100 facts raise the perplexity of running text by 1.3 % in 6 layers and by 0.7 % in 10.
    """
    share = min(max((n_facts - 25) / 225, 0.0), 2.0)
    others = [*range(max(layers) + 1, n_layers), *range(min(layers) - 1, -1, -1)]
    return tuple(sorted((*layers, *others[: round(share * len(layers))])))
